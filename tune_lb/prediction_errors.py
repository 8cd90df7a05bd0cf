"""Errors of predictions: what test_error, validation_error and train_error are, one for a whole comparison (`Space(error=...)`).

    Space(error="balanced")          every class counts alike
    Space(error=TopK(k=5))           or "top_5"
    Space(error=my_error)            a function (outputs, targets) -> one value per example; lower is better

Nothing here is differentiated; an error is taken in evaluation, over a whole part.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from tune_lb.errors import nearest
from tune_lb.settings.setting import Settings, setting

IGNORED = -100


@dataclass(frozen=True)
class PredictionError(Settings):
    """Base of all errors: a ratio of two sums over examples, or the mean of several such ratios.

    title: what reports call it. is_share: whether it lies in [0, 1], so that it is shown in percent and in points. of: kinds of
    targets that it is for: classes (N,) of whole numbers, tokens (N, ...) of whole numbers, real numbers (N, ...).
    """

    title: ClassVar[str] = ""
    is_share: ClassVar[bool] = True
    of: ClassVar[tuple[str, ...]] = ("classes", "tokens", "real")

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return (R, 2), float64: numerators and denominators of R ratios, summed over the examples given."""
        raise NotImplementedError(f"{type(self).__name__} does not say how it is counted")

    def value(self, counts: Tensor) -> float:
        """Return the mean of the ratios whose denominator is not 0, from the sums over a part; nan where there is none."""
        known = counts[counts[:, 1] > 0]
        return float((known[:, 0] / known[:, 1]).mean()) if len(known) else float("nan")

    def chance(self, train: Tensor, targets: Tensor, num_classes: int) -> float:
        """Return the error that a diverged member counts for: that of guessing, or of the best constant of the train targets."""
        return 1.0 - 1.0 / num_classes


@dataclass(frozen=True)
class ZeroOne(PredictionError):
    """Share of examples whose largest output is not that of their class. outputs (B, K), targets (B,). Chance 1 - 1/K."""

    title: ClassVar[str] = "error"
    of: ClassVar[tuple[str, ...]] = ("classes",)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the errors and the examples."""
        return _row((outputs.argmax(-1) != targets).sum(), len(targets))


@dataclass(frozen=True)
class Balanced(PredictionError):
    """Mean over the classes of the share of their examples that is misclassified: every class counts alike.

    (1/K) sum_k (errors among examples of class k) / (examples of class k), over a whole part; classes that the part does not
    hold are left out. One minus it is balanced accuracy (Brodersen et al., 2010), or mean recall. Chance 1 - 1/K.
    """

    title: ClassVar[str] = "balanced error"
    of: ClassVar[tuple[str, ...]] = ("classes",)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the errors and the examples of each class, (K, 2)."""
        wrong = targets[outputs.argmax(-1) != targets]
        found = [torch.bincount(of, minlength=outputs.shape[-1]) for of in (wrong, targets)]
        return torch.stack(found, 1).double()


@dataclass(frozen=True)
class TopK(PredictionError):
    """Share of examples whose class is not among the k largest outputs. Chance 1 - k/K."""

    of: ClassVar[tuple[str, ...]] = ("classes",)

    k: int = setting(5, "outputs among which the class must be", low=1)

    @property
    def title(self) -> str:  # type: ignore[override]
        """Return what reports call it."""
        return f"top-{self.k} error"

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the errors and the examples."""
        best = outputs.topk(min(self.k, outputs.shape[-1]), dim=-1).indices
        return _row((best != targets[:, None]).all(-1).sum(), len(targets))

    def chance(self, train: Tensor, targets: Tensor, num_classes: int) -> float:
        """Return that of k classes guessed."""
        return max(0.0, 1.0 - self.k / num_classes)


@dataclass(frozen=True)
class PerToken(PredictionError):
    """Share of the tokens of a part, ignored ones left out, whose largest output is not that of their class.

    targets (B, ...); outputs (B, ..., K), or (B, K, ...) as torch's cross entropy has them. Sums are over tokens, so long
    sequences weigh more. Chance 1 - 1/K.
    """

    title: ClassVar[str] = "error per token"
    of: ClassVar[tuple[str, ...]] = ("tokens",)

    ignore_index: int = setting(IGNORED, "target of tokens that do not count")
    classes: str | None = setting(
        None, "axis of the outputs that holds the classes; none: whichever fits", one_of=(None, "last", "second")
    )

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the errors and the tokens that count."""
        counted = targets != self.ignore_index
        axis = {"last": -1, "second": 1, None: class_axis(outputs, targets)}[self.classes]
        return _row(((outputs.argmax(axis) != targets) & counted).sum(), int(counted.sum()))


