"""Label smoothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from tune_lb.losses import cross_entropy
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.training.gradient import Batch, TrainingLoss
from tune_lb.training.remedy import Remedy, TrialFacts


@dataclass(frozen=True)
class LabelSmoothing(Remedy):
    """Share some of each label's weight among all classes.

    l = (1 - s) l(o, y) - (s / K) sum_k log softmax(o)_k,  s the smoothing, o the outputs, y the class, K classes.

    Source: Szegedy et al., 2016, section 7, with the uniform distribution over all K classes, y among them.
    In training only: evaluation and metrics take the plain loss. running_train_loss is the smoothed one, never below the entropy
    of the smoothed labels.
    Neutral: smoothing = 0.
    Cost: one log softmax of the outputs; no more gradients.
    Trap: sharpness on the plain loss grows with the outputs, which smoothing bounds; it falls for that reason alone.
    """

    name: ClassVar[str] = "label_smoothing"

    smoothing: float = setting(
        0.0,
        "share of a label's weight spread over all classes; 0 is none",
        low=0.0,
        below=1.0,
        suggested=over(0.01, 0.3),
    )

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a loss that is not cross entropy."""
        if trial.loss is cross_entropy:
            return []
        name = getattr(trial.loss, "__qualname__", trial.loss)
        return [f"label_smoothing needs loss = cross_entropy, whose labels are distributions over classes, not {name}"]

    def loss(self, inner: TrainingLoss) -> TrainingLoss:
        """Return the loss against the smoothed label."""

        def smoothed(outputs: Tensor, batch: Batch) -> Tensor:
            smoothing = batch.values["label_smoothing.smoothing"]
            uniform = -F.log_softmax(outputs, -1).mean(-1)
            return (1.0 - smoothing) * inner(outputs, batch) + smoothing * uniform

        return smoothed
