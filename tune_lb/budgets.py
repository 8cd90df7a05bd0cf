"""Budgets: when training ends."""

from __future__ import annotations

from dataclasses import dataclass

from tune_lb.setting import Settings, setting


@dataclass(frozen=True)
class Budget(Settings):
    """Base of all budgets."""

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Say whether training may have spent so much. The first update is always made."""
        raise TypeError(f"{type(self).__name__} does not say what it allows")


@dataclass(frozen=True)
class Epochs(Budget):
    """Stop after the given passes over the train set: floor(epochs N / B) updates, every batch full."""

    epochs: float = setting(20.0, "passes over the train set", above=0.0)

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow epochs times N examples."""
        return examples <= self.epochs * num_train * (1 + 1e-12)


@dataclass(frozen=True)
class Updates(Budget):
    """Stop after the given optimiser steps, whatever the batch (regime adaptation: Hoffer et al., 2017)."""

    updates: int = setting(1000, "optimiser steps", low=1)

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow so many updates."""
        return updates <= self.updates


@dataclass(frozen=True)
class GradientEvaluations(Budget):
    """Stop after the given mean gradients: a remedy that takes two per update gets half the updates."""

    gradient_evaluations: int = setting(1000, "mean mini-batch gradients", low=1)

    def allows(self, updates: int, examples: int, evaluations: float, num_train: int) -> bool:
        """Allow so many gradient evaluations."""
        return evaluations <= self.gradient_evaluations