@dataclass(frozen=True)
class MeanSquared(PredictionError):
    """Mean over examples of the mean squared difference of outputs and targets, both (B, ...). Chance: the train mean."""

    title: ClassVar[str] = "mean squared error"
    is_share: ClassVar[bool] = False
    of: ClassVar[tuple[str, ...]] = ("real",)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over examples, and their number."""
        return _row(
            (alike(outputs, targets) - targets).double().square().reshape(len(targets), -1).mean(1).sum(), len(targets)
        )

    def chance(self, train: Tensor, targets: Tensor, num_classes: int) -> float:
        """Return that of the mean of the train targets."""
        return float((targets.double() - train.double().mean(0)).square().mean())


@dataclass(frozen=True)
class MeanAbsolute(PredictionError):
    """Mean over examples of the mean absolute difference of outputs and targets, both (B, ...). Chance: the train median."""

    title: ClassVar[str] = "mean absolute error"
    is_share: ClassVar[bool] = False
    of: ClassVar[tuple[str, ...]] = ("real",)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over examples, and their number."""
        return _row(
            (alike(outputs, targets) - targets).double().abs().reshape(len(targets), -1).mean(1).sum(), len(targets)
        )

    def chance(self, train: Tensor, targets: Tensor, num_classes: int) -> float:
        """Return that of the median of the train targets."""
        return float((targets.double() - train.double().median(0).values).abs().mean())


