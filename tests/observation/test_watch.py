"""Metrics while training: at the epochs asked for, of the network as it is then, without a trace in the training."""

from __future__ import annotations

import pathlib
from dataclasses import replace

import pytest
import torch

import tune_lb
from tests.jobs import finished, job_of, work_on
from tests.trainings import Blobs, flat, history, parts_of, trial
from tests.trainings import training as start_training
from tests.tuning.test_running_job import a_trial, context_of, history_of
from tune_lb.budgets import Epochs
from tune_lb.metrics.keskar import Keskar
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import main_values, measure
from tune_lb.metrics.trace import Trace
from tune_lb.models.mlp import MLP
from tune_lb.observation.observer import Observer
from tune_lb.observation.outcome import METRIC_SEED
from tune_lb.settings.identity import identity
from tune_lb.space.arm import Arm
from tune_lb.space.checks import space_problems
from tune_lb.space.description import description, space_hash
from tune_lb.space.observation import Walk, Watch
from tune_lb.space.space import Space
from tune_lb.training.evaluation import recalibrated

WATCH = Watch(metrics=("lambda_max", Trace()), every_epochs=2, splits=("train", "test"))


def observed(of, watch, seeds=(0,)):
    observer, rows = Observer(start_training(of, seeds), watched=True, watch=watch), []
    while not observer.training.done:
        rows += observer.advance()
    return observer, rows


def of_name(rows, name, seed=0):
    return {round(row.epoch, 6): row.value for row in rows if row.name == name and row.seed == seed}


def test_the_numbers_are_those_of_the_network_at_that_epoch():
    of = trial(budget=Epochs(5.0), lr=0.02)
    _, rows = observed(of, WATCH, (0, 1))
    running = start_training(of, (0, 1))
    for epoch in range(1, 6):
        running.advance()
        if epoch not in (2, 4, 5):
            continue
        for member in running.trained():
            module, parts = running.evaluation_module, running.parts
            buffers = recalibrated(module, member.params, member.buffers, parts.train)
            module.load_state_dict(member.params | buffers)
            for split in ("train", "test"):
                part = getattr(parts, split)
                own = measure(module, of.loss, part.standardized().to(flat(member.params)), part.targets, WATCH.metrics)
                for name in ("lambda_max", "trace"):
                    column = name if split == "train" else f"test_{name}"
                    assert of_name(rows, column, member.seed)[epoch] == pytest.approx(own[name], rel=1e-6)
    assert of_name(rows, "lambda_max").keys() == {2, 4, 5}, "every second epoch, and the end"
    assert of_name(rows, "lambda_max") != of_name(rows, "test_lambda_max")


def test_watching_changes_no_bit_of_the_training():
    of = trial(budget=Epochs(3.0))
    watched, rows = observed(of, WATCH)
    plain, expected = observed(of, None)
    for a, b in zip(watched.training.trained(), plain.training.trained(), strict=True):
        assert torch.equal(flat(a.params | a.buffers), flat(b.params | b.buffers))
    names = {"lambda_max", "trace", "test_lambda_max", "test_trace", "watch.wall_s"}
    assert [row for row in rows if row.name not in names] == expected
    assert {row.name for row in rows} >= names
    assert watched.watcher.looking_s == pytest.approx(sum(row.value for row in rows if row.name == "watch.wall_s"))


def test_epochs_may_be_named_and_batches_need_not_divide_them():
    of = trial(budget=Epochs(6.0), batch_size=17)
    _, rows = observed(of, Watch(epochs=(1, 2, 4)))
    steps = [row.step for row in rows if row.name == "lambda_max"]
    # 17 of 24 examples an update: the last updates within 1, 2 and 4 epochs are the 1st, 2nd and 5th; and the end
    assert steps == [1, 2, 5, max(steps)]


