"""A metric under other circumstances than those of training's loss and of evaluation: in train mode, or on plain cross entropy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from tune_lb.losses import cross_entropy
from tune_lb.metrics.metric import Metric, Value
from tune_lb.surface.loss_surface import LossSurface


@dataclass(frozen=True)
class Variant:
    """Base: what `metric` says of another surface over the same weights and examples, every column with a prefix before its name.

    metric: an instance, whose examples, draws and protocol it has. Cost: the metric's.
    """

    metric: Metric

    prefix: ClassVar[str] = ""
    said: ClassVar[str] = ""

    @property
    def name(self) -> str:
        """The metric's name with the prefix before it."""
        return self.prefix + self.metric.name

    @property
    def max_samples(self) -> int | None:
        """See Metric."""
        return self.metric.max_samples

    def columns(self) -> dict[str, str]:
        """See Metric."""
        return {self.prefix + key: f"{text}; {self.said}" for key, text in self.metric.columns().items()}

    def measure(self, surface: LossSurface, seed: int) -> dict[str, Value]:
        """See Metric."""
        with surface.under(**self.changes(surface)) as other:
            return {self.prefix + key: value for key, value in self.metric.measure(other, seed).items()}

    def changes(self, surface: LossSurface) -> dict[str, Any]:
        """Return what the other surface has that this one has not."""
        return {}


@dataclass(frozen=True)
class InTrainMode(Variant):
    """The metric with batch norm in train mode: each chunk of batch_size examples is normalised by its own statistics.

    Columns train_mode_<name>..., their protocol says batch_norm = batch, and chunk. Other layers stay in evaluation mode.
    Source: Xing et al., 2018, section 3: the spectral norm with batch norm in train mode; with frozen statistics it is larger.

    batch_size: examples that are normalised together, as in training; None: as many as a chunk holds.
    """

    batch_size: int | None = None

    prefix: ClassVar[str] = "train_mode_"
    said: ClassVar[str] = "batch norm in train mode"

    def changes(self, surface: LossSurface) -> dict[str, Any]:
        """Return the mode, and the examples in a chunk."""
        return {"batch_norm": "batch", "chunk": self.batch_size}


@dataclass(frozen=True)
class OnCrossEntropy(Variant):
    """The metric of mean cross entropy, whatever loss was trained on: arms whose losses differ can be compared.

    Columns cross_entropy_<name>... Where cross entropy was trained on it is the metric itself. Targets must be classes.
    """

    prefix: ClassVar[str] = "cross_entropy_"
    said: ClassVar[str] = "of cross entropy, whatever was trained on"

    def changes(self, surface: LossSurface) -> dict[str, Any]:
        """Return the loss. Raises ValueError where targets are no classes."""
        if not surface.has_classes:
            raise ValueError("cross entropy needs targets that are classes, one whole number for each example")
        return {"loss": cross_entropy}
