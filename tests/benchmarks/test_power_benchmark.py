"""benchmarks/power.py says what is true of a pool whose effects are known, and draws runs as the design says."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
POINTS, CUTS, SEEDS, LIKELY, SEARCH_CUTS = 12, 6, 4, 8, 2
OFFSET = {"large_batch": 0.0, "sam": -0.02, "nothing": 0.0}


@pytest.fixture
def power(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("power")


@pytest.fixture
def drawing(power):
    return importlib.import_module("power_designs"), importlib.import_module("power_runs")


@pytest.fixture
def arms(power):
    """Errors: a parabola in the point, an effect of the cut that all arms share, noise of each member; the arms' offsets."""
    rng = np.random.default_rng(0)
    of_cut = 0.01 * rng.standard_normal(CUTS)
    rows = []
    for arm, (point, cut, seed) in itertools.product(
        OFFSET, itertools.product(range(POINTS), range(CUTS), range(SEEDS))
    ):
        u = (point + 0.5) / POINTS
        if cut < SEARCH_CUTS or abs(u - 0.4) <= LIKELY / POINTS / 2:
            error = 0.1 + 0.1 * (u - 0.4) ** 2 + of_cut[cut]
            noisy = error + OFFSET[arm] + 0.001 * rng.standard_normal(3)
            named = dict(zip(("test_error", "validation_error", "validation_soft_error"), noisy, strict=True))
            where = {"arm": arm, "point": point, "cut": cut, "seed": SEEDS * cut + seed, "u0": u}
            rows.append(where | named | {"validation_loss": 3 * noisy[1]})
    frame = pd.DataFrame(rows)
    return {name: power.Pool(own) for name, own in frame.groupby("arm", sort=False)}


def test_a_pool_knows_what_it_holds(arms):
    pool = arms["sam"]
    assert pool.table["test_error"].shape == (POINTS, CUTS, SEEDS)
    assert (int(pool.likely.sum()), pool.search_cuts) == (LIKELY, SEARCH_CUTS)
    assert np.isnan(pool.mean).sum() == POINTS - LIKELY


def test_points_are_spread_and_confirm_seeds_of_a_block_differ(drawing, arms):
    designs, runs = drawing
    rng = np.random.default_rng(0)
    for number in (3, 8, 12):
        drawn = designs.spread_points(arms["sam"].points[:, 0], number, rng)
        assert len(set(drawn)) == number
    blocks = designs.draw_blocks(arms["sam"], 50, rng, seeds=2)
    assert (blocks.seeds[:, 0] != blocks.seeds[:, 1]).all()
    other = runs.others(arms["sam"], blocks, rng)
    assert not (other.seeds[:, :, None] == blocks.seeds[:, None]).any()


def test_a_large_effect_is_claimed_and_nothing_is_not(power, arms):
    design = power.Design(8, 3, 4, 8, 2)
    assert design.members == 8 + 12 + 16
    found = power.study(arms, design, repeats=25)
    assert found.mean("claim sam") == 1
    assert found.mean("claim nothing") <= 0.2
    assert found.mean("wrong sign sam") == 0
    assert found.values["truth"][0]["sam"] == pytest.approx(-0.02, abs=1e-3)
    assert found.mean("half sam") < 0.004


def test_designs_that_search_alike_have_the_same_searches(drawing, arms):
    designs, runs = drawing
    drawn = runs.Runs(arms, 3)
    short, long = (drawn.of(designs.Design(8, 3, 4, blocks, 1)) for blocks in (4, 6))
    assert [run.chosen for run in short] == [run.chosen for run in long]
    assert [run.confirmed["sam"].shape for run in (short[0], long[0])] == [(4, 1), (6, 1)]


def test_other_test_examples_are_covered_with_their_error_and_not_without(power):
    """Difficulties have a closed variance, and the arms a closed difference: benchmarks/power_examples.py."""
    examples = importlib.import_module("power_examples")
    kind = examples.Kind(500, blocks=16)
    rng = np.random.default_rng(0)
    drawn = [examples.drawn(kind, rng) for _ in range(40)]
    mean = float(np.mean([arm.mean() - reference.mean() for reference, arm in drawn]))
    assert mean == pytest.approx(kind.difference, abs=3 * (kind.example_variance / 40) ** 0.5)
    found = examples.covered(kind, 400)
    assert found.variance == pytest.approx(kind.example_variance, rel=0.05)
    assert 0.93 <= found.new <= 0.97
    assert found.these < 0.8


def test_an_arm_stops_at_its_width_or_at_a_look_and_a_width_is_known_from_its_first_blocks(drawing):
    """Differences of +-1: after S blocks their half-width is t(.975, S - 1) sqrt(1 / (S - 1))."""
    rules = importlib.import_module("power_looks")
    signs = np.tile([1.0, -1.0], 30)[:, None] / 100
    reference = rules.Confirmed(np.zeros((60, 1)))
    far = rules.Group(reference, {"far": rules.Confirmed(0.5 + signs), "near": rules.Confirmed(signs)}, ["near"], [])
    half = 100 * stats.t.ppf(0.975, 17) / 100 * (18 / 17) ** 0.5 / 18**0.5
    width = rules.Rule("", 60, rules.Until(half_width=half * 1.001, max_blocks=60))
    assert width.stops(far) == {"far": 18, "near": 18}
    look = rules.Rule("", 38, levels="spent")
    assert look.stops(far) == {"far": 10, "near": 38}
    said = rules.Rule("", 18).said(far, {"far": 18, "near": 18})["far"].procedure
    assert (said.estimate, 100 * said.half_width) == pytest.approx((0.5, half))