def test_metrics_of_several_numbers_have_a_row_for_each_and_none_for_their_protocol():
    _, rows = observed(trial(budget=Epochs(1.0)), Watch(metrics=(Keskar(p=5), "spectrum(steps=5)")))
    names = {row.name for row in rows if row.name.startswith(("keskar", "spectrum"))}
    assert names == {
        *(f"keskar.{space}_{eps}" for space in ("full", "subspace", "corner") for eps in ("1e-3", "5e-4")),
        *(f"spectrum.{what}" for what in ("mean", "standard_deviation", "negative", "positive")),
    }


def test_main_values_are_the_name_s_own_or_all_that_are_no_diagnostics():
    row = {"lambda_max": 3.0, "lambda_max.residual": 1e-4, "lambda_max.loss": 0.5}
    assert main_values(LambdaMax(), row) == {"lambda_max": 3.0}
    assert main_values(LambdaMax(), dict.fromkeys(row)) == {}


def test_a_member_that_diverges_is_watched_no_further():
    of = trial(model=MLP(hidden=(6,), batch_norm=False), lr=1e200, budget=Epochs(3.0))
    _, rows = observed(of, Watch())
    assert of_name(rows, "lambda_max") == {}


@pytest.mark.slow
def test_a_job_stores_them_in_its_history_and_goes_on_from_a_checkpoint_with_the_same(tmp_path):
    of = a_trial()

    def work(folder):
        context = replace(context_of(folder, of), watch=WATCH)
        return work_on(job_of(of, (2000, 2001), "confirm"), parts_of(of), context)

    finished(work(tmp_path / "whole"))
    for _ in range(4):
        work(tmp_path / "broken").advance(0.0)
    finished(work(tmp_path / "broken"))
    whole, broken = (
        [row for row in history_of(folder) if row["name"] != "watch.wall_s"]
        for folder in (tmp_path / "whole", tmp_path / "broken")
    )
    assert whole == broken
    assert {row["step"] for row in whole if row["name"] == "test_trace"} == {6, 12, 15}
    assert METRIC_SEED == 0


def space(watch):
    return Space(question="?", data=Blobs(), model=MLP(), arms=(Arm("a", batch_size=8, lr=0.1),), watch=watch)


@pytest.mark.parametrize(
    ("watch", "text"),
    [
        (Watch(metrics=("lambda_mx",)), "watch.metrics: there is no metric 'lambda_mx'; did you mean 'lambda_max'"),
        (Watch(metrics=()), "no metric is given"),
        (Watch(every_epochs=0), "watch.every_epochs = 0"),
        (Watch(epochs=(0,)), "counted from 1"),
        (Watch(epochs=(1,), every_epochs=2), "give one of them"),
        (Watch(splits=("tests",)), "one or more of train, validation, test"),
        (5, "watch = 5"),
    ],
)
def test_settings_without_meaning_are_refused_when_the_space_is_checked(watch, text):
    assert any(text in problem for problem in space_problems(space(watch)))


def test_a_space_without_a_watch_is_described_as_before_and_one_with_is_another():
    assert "watch" not in description(space(None))
    assert space_hash(space(None)) != space_hash(space(Watch())) != space_hash(space(Watch(every_epochs=2)))
    assert space_problems(space(WATCH)) == []


