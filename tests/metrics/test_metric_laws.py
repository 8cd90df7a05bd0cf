"""Laws over every metric in tune_lb.metrics, and proof that each law catches a metric that breaks it."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import is_dataclass

import pytest
import torch

import tune_lb.metrics
from tests.metrics.cases import data, network, surface
from tune_lb.testing.metric_laws import check_metric
from tune_lb.testing.side_effects import assert_leaves_no_trace

METRICS = [
    member
    for found in pkgutil.iter_modules(tune_lb.metrics.__path__)
    for member in vars(importlib.import_module(f"tune_lb.metrics.{found.name}")).values()
    if isinstance(member, type)
    and is_dataclass(member)
    and hasattr(member, "measure")
    and member.__module__.endswith(found.name)
]
SMALL = {
    "batch_lambda_max": {"batch_size": 5},
    "spectrum": {"steps": 8},
    "top_eigenvalues": {"k": 3},
    "trace": {"deflate": 5, "max_hvps": 30},
    "participation_ratio": {"deflate": 5, "max_hvps": 30},
    "keskar": {"p": 10},
}
WITHOUT_THE_LOSS = ("margin", "parameter_norm")


def build(kind):
    return kind(**SMALL.get(kind.name, {}))


def test_the_scan_finds_them():
    assert {kind.name for kind in METRICS} >= {"lambda_max", "keskar", "adaptive_sharpness"}


@pytest.mark.parametrize("kind", METRICS)
def test_keeps_every_law(kind):
    check_metric(build(kind))


@pytest.mark.parametrize("kind", [kind for kind in METRICS if kind.name not in WITHOUT_THE_LOSS])
def test_an_interruption_in_its_middle_is_not_kept_back(kind):
    calls = []

    def fails_later(outputs, targets):
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return torch.nn.functional.cross_entropy(outputs, targets, reduction="none")

    f = surface(network(), *data(), loss=fails_later)
    f.value()
    with pytest.raises(KeyboardInterrupt):
        build(kind).measure(f, 0)


@pytest.mark.parametrize("kind", METRICS)
def test_float32_agrees_with_float64(kind):
    double, single = (
        build(kind).measure(surface(network(), *data(), dtype=dtype), 0) for dtype in (torch.float64, torch.float32)
    )
    mains = [
        key
        for key in double
        if key.count(".") == (0 if kind.name in double else 1)
        and isinstance(double[key], float)
        and not key.endswith(".residual")
    ]
    assert mains
    for key in mains:
        assert single[key] == pytest.approx(double[key], rel=2e-3), key


def leak_random(net):
    torch.rand(1)


def leak_mode(net):
    net.train(not net.training)


def leak_submodule_mode(net):
    net[3].training = not net[3].training


def leak_grad(net):
    net[0].bias.grad = torch.zeros_like(net[0].bias)


def leak_statistics(net):
    net[1].num_batches_tracked += 1


def leak_rounding(net):
    with torch.no_grad():
        net[0].weight.add_(0.1).sub_(0.1)


def leak_object(net):
    net[0].weight = torch.nn.Parameter(net[0].weight.detach().clone())


def leak_freeze(net):
    net[0].weight.requires_grad_(False)


def leak_attribute(net):
    net[0].remembered = 1


@pytest.mark.parametrize(
    "leak",
    [
        leak_random,
        leak_mode,
        leak_submodule_mode,
        leak_grad,
        leak_statistics,
        leak_rounding,
        leak_object,
        leak_freeze,
        leak_attribute,
    ],
)
@pytest.mark.parametrize("raises", [False, True])
def test_the_law_catches_what_is_left_behind(leak, raises):
    net = network()

    def broken():
        leak(net)
        if raises:
            raise ArithmeticError

    with pytest.raises(AssertionError, match="left behind"):
        assert_leaves_no_trace(broken, net)
