"""What cannot be observed never costs a trained member: a null with its reason, and the others go on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch
from torch import nn

from tests.jobs import finished, job_of, work_on
from tests.trainings import parts_of
from tests.tuning.test_running_job import a_trial, context_of, files, history_of, rows_of
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.remedies.ema import EMA
from tune_lb.results.merger import Merger
from tune_lb.results.storage import Store
from tune_lb.space.observation import Walk, Watch
from tune_lb.tuning.resume import unmeasured

SEEDS = (2000, 2001)
ERRORS = {
    "user": (ZeroDivisionError("no such\nthing"), "ZeroDivisionError: no such thing (", "test_unobserved.py:"),
    "memory": (torch.OutOfMemoryError("CUDA out of memory"), "out of memory: CUDA out of memory", ""),
    "memory of the host": (MemoryError(), "out of memory: MemoryError", ""),
    "assertion": (AssertionError(), "AssertionError: AssertionError (", ""),
}


@dataclass(frozen=True)
class Raises:
    """A metric that cannot be measured."""

    name: ClassVar[str] = "own"
    what: str = "user"
    max_samples: int | None = None

    def columns(self):
        return {"own": "a number, without unit", "own.reason": "why not"}

    def measure(self, surface, seed):
        raise ERRORS[self.what][0]


class Shy(nn.Module):
    """A linear network that raises where it is told to: never while it trains."""

    where: ClassVar[str] = ""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.layer = nn.Linear(inputs, outputs)

    def forward(self, x):
        mode = "derivative" if torch.is_grad_enabled() else "value"
        if not self.training and Shy.where == mode:
            raise KeyError("looked at")
        return self.layer(x)


@pytest.fixture
def shy():
    yield Shy
    Shy.where = ""


def shy_network(input_shape, num_classes):
    return Shy(input_shape[0], num_classes)


def work(folder, *metrics, of=None, stage="confirm", **observed):
    of = of or a_trial()
    context = replace(context_of(folder, of), metrics=metrics, **observed)
    return work_on(job_of(of, SEEDS, stage), parts_of(of), context)


def trained(job):
    """Train a job's only stack to its end, and do not look at what came out."""
    job.advance(0.0)
    while not job.now.advance(0.0):
        pass


@pytest.mark.parametrize("what", ERRORS)
def test_a_metric_that_raises_is_null_with_the_reason_and_the_others_are_measured(tmp_path, what):
    finished(work(tmp_path, Raises(what), LambdaMax()))
    for row in rows_of(tmp_path):
        assert (row["status"], row["own"]) == ("completed", None)
        assert row["own.reason"].startswith(ERRORS[what][1])
        assert ERRORS[what][2] in row["own.reason"]
        assert row["lambda_max"] > 0
        assert row["unobserved"] is row["error"] is None


def test_values_and_rows_are_those_of_a_job_without_the_metric_that_raises(tmp_path):
    finished(work(tmp_path / "a", Raises(), LambdaMax()))
    finished(work(tmp_path / "b", LambdaMax()))
    but = ("own", "own.reason", "wall_s", "finished_at", "peak_memory_bytes")
    assert rows_of(tmp_path / "a", *but) == rows_of(tmp_path / "b", *but)


def test_a_network_without_derivatives_in_evaluation_keeps_its_member_its_losses_and_says_what_is_missing(
    tmp_path, shy
):
    shy.where = "derivative"
    of = a_trial(model=shy_network)
    finished(work(tmp_path, LambdaMax(), of=of, watch=Watch()))
    names = {row["name"] for row in history_of(tmp_path)}
    assert {"train_loss", "validation_error", "watch.wall_s"} <= names
    assert not any(name.startswith("lambda_max") for name in names)
    for row in rows_of(tmp_path):
        assert row["status"] == "completed"
        assert row["train_loss"] > 0
        assert row["lambda_max.reason"].startswith("KeyError: 'looked at' (")
        assert "watch of lambda_max: KeyError: 'looked at'" in row["unobserved"]


def test_a_walk_and_epoch_ends_that_cannot_be_looked_at_leave_no_rows_and_the_training_as_it_is(tmp_path, shy):
    of = a_trial(model=shy_network)
    finished(work(tmp_path / "seen", of=of, walk=Walk(epochs=(1, 2), points=2)))
    broken = work(tmp_path / "unseen", of=of, walk=Walk(epochs=(1, 2), points=2))
    shy.where = "value"
    trained(broken)
    shy.where = ""
    finished(broken)
    names = {row["name"] for row in history_of(tmp_path / "unseen")}
    assert "walk.loss" not in names
    assert "train_loss" not in names
    assert {"running_train_loss", "lr", "walk.epoch_distance"} <= names
    assert "train_loss" in {row["name"] for row in history_of(tmp_path / "seen")}
    but = (
        "wall_s",
        "finished_at",
        "peak_memory_bytes",
        "unobserved",
        "walk.evaluations",
        "walk.gradients",
        "walk.wall_s",
    )
    assert rows_of(tmp_path / "unseen", *but) == rows_of(tmp_path / "seen", *but)
    for row in rows_of(tmp_path / "unseen"):
        assert "losses at epoch ends: KeyError" in row["unobserved"]
        assert "walk: KeyError" in row["unobserved"]


