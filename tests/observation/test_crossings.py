"""lambda_max when the train loss first falls below a threshold: what the space says, or not at all."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.jobs import finished, job_of, work_on
from tests.trainings import Blobs, parts_of, trial
from tests.trainings import training as start_training
from tests.tuning.test_running_job import a_trial, context_of, history_of
from tune_lb.cli.asked import read_overrides
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure
from tune_lb.models.mlp import MLP
from tune_lb.observation.observer import Observer
from tune_lb.space.arm import Arm
from tune_lb.space.checks import space_problems
from tune_lb.space.description import description, space_hash
from tune_lb.space.observation import CROSSINGS
from tune_lb.space.space import Space
from tune_lb.training.evaluation import recalibrated


def seen(folder, crossings):
    of = a_trial()
    context = replace(context_of(folder, of), metrics=(), crossings=crossings)
    finished(work_on(job_of(of, (2000,), "confirm"), parts_of(of), context))
    return history_of(folder)


def test_a_job_takes_lambda_max_where_the_space_says_and_nowhere_where_it_says_none(tmp_path):
    losses = [row["value"] for row in seen(tmp_path / "none", None) if row["name"] == "train_loss"]
    limit = round((losses[0] + losses[1]) / 2, 3)
    rows = seen(tmp_path / "one", (limit,))
    assert [(row["name"], row["step"]) for row in rows if "@" in row["name"]] == [(f"lambda_max@{limit:g}", 6)]
    assert [row for row in rows if "@" not in row["name"]] == [
        row for row in seen(tmp_path / "no", ()) if "@" not in row["name"]
    ]
    assert not any("@" in row["name"] for row in history_of(tmp_path / "none"))


def test_the_value_is_that_of_the_network_then():
    of = trial()
    observer = Observer(start_training(of, (0,)), watched=True, crossings=(1e3,))
    rows = observer.advance()
    running = start_training(of, (0,))
    running.advance()
    (member,), module, train = list(running.trained()), running.evaluation_module, running.parts.train
    module.load_state_dict(member.params | recalibrated(module, member.params, member.buffers, train))
    own = measure(
        module, of.loss, train.standardized().to(next(module.parameters())), train.targets, LambdaMax(tolerance=1e-2)
    )
    assert [row.value for row in rows if row.name == "lambda_max@1000"] == [pytest.approx(own["lambda_max"], rel=1e-3)]


def space(**settings):
    return Space(question="?", data=Blobs(), model=MLP(), arms=(Arm("a", batch_size=8, lr=0.1),), **settings)


def test_a_space_of_before_has_the_hash_that_it_had():
    assert space().crossings == CROSSINGS == (0.3, 0.1, 0.03, 0.01)
    assert "crossings" not in description(space())
    assert len({space_hash(space(**given)) for given in ({}, {"crossings": None}, {"crossings": (0.5,)})}) == 3
    assert space_problems(space(crossings=None)) == space_problems(space(crossings=(0.5, 2))) == []


@pytest.mark.parametrize(
    "wrong", [(0.0,), (-1.0,), (0.1, 0.1), (float("nan"),), (float("inf"),), ("a",), (True,), 0.1, "none"]
)
def test_crossings_that_are_no_losses_are_refused_in_one_line(wrong):
    (problem,) = space_problems(space(crossings=wrong))
    assert problem.startswith("space.crossings = ")
    assert "give train losses above 0, each once" in problem


def test_none_on_the_command_line_turns_it_off():
    for typed in ("crossings=none", "crossings=None"):
        changes, problems = read_overrides([typed])
        assert (space().overridden(changes).crossings, problems) == (None, [])
    assert space().overridden([("crossings", [0.5, 0.2])]).crossings == (0.5, 0.2)
