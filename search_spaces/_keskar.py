"""The two regimes of Keskar et al. (2017): a small batch and a tenth of the train set, ADAM, as published."""

from __future__ import annotations

from typing import Any

from search_spaces._published import UNTUNED
from tune_lb import Arm, Space
from tune_lb.budgets import Epochs
from tune_lb.metrics import Keskar, LambdaMax
from tune_lb.optimizers import Adam
from tune_lb.schedules import Constant

SMALL = 256
"""The small batch as published: 0.5 % of the train images of CIFAR."""


def regimes(
    *, question: str, large: int, epochs: float, seeds: int, max_samples: int, small: int = SMALL, **settings: Any
) -> Space:
    """Return small batch against large, with sharpness on max_samples train examples in the full space and in a subspace."""
    metrics = (Keskar(max_samples=max_samples), LambdaMax(max_samples=max_samples))
    return Space(
        question=question,
        optimizer=Adam(),
        lr=1e-3,
        schedule=Constant(),
        arms=(Arm("small_batch", batch_size=small), Arm("large_batch", batch_size=large)),
        baseline="small_batch",
        reference="large_batch",
        confirm_blocks=seeds,
        measured_blocks=seeds,
        **({"budget": Epochs(epochs), "metrics": metrics} | UNTUNED | settings),
    )