def test_reasons_survive_a_checkpoint(tmp_path, shy):
    of = a_trial(model=shy_network)
    shy.where = "value"
    work(tmp_path, of=of).advance(0.0)
    shy.where = ""
    finished(work(tmp_path, of=of))
    assert all("losses at epoch ends" in row["unobserved"] for row in rows_of(tmp_path))


class Sensitive(nn.Linear):
    """Raises in evaluation at the exact weights of an average: at nearly all others it does not."""

    average: ClassVar[torch.Tensor | None] = None

    def forward(self, x):
        if not self.training and Sensitive.average is not None and torch.equal(self.weight, Sensitive.average):
            raise ValueError("not at these weights")
        return super().forward(x)


def sensitive_network(input_shape, num_classes):
    return Sensitive(input_shape[0], num_classes)


def test_alternatives_that_cannot_be_evaluated_are_null(tmp_path):
    of = a_trial(EMA(half_life=0.5), model=sensitive_network)
    one = work(tmp_path, of=of)
    trained(one)
    member = next(iter(one.now.training.trained()))
    (name, params), *_ = member.alternatives.items()
    Sensitive.average = params["weight"]
    try:
        finished(one)
    finally:
        Sensitive.average = None
    first, second = rows_of(tmp_path)
    assert first[f"test_error@{name}"] is None
    assert first["unobserved"].startswith(f"@{name}: not at these weights (")
    assert first["test_error"] is not None
    assert second[f"test_error@{name}"] is not None
    assert second["unobserved"] is None


@dataclass(frozen=True)
class Stops(Raises):
    """Ends the process, as a kill does: no row of this metric is stored."""

    def measure(self, surface, seed):
        raise KeyboardInterrupt


@pytest.mark.parametrize("stage", ["confirm", "search"])
def test_a_worker_that_dies_while_it_measures_leaves_the_member_and_the_next_one_trains_nothing(tmp_path, stage):
    dying = work(tmp_path, Stops(), stage=stage, metrics_on="all")
    with pytest.raises(KeyboardInterrupt):
        finished(dying)
    rows = rows_of(tmp_path)
    assert [row["status"] for row in rows] == ["completed"] * 2
    assert all(row["own"] is row["own.reason"] is None for row in rows)
    weights = [name for name in files(tmp_path) if name.startswith("weights/")]
    assert len(weights) == 2, "they stay, so that tune-lb measure finds them"
    merger = Merger(Store(tmp_path), dying.context.schema())
    merger.add_new()
    assert unmeasured(merger.table(), dying.context) == {"own": 2}

    again = work(tmp_path, Stops(), stage=stage, metrics_on="all")
    assert again.advance(0.0), "nothing is trained"
    scores = {seed: score.error for (_, seed), score in again.finish().items()}
    assert scores == {row["seed"]: row["validation_error"] for row in rows}
    found = rows_of(tmp_path)
    assert all("died while it measured (python -m tune_lb measure run --again" in row["own.reason"] for row in found)
    assert [row["test_error"] for row in found] == [row["test_error"] for row in rows]


def test_weights_of_members_that_are_only_measured_go_when_they_are(tmp_path):
    finished(work(tmp_path, LambdaMax(), stage="search", metrics_on="all"))
    assert not any(name.startswith("weights/") for name in files(tmp_path))
    assert all(row["lambda_max"] > 0 for row in rows_of(tmp_path))


@dataclass(frozen=True)
class Odd(Raises):
    """Returns what no column holds."""

    def measure(self, surface, seed):
        return {"own": [1, 2], "own.reason": None, "own.more": 1.0}


def test_a_metric_that_returns_what_it_should_not_costs_no_member(tmp_path):
    finished(work(tmp_path, Odd()))
    assert all(row["status"] == "completed" and "own.more" in row["own.reason"] for row in rows_of(tmp_path))


class Attention(nn.Module):
    """Each feature as a token."""

    def __init__(self, outputs):
        super().__init__()
        self.up, self.head = nn.Linear(1, 4), nn.Linear(4, outputs)
        self.body = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x):
        return self.head(self.body(self.up(x[..., None])).mean(1))


def attention_network(input_shape, num_classes):
    return Attention(num_classes)


def batch_norm_network(input_shape, num_classes):
    norm = nn.BatchNorm1d(6, track_running_stats=False)
    return nn.Sequential(nn.Linear(input_shape[0], 6), norm, nn.ReLU(), nn.Linear(6, num_classes))


@pytest.mark.parametrize(
    ("network", "execution"),
    [(attention_network, "alone"), (batch_norm_network, "alone"), (batch_norm_network, "together")],
)
def test_networks_that_never_had_a_confirmed_member_have_one_with_its_metrics(tmp_path, network, execution):
    """B9: attention and batch norm without running statistics; the look at loss crossings is on."""
    of = a_trial(model=network)
    context = replace(context_of(tmp_path, of, execution), metrics=(LambdaMax(),))
    finished(work_on(job_of(of, SEEDS, "confirm"), parts_of(of), context))
    for row in rows_of(tmp_path):
        assert (row["status"], row["unobserved"]) == ("completed", None)
        assert row["lambda_max"] > 0
        assert row["lambda_max.products"] == "exact"
        assert row["lambda_max.batch_norm"] == ("batch" if network is batch_norm_network else "running")
        assert row["lambda_max.loss"] == pytest.approx(row["train_loss"], rel=1e-5)
