"""Budgets: when training ends."""

from __future__ import annotations

from dataclasses import dataclass

from tune_lb.setting import Settings, setting


@dataclass(frozen=True)
class Budget(Settings):
    """Base of all budgets."""

    def num_updates(self, num_train: int, batch_size: int, evaluations_per_update: float) -> int:
        """Return the optimiser steps that the budget allows, at least 1."""
        raise TypeError(f"{type(self).__name__} does not say how many updates it allows")


@dataclass(frozen=True)
class Epochs(Budget):
    """Stop after the given passes over the train set: floor(epochs N / B) updates, every batch full."""

    epochs: float = setting(20.0, "passes over the train set", above=0.0)

    def num_updates(self, num_train: int, batch_size: int, evaluations_per_update: float) -> int:
        """Return floor(epochs N / B), at least 1."""
        return max(1, int(self.epochs * num_train / batch_size + 1e-9))


@dataclass(frozen=True)
class Updates(Budget):
    """Stop after the given optimiser steps, whatever the batch (regime adaptation: Hoffer et al., 2017)."""

    updates: int = setting(1000, "optimiser steps", low=1)

    def num_updates(self, num_train: int, batch_size: int, evaluations_per_update: float) -> int:
        """Return the steps asked for."""
        return self.updates


@dataclass(frozen=True)
class GradientEvaluations(Budget):
    """Stop after the given mean gradients: a remedy that takes two per update gets half the updates."""

    gradient_evaluations: int = setting(1000, "mean mini-batch gradients", low=1)

    def num_updates(self, num_train: int, batch_size: int, evaluations_per_update: float) -> int:
        """Return the whole updates that the evaluations pay for, at least 1."""
        return max(1, int(self.gradient_evaluations / evaluations_per_update))