@pytest.mark.parametrize("walk", [None, Walk(epochs=(1,), points=0), Walk(epochs=(), points=1)], ids=str)
@pytest.mark.parametrize("execution", ["alone", "together"])
def test_looks_inside_an_epoch_change_nothing_and_see_the_network_of_that_step(execution, walk):
    of = trial(budget=Epochs(3.0), lr=0.02)
    steps = (0, 1, 4, 5)
    running = start_training(of, (0, 1), execution)
    watch = Watch(metrics=("parameter_norm",), epochs=(2,), steps=steps)
    observer, rows = Observer(running, watched=True, watch=watch, walk=walk), []
    while not running.done:
        rows += observer.advance()
    plain = start_training(of, (0, 1), execution)
    expected = history(plain)
    for a, b in zip(running.trained(), plain.trained(), strict=True):
        assert torch.equal(flat(a.params | a.buffers), flat(b.params | b.buffers))
    own = [row for row in rows if row.name in ("running_train_loss", "lr")]
    assert [row[:4] for row in own] == [row[:4] for row in expected if row.name in ("running_train_loss", "lr")]
    assert [row.value for row in own] == pytest.approx(
        [row.value for row in expected if row.name in ("running_train_loss", "lr")], rel=1e-9
    )
    stepped = start_training(of, (0, 1), execution)
    for step in range(10):
        if step:
            stepped.advance(1e-9)
        losses = {row.seed: row.value for row in stepped.evaluate() if row.name == "train_loss"}
        for member in stepped.trained():
            seen = {row.name: row.value for row in rows if row.step == step and row.seed == member.seed}
            looked = step in (*steps, 6, 9)
            assert ("parameter_norm" in seen) == looked
            if looked:
                assert seen["parameter_norm"] == pytest.approx(float(flat(member.params).norm()), rel=1e-6)
                assert seen["train_loss"] == pytest.approx(losses[member.seed], rel=1e-9)


def test_a_loss_crossing_is_seen_at_the_steps_that_are_asked_for():
    of = trial(budget=Epochs(2.0), lr=0.05)
    plain = start_training(of)
    start = next(row.value for row in plain.evaluate() if row.name == "train_loss")
    plain.advance(1e-9)
    after = next(row.value for row in plain.evaluate() if row.name == "train_loss")
    limit = (start + after) / 2
    assert after < start
    found = {}
    for steps in ((), (0, 1)):
        observer = Observer(
            start_training(of), watched=True, crossings=(limit,), watch=Watch(("parameter_norm",), steps=steps)
        )
        rows = [row for _ in range(2) for row in observer.advance()]
        found[steps] = [row.step for row in rows if row.name.startswith("lambda_max@")]
    assert found == {(): [3], (0, 1): [1]}


def test_test_loss_and_error_at_every_epoch_end():
    of = trial(budget=Epochs(3.0), lr=0.02)
    running, rows = start_training(of), []
    observer = Observer(running, watched=True, watch=Watch(("parameter_norm",), every_epochs=3, test_error=True))
    while not running.done:
        rows += observer.advance()
    again = start_training(of)
    for epoch in (1, 2, 3):
        again.advance()
        member, module = next(again.trained()), again.evaluation_module
        module.load_state_dict(member.params | recalibrated(module, member.params, member.buffers, again.parts.train))
        part = again.parts.test
        outputs = module(part.standardized().to(flat(member.params)))
        assert of_name(rows, "test_loss")[epoch] == pytest.approx(
            of.loss(outputs, part.targets).mean().item(), rel=1e-9
        )
        wrong = (outputs.argmax(-1) != part.targets).double().mean().item()
        assert of_name(rows, "test_error")[epoch] == pytest.approx(wrong, abs=1e-12)
    assert not [row for row in observed(of, WATCH)[1] if row.name == "test_error"]


def test_nothing_that_selects_can_read_what_is_observed():
    # what the planner is told of a member is its row; no history, no looks
    root = pathlib.Path(tune_lb.__file__).parent
    for package in ("search", "samplers", "inference"):
        for file in sorted((root / package).glob("*.py")):
            text = file.read_text()
            assert "tune_lb.observation" not in text, file
            assert "HistoryRow" not in text, file


@pytest.mark.parametrize(("steps", "words"), [((-1,), "counted from 0"), ((0.5,), "counted from 0"), ((0, 10), "")])
def test_steps_are_counts(steps, words):
    lines = Watch(steps=steps).problems()
    assert bool(lines) == bool(words)
    assert all(words in line for line in lines)


def test_spaces_without_the_new_fields_are_those_of_before():
    assert identity(Watch()).keys() == {"type", "metrics", "every_epochs", "epochs", "splits"}
    assert identity(Walk()).keys() == {"type", "epochs", "points"}
