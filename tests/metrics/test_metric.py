from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch

from tests.metrics.cases import data, network, quadratic, surface
from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.keskar import Keskar
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure_all
from tune_lb.metrics.metric import generator, protocol, protocol_columns, unmeasured

METRICS = [LambdaMax(), Keskar(p=10), AdaptiveSharpness()]


@dataclass(frozen=True)
class Loss:
    """A user's metric: the loss itself, or whatever it is told to return."""

    name: ClassVar[str] = "own"
    returns: float | None = None
    extra: str | None = None
    max_samples: int | None = None

    def columns(self):
        return {"own": "loss, nats", **protocol_columns(self.name)}

    def measure(self, surface, seed):
        value = surface.value() if self.returns is None else self.returns
        row = {"own": value, **protocol(self.name, surface, seed)}
        return row if self.extra is None else row | {self.extra: 1}


def test_one_row_holds_every_column_of_every_metric():
    f = surface(network(), *data())
    row = measure_all([*METRICS, Loss()], f, 3)
    assert row.keys() == {key for metric in [*METRICS, Loss()] for key in metric.columns()}
    assert row["own"] == row["lambda_max.loss"] == f.value()
    assert row["keskar.seed"] == 3
    assert row["lambda_max"] == LambdaMax().measure(surface(network(), *data()), 3)["lambda_max"]


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["weights", "loss"])
def test_a_diverged_member_gives_null_with_the_reason(where, value):
    f = quadratic(torch.eye(20), **({"w": torch.full((20,), value)} if where == "weights" else {"c": value}))
    row = measure_all(METRICS, f, 0)
    reason = "the weights are not finite" if where == "weights" else f"the loss at the weights is {value}"
    assert row == unmeasured(METRICS, reason)
    assert {key for key, found in row.items() if found is not None} == {f"{metric.name}.reason" for metric in METRICS}


def test_max_samples_takes_the_same_subset_for_all():
    f = surface(network(), *data(50))
    row = measure_all([LambdaMax(max_samples=20), AdaptiveSharpness(max_samples=20), Loss(), Keskar(p=10)], f, 0)
    assert row["lambda_max.num_samples"] == row["adaptive_sharpness.num_samples"] == 20
    assert row["lambda_max.loss"] == row["adaptive_sharpness.loss"] == pytest.approx(f.subset(20).value(), rel=1e-13)
    assert row["own.num_samples"] == row["keskar.num_samples"] == 50
    assert measure_all([LambdaMax(max_samples=99)], f, 0)["lambda_max.num_samples"] == 50


def test_a_metric_that_returns_nan_is_null_with_the_reason():
    row = measure_all([Loss(returns=math.nan)], surface(network(), *data()), 0)
    assert row["own"] is None
    assert row["own.reason"] == "own came out as nan"


def test_keys_beside_the_columns_and_doubles_are_refused():
    f = surface(network(), *data())
    with pytest.raises(ValueError, match=r"differ in \['own.more'\]"):
        measure_all([Loss(extra="own.more")], f, 0)
    with pytest.raises(ValueError, match="two metrics report"):
        measure_all([Loss(), Loss()], f, 0)


def test_generators_are_one_per_seed_and_purpose():
    def draw(seed, purpose):
        return float(torch.rand((), generator=generator(seed, purpose)))

    assert draw(0, "a") == draw(0, "a")
    assert len({draw(seed, purpose) for seed in (0, 1, 2**40) for purpose in "ab"}) == 6
