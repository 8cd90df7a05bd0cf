"""The suites for a user's own remedies and metrics: ours pass, and each law is broken by something that breaks it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest
import torch

from tests.metrics.test_metric_laws import METRICS, build
from tests.trainings import EXAMPLES
from tune_lb import Remedy, setting
from tune_lb.metrics.metric import protocol, protocol_columns
from tune_lb.remedies import SAM, GhostBatchNorm, Mixup
from tune_lb.testing.metric_laws import check_metric
from tune_lb.testing.remedy_laws import check_remedy
from tune_lb.testing.small_training import small_trial


@pytest.mark.parametrize("name", sorted(EXAMPLES))
def test_our_remedies_keep_the_laws(name):
    check_remedy(EXAMPLES[name][-1])


@pytest.mark.parametrize("kind", METRICS, ids=lambda kind: kind.name)
def test_our_metrics_keep_the_laws(kind):
    check_metric(build(kind))


def test_remedies_beside_it_and_another_trial():
    check_remedy(SAM(rho=0.1, m=6), GhostBatchNorm(ghost_batch_size=3), trial=lambda *r: small_trial(*r, batch_size=12))


@dataclass(frozen=True)
class Broken(Remedy):
    """Multiplies the loss: right in itself, each subclass breaks one law."""

    name: ClassVar[str] = "broken"
    factor: float = setting(1.0, "of the loss", above=0.0)

    def loss(self, inner):
        return lambda outputs, batch: self.factor * inner(outputs, batch)


@dataclass(frozen=True)
class NeverNeutral(Broken):
    factor: float = setting(2.0, "of the loss", above=0.0)

    def is_neutral(self):
        return self.factor == 1.0


@dataclass(frozen=True)
class Leaking(Broken):
    def gradient(self, inner):
        def noisy(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            return loss, {name: g + 0.1 * torch.randn_like(g) for name, g in gradients.items()}, updated

        return noisy


@dataclass(frozen=True)
class EarlyLeak(Broken):
    def peak_rate(self, rate, batch_size):
        return rate * float(torch.rand(()))


OWN = np.random.default_rng()


@dataclass(frozen=True)
class Unseeded(Broken):
    def gradient(self, inner):
        def noisy(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            return loss, {name: g * OWN.uniform(0.5, 1.5) for name, g in gradients.items()}, updated

        return noisy


@dataclass(frozen=True)
class Mixing(Broken):
    def update(self, inner):
        def normalized(params, gradients, rate):
            length = torch.cat([g.flatten() for g in gradients.values()]).norm()
            inner(params, {name: g / length for name, g in gradients.items()}, rate)

        return normalized


@dataclass(frozen=True)
class Idle(Broken):
    def loss(self, inner):
        return inner


class Unequal(Broken):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@dataclass(frozen=True)
class Forgetful(Broken):
    """Counts steps outside of its state."""

    seen: ClassVar[dict] = {}

    def gradient(self, inner):
        def counted(params, buffers, batch):
            key = id(inner)
            self.seen[key] = self.seen.get(key, 0) + 1
            loss, gradients, updated = inner(params, buffers, batch)
            return loss, {name: g * (1.0 + 0.1 * self.seen[key]) for name, g in gradients.items()}, updated

        return counted


@pytest.mark.parametrize(
    ("remedy", "law"),
    [
        (NeverNeutral(factor=3.0), "with its default values it is neutral"),
        (EarlyLeak(factor=2.0), "it leaves the global random generators alone"),
        (Leaking(factor=2.0), "a member is the same alone and among others"),
        (Unseeded(factor=2.0), "the same seed gives the same bits"),
        (Mixing(factor=2.0), "a member is the same alone and among others"),
        (Idle(factor=2.0), "active, it changes the training"),
        (Broken(), "given as active, it is so"),
        (Unequal(factor=2.0), "it is a value"),
        (Forgetful(factor=2.0), "restored from a checkpoint"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Remedy) else value[:20],
)
def test_what_breaks_a_law_of_remedies_is_told_so(remedy, law):
    with pytest.raises(AssertionError, match=law):
        check_remedy(remedy)


def test_a_remedy_that_does_not_fit_is_no_broken_law():
    with pytest.raises(AssertionError, match="does not fit the trial"):
        check_remedy(GhostBatchNorm(ghost_batch_size=3))
    check_remedy(Mixup(alpha=0.3))


@dataclass(frozen=True)
class Largest:
    """The largest weight: right in itself, each subclass breaks one law."""

    name: ClassVar[str] = "largest"
    max_samples: int | None = None

    def columns(self) -> Mapping[str, str]:
        return {"largest": "largest weight", **protocol_columns(self.name)}

    def measure(self, surface, seed):
        return {"largest": float(surface.point.abs().max()), **protocol(self.name, surface, seed)}


class Silent(Largest):
    def measure(self, surface, seed):
        return {"largest": 1.0}


class Drawing(Largest):
    def measure(self, surface, seed):
        return super().measure(surface, seed) | {"largest": float(torch.rand(()))}


class Infinite(Largest):
    def measure(self, surface, seed):
        return super().measure(surface, seed) | {"largest": math.inf}


class Elsewhere(Largest):
    def columns(self):
        return super().columns() | {"elsewhere": "x"}

    def measure(self, surface, seed):
        return super().measure(surface, seed) | {"elsewhere": 1.0}


class Touching(Largest):
    def measure(self, surface, seed):
        surface._module.remembered = seed
        return super().measure(surface, seed)


class Same(Largest):
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    ("metric", "law"),
    [
        (Silent(), "it returns the columns that it declares"),
        (Silent(), "it reports its protocol"),
        (Drawing(), "its draws depend on the seed alone"),
        (Infinite(), "its values are finite numbers"),
        (Elsewhere(), "not largest or largest"),
        (Touching(), "it leaves no trace"),
        (Same(), "it is a value"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Largest) else value[:20],
)
def test_what_breaks_a_law_of_metrics_is_told_so(metric, law):
    check_metric(Largest())
    with pytest.raises(AssertionError, match=law):
        check_metric(metric)
