"""Experiments of the papers: possible at both scales, whole in a smoke run, and honest about what differs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Called
from tests.cli.conftest import call as call  # a fixture
from tune_lb.metrics import LambdaMax, SpectralNorm
from tune_lb.space.checks import checked_designs, space_problems
from tune_lb.space.loading import declared, load_space, space_names
from tune_lb.space.papers import ROWS, SCALES, SCRIPTS
from tune_lb.space.smoke import LARGEST_BATCH, LOOKED_AT, UPDATES, smoke

EXPERIMENTS = [name for name in space_names() if declared(name).rows]
WITH_DATA = [name for name in space_names() if name not in ("keskar_f2", "jaiswal_imagenet")]
"""Those whose data are free."""
TRIED = ("quickstart", "jaiswal_noise_model", "jaiswal_caltech101")
"""Smoke runs of these are part of every run of all tests; those of the others are left to -m spaces."""


def test_every_row_is_repeated() -> None:
    held = {row for name in EXPERIMENTS for row in declared(name).rows}
    assert held | set(SCRIPTS) == set(ROWS)
    assert held & set(SCRIPTS) == set()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", EXPERIMENTS)
def test_an_experiment_is_possible_at_either_scale(name: str, scale: str) -> None:
    space = load_space(name, scale).space
    assert space_problems(space) == []
    assert space.rows == declared(name).rows
    assert scale == "paper" or space.differs, "what is reduced is said"
    cost = declared(name).cost if scale == "small" else declared(name).paper_cost
    assert cost is not None
    assert any(word in cost for word in ("minute", "hour", "day", "not measured"))


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("name", space_names())
def test_a_smoke_run_is_possible_of_every_space(name: str, scale: str) -> None:
    space = load_space(name, scale if name in EXPERIMENTS else None).space
    smoked = smoke(space)
    assert space_problems(smoked) == []
    assert [arm.name for arm in smoked.arms] == [arm.name for arm in space.arms]
    metrics = [metric for metric in (*smoked.metrics, *(smoked.watch.metrics if smoked.watch else ()))]
    assert all(0 < (getattr(metric, "max_samples", None) or LOOKED_AT) <= LOOKED_AT for metric in metrics)
    assert all(
        getattr(metric, "max_hvps", 1) <= 10 for metric in metrics if isinstance(metric, LambdaMax | SpectralNorm)
    )
    before = [*space.metrics, *(space.watch.metrics if space.watch else ())]
    assert [type(metric) for metric in metrics] == [type(metric) for metric in before]
    if smoked.walk:
        assert 0 < (smoked.walk.max_samples or 0) <= LOOKED_AT, "losses of few examples"
        assert smoked.walk.points == min(space.walk.points if space.walk else 0, 1)
    for design in checked_designs(smoked):
        budget, size = design.template.budget, design.template.batch_size
        assert getattr(budget, "updates", UPDATES) == UPDATES
        sizes = size.to_check() if hasattr(size, "to_check") else [size]
        assert max(sizes) <= LARGEST_BATCH or max(sizes) == space.batch_size, "cut, where what divides it allows"
        assert type(design.template.model) is type(space.arms[0].settings.get("model", space.model))


@pytest.mark.parametrize(
    ("name", "batch_size"), [("jaiswal_noise_model", 250), ("quickstart_mnist", 1_000), ("remedies", 200)]
)
def test_what_divides_a_batch_divides_the_one_that_a_smoke_run_has(name: str, batch_size: int) -> None:
    """1,000 in groups of 50 becomes 250; in groups of 200 and 500 it stays, for nothing smaller has both."""
    assert smoke(load_space(name).space).batch_size == batch_size


@pytest.mark.data
@pytest.mark.ray
@pytest.mark.parametrize(
    "name", [name if name in TRIED else pytest.param(name, marks=pytest.mark.spaces) for name in WITH_DATA]
)
def test_a_smoke_run_goes_the_whole_path(name: str, call: Called, tmp_path: Path) -> None:
    words = ("search", name, "--smoke", "--json", "--max-concurrent", "1", "--storage", str(tmp_path))
    # timing the ways to train a large network takes as long as all the rest
    way = ("execution=alone",) if name in TRIED[1:] else ()
    code, out, err = call(*words, *way)
    assert code == 0, err
    answer = json.loads(out)
    arms = {design.name for design in checked_designs(smoke(load_space(name).space))}
    assert answer["run"] == f"{name}_smoke"
    assert {row["arm"] for row in answer["rows"]} == arms
    assert (tmp_path / f"{name}_smoke" / "report" / "report.md").is_file()


@pytest.mark.parametrize("scale", SCALES)
def test_what_goes_on_after_noise_begins_with_the_training_of_the_noisy_arm(scale: str) -> None:
    arms = {
        design.name: design.template
        for design in checked_designs(load_space("walk_isotropic_noise", scale=scale).space)
    }
    noisy = next(arm for name, arm in reversed(arms.items()) if name.startswith("noise_"))
    for name in ("then_descent", "then_lower_rate", "then_sgd"):
        first, last = arms[name].in_phases()
        same = (
            "batch_size",
            "lr",
            "eta_over_b",
            "optimizer",
            "schedule",
            "remedies",
            "budget",
            "initialization",
            "data",
        )
        assert {field: getattr(first, field) for field in same} == {field: getattr(noisy, field) for field in same}, (
            name
        )
        assert last.remedies == ()
