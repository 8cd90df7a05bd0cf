"""What is measured on the members of one job is what is measured on each of them alone."""

from __future__ import annotations

import math

import pytest
import torch

from tests.trainings import training, trial
from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.models.mlp import MLP
from tune_lb.observation.outcome import outcomes
from tune_lb.surface import member_surfaces

METRICS = (LambdaMax(tolerance=1e-6, max_samples=20), AdaptiveSharpness())
MODEL = MLP(hidden=(6, 6))


def trained(seeds, execution="together"):
    running = training(trial(model=MODEL), seeds, execution, torch.float64)
    while not running.done:
        running.advance(1.0)
    return running


def rows(running):
    return {found.row["seed"]: found.row for found in outcomes(running, metrics=METRICS, wall_s=1.0)}


@pytest.mark.parametrize("free_bytes", [2**31, 0])
def test_members_of_a_job_have_the_values_that_they_have_alone(monkeypatch, free_bytes):
    monkeypatch.setattr(member_surfaces, "free_bytes", lambda device: free_bytes)
    found = rows(trained((3, 4, 5)))
    assert len({row["lambda_max"] for row in found.values()}) == 3
    for seed, row in found.items():
        alone = rows(trained((seed,), "alone"))[seed]
        measured = [key for key in row if key.startswith(("lambda_max", "adaptive_sharpness"))]
        assert measured == [key for key in alone if key.startswith(("lambda_max", "adaptive_sharpness"))]
        for key in measured:
            # residuals are differences of nearly equal vectors
            close = pytest.approx(alone[key], rel=1e-6, abs=1e-7) if isinstance(alone[key], float) else alone[key]
            assert row[key] == close, key
        assert row["lr_times_lambda_max"] == pytest.approx(row["lr"] * alone["lambda_max"], rel=1e-6)
        assert row["lambda_max.num_samples"] == 20


def test_one_that_diverged_is_null_and_the_others_are_measured():
    running = trained((3, 4, 5))
    expected = rows(running)
    running = training(trial(model=MODEL), (3, 4, 5), "together", torch.float64)
    next(iter(running.groups[0].params.values()))[1] = math.nan
    while not running.done:
        running.advance(1.0)
    found = rows(running)
    assert found[4]["status"] == "diverged"
    assert found[4]["lambda_max"] is None
    assert found[4]["lambda_max.reason"] == f"the member diverged at step {found[4]['diverged_at_step']}"
    for seed in (3, 5):
        assert found[seed]["lambda_max"] == pytest.approx(expected[seed]["lambda_max"], rel=1e-9)
