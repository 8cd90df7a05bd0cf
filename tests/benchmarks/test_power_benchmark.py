"""benchmarks/power.py says what is true of a pool whose effects are known, and draws runs as the design says."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.comparison import at_looks
from tune_lb.inference.procedure import Confirmed, answers
from tune_lb.search.confirming import Confirming, blocks_wanted
from tune_lb.space.until import Until

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


@pytest.fixture
def looking(power):
    return importlib.import_module("power_looks")


def drawn_group(looking, arms=3, runs=6, blocks=38):
    """Arms that differ by up to two points, a placebo at the end, variances of selections about those of the blocks' mean."""
    rng = np.random.default_rng(4)
    means = np.linspace(0, -0.02, arms)[:, None] * np.array([1.0] * (arms - 1) + [0.0])[:, None]
    pairs = means + 0.01 * rng.standard_normal((runs, arms, blocks))
    return looking.Group(pairs, 1e-6 * rng.chisquare(3, (runs, arms)), slice(arms - 1))


def test_all_runs_at_once_say_what_the_package_says_of_each(looking):
    group = drawn_group(looking)
    zero = np.zeros((38, 1))
    for rule in (looking.Rule("", 38, 0.5), looking.Rule("", 38, 0.7), looking.Rule("", 38, levels="spent")):
        found = looking.found_by(rule, group)
        for r, (pairs, selection) in enumerate(zip(group.pairs, group.selection, strict=True)):
            names = ["a", "b", "placebo"]
            if rule.width:
                known = {n: Confirming(d[:, None], v) for n, d, v in zip(names, pairs, selection, strict=True)}
                until = Until(half_width=rule.width, max_blocks=38)
                wanted = blocks_wanted(until, "reference", {"reference": Confirming(zero, 0.0), **known}, ["a", "b"])
                assert [wanted[name] for name in names] == found.stops[r].tolist()
            shown = np.where(np.arange(38) < found.stops[r][:, None], pairs, np.nan)
            own = {n: Confirmed(d[:, None], v) for n, d, v in zip(names, shown, selection, strict=True)}
            said = answers(Confirmed(zero), own, placebos=["placebo"])
            if rule.levels:
                said = at_looks(said, 38, ["placebo"])
            for k, name in enumerate(names[:2]):
                effect = said[name].procedure
                assert (effect.low, effect.high) == pytest.approx((found.low[r, k], found.high[r, k]))
                assert (said[name].p_holm < 0.05) == found.rejects[r, k]
    assert 10 < found.stops[:, 1].mean() < 38


def test_an_arm_stops_at_the_look_where_its_interval_is_narrow_enough(looking):
    """Differences of +-1 point: after S blocks their half-width is t(.975, S - 1) sqrt(1 / (S - 1))."""
    signs = np.tile([0.01, -0.01], 30)
    group = looking.Group(np.array([[0.5 + signs, signs]]), np.full((1, 2), 1e-12), slice(1))
    half = stats.t.ppf(0.975, 17) / 17**0.5
    assert looking.Rule("", 60, half * 1.001).stops(group).tolist() == [[18, 18]]
    assert looking.Rule("", 60, half * 0.999).stops(group).tolist() == [[22, 22]]
    assert looking.Rule("", 38, levels="spent").stops(group).tolist() == [[10, 38]]
