"""Where the drop comes from: training or generalization."""

from __future__ import annotations

from typing import NamedTuple

UNDER_TRAINED_ERROR = 0.005
UNDER_TRAINED_RATIO = 3.0


class Decomposition(NamedTuple):
    """large_batch_drop = drop_train_error + drop_generalization_gap, all in fractions."""

    large_batch_drop: float
    drop_train_error: float
    drop_generalization_gap: float


def decompose(test_error: float, train_error: float, baseline_test: float, baseline_train: float) -> Decomposition:
    """Split the drop of an arm from the baseline into what is lost on training examples and what is lost beyond them.

    A diverged member counts at chance in both errors, so it adds nothing to the gap here.
    """
    drop, train = test_error - baseline_test, train_error - baseline_train
    return Decomposition(drop, train, drop - train)


def under_trained(train_error: float, train_loss: float, baseline_train_loss: float) -> bool:
    """True if the train error is above 0.5 points or the train loss (where known) above 3 times the baseline's."""
    return train_error > UNDER_TRAINED_ERROR or train_loss > UNDER_TRAINED_RATIO * baseline_train_loss
