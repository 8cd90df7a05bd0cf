"""Objectives of a space: which there may be, and what members have of them."""

from __future__ import annotations

import json
import math

import pytest

from tests.space.test_space import space
from tune_lb.metrics import LambdaMax
from tune_lb.search.score import Score, measured, score_of, sought
from tune_lb.space.checks import space_problems
from tune_lb.space.description import description

ROW = {"status": "completed", "validation_loss": 0.2, "validation_error": 0.05, "gradient_evaluations": 40}
NAMES = ("validation_loss", "gradient_evaluations", "-margin")


def test_a_score_has_the_objectives_in_their_order_and_what_is_measured_later_too():
    score = score_of(ROW, NAMES)
    assert score.objectives == (0.2, 40.0, math.inf)
    assert measured(score, {"margin": 1.5}, NAMES).objectives == (0.2, 40.0, -1.5)
    assert measured(score, {"margin": None, "margin.reason": "no classes"}, NAMES).objectives == score.objectives
    assert score_of(ROW).objectives == ()


def test_a_diverged_member_is_cheap_and_no_better_for_it():
    row = {"status": "diverged", "validation_error": 0.9, "gradient_evaluations": 1}
    assert score_of(row, NAMES).objectives == (math.inf,) * 3


def test_a_sampler_is_told_one_objective_as_a_number_and_several_as_a_tuple():
    travelled = Score(*json.loads(json.dumps(score_of(ROW, NAMES[:2]))))
    assert sought(travelled, otherwise=9.0) == (0.2, 40.0)
    assert sought(score_of(ROW, ("validation_error",)), otherwise=9.0) == 0.05
    assert sought(score_of(ROW), otherwise=9.0) == 9.0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            {"objectives": ("test_error",)},
            "test_error is of the test part, which chooses nothing; take validation_error",
        ),
        (
            {"objectives": ("validation_eror",)},
            "no member has 'validation_eror' (a metric is named in metrics=); did you mean 'validation_error'?",
        ),
        ({"objectives": ("lambda_max",)}, "no member has 'lambda_max' (a metric is named in metrics=)"),
        (
            {"objectives": ("lambda_max",), "metrics": (LambdaMax(),)},
            "lambda_max is measured on confirmed members only; give metrics_on='all'",
        ),
        ({"objectives": ("-train_loss", "train_loss")}, "train_loss is given twice"),
        (
            {"objectives": ("validation_loss", "updates"), "sampler": "cmaes"},
            "sampler cmaes seeks one objective; take tpe, gp or nsga2, or give one",
        ),
        ({"objectives": (1,)}, "a tuple of names of columns is needed"),
        ({"objectives": "validation_loss, epochs"}, "no member has 'epochs'"),
    ],
)
def test_objectives_that_cannot_be_are_refused_in_a_line(settings, said):
    found = [line for line in space_problems(space(**settings)) if "objectives" in line]
    assert any(said in line for line in found), found


def test_objectives_are_part_of_what_a_run_is_where_there_are_any():
    plain = description(space())
    several = space(
        objectives=("validation_error", "lambda_max"), metrics=(LambdaMax(),), metrics_on="all", sampler="tpe"
    )
    assert "objectives" not in plain
    assert description(several)["objectives"] == '["validation_error", "lambda_max"]'