@dataclass(frozen=True)
class Hamming(PredictionError):
    """Share of the labels of an example that are not as they should be: several labels (B, L) of 0 and 1.

    A label is predicted where its output is above the threshold: 0 for logits, 0.5 for probabilities. Chance: the more frequent
    value of each label in the train part.
    """

    title: ClassVar[str] = "Hamming error"
    of: ClassVar[tuple[str, ...]] = ("real",)

    threshold: float = setting(0.0, "output above which a label is predicted")

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the wrong labels and all labels."""
        wrong = (alike(outputs, targets) > self.threshold) != (targets > 0.5)
        return _row(wrong.sum(), targets.numel())

    def chance(self, train: Tensor, targets: Tensor, num_classes: int) -> float:
        """Return that of the more frequent value of each label."""
        constant = (train > 0.5).double().mean(0) > 0.5
        return float(((targets > 0.5) != constant).double().mean())


@dataclass(frozen=True)
class OfFunction(PredictionError):
    """Mean over examples of a function of the user's: (outputs, targets) -> one value per example (B,), lower is better.

    Chance: outputs that are 0 everywhere.
    """

    is_share: ClassVar[bool] = False

    function: Callable[[Tensor, Tensor], Tensor]

    @property
    def title(self) -> str:  # type: ignore[override]
        """Return the function's name."""
        return str(getattr(self.function, "__name__", None) or type(self.function).__name__)

    def counts(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the sum over examples, and their number."""
        found = self.function(outputs, targets)
        if not isinstance(found, Tensor) or found.shape != (len(targets),):
            what = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            raise ValueError(
                f"error {self.title}: must return one value per example, ({len(targets)},); it returns {what}"
            )
        return _row(found.double().sum(), len(targets))

    def chance(self, train: Tensor, targets: Tensor, num_classes: int) -> float:
        """Return that of outputs that are 0 everywhere."""
        shape = tuple(targets.shape) if targets.is_floating_point() else (*targets.shape, num_classes)
        return self.value(self.counts(torch.zeros(shape, device=targets.device), targets))


NAMED: dict[str, PredictionError] = {
    "zero_one": ZeroOne(),
    "balanced": Balanced(),
    "per_token": PerToken(),
    "mean_squared": MeanSquared(),
    "mean_absolute": MeanAbsolute(),
    "hamming": Hamming(),
}
"""Errors that a space may name."""

DEFAULTS: dict[str, PredictionError] = {"classes": ZeroOne(), "tokens": PerToken()}
"""The error of each kind of targets where a space gives none; real numbers have none."""


def as_error(given: Any) -> Any:
    """Return the error of a name or of a function; anything else as it is."""
    if isinstance(given, str):
        top = re.fullmatch(r"top_?(\d+)", given)
        return TopK(int(top[1])) if top else NAMED.get(given, given)
    if callable(given) and not isinstance(given, PredictionError | type):
        return OfFunction(given)
    return given


def error_for(given: PredictionError | None, targets: Any) -> PredictionError:
    """Return what is counted as an error for targets: what was given, else the default of their kind. KeyError for real numbers."""
    if given is not None:
        return given
    real = "float" in str(targets.dtype)
    return DEFAULTS["real" if real else "classes" if targets.ndim == 1 else "tokens"]


def error_problems(error: Any, kind: str, where: str) -> list[str]:
    """Say why an error cannot be taken of targets of a kind, and what to give in its place."""
    fitting = [name for name, own in NAMED.items() if kind in own.of]
    if error is None:
        if kind in DEFAULTS:
            return []
        return [
            f"{where}: targets are real numbers, which do not say what an error is: give the space error='mean_squared' or "
            "'mean_absolute', 'hamming' for several labels of 0 and 1, or a function (outputs, targets) -> one value per example"
        ]
    if not isinstance(error, PredictionError):
        known = [*NAMED, "top_5"]
        return [
            f"{where}: error = {error!r} is no error{nearest(str(error), known)}; or give a function (outputs, targets)"
        ]
    if kind not in error.of:
        words = {"classes": "classes, one for each example", "tokens": "a class of each token", "real": "real numbers"}
        return [
            f"{where}: the {error.title} is not defined for targets that are {words[kind]}; give one of {', '.join(fitting)}"
        ]
    return []


def class_axis(outputs: Tensor, targets: Tensor) -> int:
    """Return the axis of the outputs that holds the classes of targets (B, ...): the last, else the second as torch has it.

    Raises ValueError where neither fits, and where both do.
    """
    last, second = outputs.shape[:-1] == targets.shape, (*outputs.shape[:1], *outputs.shape[2:]) == tuple(targets.shape)
    shapes = f"outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}"
    if last and second and outputs.ndim > 2:
        raise ValueError(
            f"{shapes}: which axis holds the classes cannot be told, for there are as many tokens; pad sequences to another length"
        )
    if not last and not second:
        raise ValueError(f"{shapes}: they must have one axis more, that of the classes, as the last or the second")
    return -1 if last else 1


def alike(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return outputs in the shape of the targets: (B, 1) for (B,). Raises ValueError where they are of other numbers."""
    if outputs.shape == targets.shape:
        return outputs
    if outputs.squeeze(-1).shape == targets.shape or outputs.shape == targets.squeeze(-1).shape:
        return outputs.reshape(targets.shape)
    raise ValueError(
        f"outputs {tuple(outputs.shape)} for targets {tuple(targets.shape)}: one output for each number is needed"
    )


def _row(errors: Tensor, number: int) -> Tensor:
    return torch.stack([errors.double(), torch.tensor(float(number), dtype=torch.float64, device=errors.device)])[None]
