"""The laws of metrics, each a function that raises where it is broken, and the suite that holds one metric to them all."""

from __future__ import annotations

import math
import pickle
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.losses import cross_entropy
from tune_lb.metrics.measuring import measure_all
from tune_lb.metrics.metric import SHARED_COLUMNS, Metric, Value
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.testing.side_effects import assert_leaves_no_trace

NUM_EXAMPLES = 10


def check_metric(metric: Metric) -> None:
    """Hold a metric to every law, and raise AssertionError with all that it breaks, a line for each.

    metric: an instance with settings that a network of 99 parameters and 10 examples allows. Cost: six measurements.
    """
    laws: dict[str, Callable[[Metric], None]] = {
        "it leaves no trace: module, statistics, .grad, train flags, random generators": leaves_no_trace,
        "it leaves no trace when it is interrupted": leaves_no_trace_when_interrupted,
        "it is a value: compared and hashed by its fields, pickled": is_a_value,
        "its draws depend on the seed alone": depends_on_the_seed_alone,
        "it returns the columns that it declares, all under its name": returns_its_columns,
        "it reports its protocol": reports_its_protocol,
        "its values are finite numbers, texts, booleans or None": returns_plain_values,
        "weights that are not finite give nulls and a reason": is_null_where_weights_are_not_finite,
    }
    broken = [line for line, law in laws.items() for line in _broken(line, law, metric)]
    if broken:
        raise AssertionError("\n".join([f"{metric!r} breaks {len(broken)} of {len(laws)} laws:", *broken]))


def _broken(text: str, law: Callable[[Metric], None], metric: Metric) -> list[str]:
    try:
        law(metric)
    except Exception as error:  # what a metric raises is what it breaks the law by
        return [f"  {text}: {type(error).__name__}: {' '.join(str(error).split())[:200]}"]
    return []


def small_network() -> nn.Sequential:
    """Return a float64 network of 99 parameters with batch norm and dropout, its statistics as after some training."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.5), nn.Linear(8, 3)).double()
        for statistics, low, high in (("running_mean", -0.5, 0.5), ("running_var", 0.5, 2.0)):
            nn.init.uniform_(net[1].get_buffer(statistics), low, high)
    return net


def small_surface(
    module: nn.Module, loss: Callable[[Tensor, Tensor], Tensor] | None = None, **options: Any
) -> LossSurface:
    """Return the loss of small_network over ten examples."""
    draws = torch.Generator().manual_seed(1)
    inputs = torch.randn(NUM_EXAMPLES, 6, generator=draws, dtype=torch.float64)
    targets = torch.randint(3, (NUM_EXAMPLES,), generator=draws)
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    return LossSurface(module, params, buffers, loss or cross_entropy, inputs, targets, **options)


def leaves_no_trace(metric: Metric) -> None:
    """Raise where the measured module or a generator is not as it was."""
    for batch_norm in ("running", "batch"):
        net = small_network()
        net[4].weight.grad = torch.ones_like(net[4].get_parameter("weight"))
        assert_leaves_no_trace(lambda: metric.measure(small_surface(net, batch_norm=batch_norm), 0), net)  # noqa: B023


def leaves_no_trace_when_interrupted(metric: Metric) -> None:
    """Raise where the module is not as it was after an exception in the middle of the measurement."""
    net, calls = small_network(), []

    def fails_later(outputs: Tensor, targets: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return cross_entropy(outputs, targets)

    surface = small_surface(net, fails_later)
    surface.value()
    try:
        assert_leaves_no_trace(lambda: metric.measure(surface, 0), net)
    except KeyboardInterrupt:
        return


def is_a_value(metric: Metric) -> None:
    """Raise where two equal metrics are not equal, not hashed alike, or not the same after pickling."""
    copy = pickle.loads(pickle.dumps(metric))
    _require(copy == metric and hash(copy) == hash(metric), f"{copy!r} is not {metric!r}")


def depends_on_the_seed_alone(metric: Metric) -> None:
    """Raise where the global generator changes what is measured."""
    rows = []
    with torch.random.fork_rng(devices=[]):
        for noise in range(2):
            torch.manual_seed(noise)
            rows.append(metric.measure(small_surface(small_network()), 5))
    _require(rows[0] == rows[1], "two measurements with the same seed differ")


def returns_its_columns(metric: Metric) -> None:
    """Raise where keys and declared columns differ, or are not under the metric's name."""
    row = _measured(metric)
    odd = sorted(row.keys() ^ metric.columns().keys())
    _require(not odd, f"declared or returned alone: {odd}")
    odd = [key for key in row if key != metric.name and not key.startswith(f"{metric.name}.")]
    _require(not odd, f"not {metric.name} or {metric.name}.<what>: {odd}")


def reports_its_protocol(metric: Metric) -> None:
    """Raise where `<name>.<field>` of SHARED_COLUMNS is missing or wrong."""
    row = _measured(metric)
    missing = [field for field in SHARED_COLUMNS if f"{metric.name}.{field}" not in row]
    _require(not missing, f"missing: {missing}; add **protocol(self.name, surface, seed)")
    expected = {"reason": None, "seed": 5, "split": "validation", "batch_norm": "batch", "dtype": "float64"}
    found = {field: row[f"{metric.name}.{field}"] for field in expected}
    _require(found == expected, f"{found}, not {expected}")


def returns_plain_values(metric: Metric) -> None:
    """Raise for values that a table cannot hold, and for NaN and infinity."""
    row = _measured(metric)
    odd = {key: value for key, value in row.items() if type(value) not in (float, int, str, bool, type(None))}
    _require(not odd, f"no plain values: {odd}")
    odd = {key: value for key, value in row.items() if isinstance(value, float) and not math.isfinite(value)}
    _require(not odd, f"not finite: {odd}; return unmeasured([self], reason)")


def is_null_where_weights_are_not_finite(metric: Metric) -> None:
    """Raise where a diverged member is not a row of nulls with a reason."""
    net = small_network()
    with torch.no_grad():
        net[0].get_parameter("weight").fill_(math.nan)
    row = measure_all([metric], small_surface(net), 0)
    left = {key: value for key, value in row.items() if value is not None and not key.endswith(".reason")}
    _require(not left and bool(row[f"{metric.name}.reason"]), f"left: {left}")


def _measured(metric: Metric) -> dict[str, Value]:
    return metric.measure(small_surface(small_network(), batch_norm="batch", split="validation"), 5)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)
