"""Budgets: when training ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from tune_lb.settings.domain import over
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class Budget(Settings):
    """Base of all budgets."""

    watches_loss: ClassVar[bool] = False
    """Whether training may end before `allows` says so, by what its loss does."""

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Say whether training may have spent so much. The first update is always made."""
        raise TypeError(f"{type(self).__name__} does not say what it allows")

    def stops(self, losses: Sequence[float]) -> bool:
        """Say whether training ends after the pass whose mean training loss is the last of these (nats)."""
        return False


@dataclass(frozen=True)
class Epochs(Budget):
    """Stop after the given passes over the train set: floor(epochs N / B) updates, every batch full."""

    epochs: float = setting(20.0, "passes over the train set", above=0.0)

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow epochs times N examples."""
        return examples <= self.epochs * num_train * (1 + 1e-12)


@dataclass(frozen=True)
class Updates(Budget):
    """Stop after the given optimiser steps, whatever the batch: as many for the large one is regime adaptation.

    Schedules are stretched with it, since they go by shares of the training. Without a neutral value: a budget is always one.
    Source: Hoffer, Hubara and Soudry, 2017, section 5 (regime adaptation: epochs times B_large / B_small).
    Cost: B_large / B_small times the epochs, with as many gradients per epoch. Trap: it spends what a large batch was to save.
    """

    updates: int = setting(1000, "optimiser steps", low=1, suggested=over(100, 10_000, log=True, integer=True))

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow so many updates."""
        return updates <= self.updates


@dataclass(frozen=True)
class GradientEvaluations(Budget):
    """Stop after the given mean gradients: a remedy that takes two per update gets half the updates."""

    gradient_evaluations: int = setting(1000, "gradient evaluations", low=1)

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow so many gradient evaluations."""
        return evaluations <= self.gradient_evaluations


@dataclass(frozen=True)
class UntilPlateau(Budget):
    """Train until the loss ceases to improve, as Keskar et al. (2017, section 4 and appendix B) do.

    The loss is the mean training loss over a pass, of the batches as they were trained on. Training ends after the first
    pass for which the best loss of the last `patience` passes is not lower by `tolerance` than the best one before them:
        min(l[-patience:]) > min(l[:-patience]) - tolerance
    The paper gives no rule; this is Keras' EarlyStopping (monitor="loss", min_delta=tolerance), judged on the best. A
    schedule that falls over the whole training falls over max_epochs. `stop_reason` in the row is "plateau", or "budget"
    where max_epochs came first. Members end one by one, so they are trained alone.
    """

    watches_loss: ClassVar[bool] = True

    patience: int = setting(5, "passes without improvement", low=1)
    tolerance: float = setting(1e-3, "improvement that counts, nats per example", low=0.0)
    max_epochs: float = setting(100.0, "most passes over the train set", above=0.0)

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow max_epochs times N examples."""
        return examples <= self.max_epochs * num_train * (1 + 1e-12)

    def stops(self, losses: Sequence[float]) -> bool:
        """See the class."""
        return (
            len(losses) > self.patience
            and min(losses[-self.patience :]) > min(losses[: -self.patience]) - self.tolerance
        )
