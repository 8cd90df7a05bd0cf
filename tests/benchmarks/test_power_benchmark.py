"""benchmarks/power.py says what is true of a pool whose effects are known, and draws runs as the design says."""

from __future__ import annotations

import importlib
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
POINTS, CUTS, SEEDS, LIKELY, SEARCH_CUTS = 12, 6, 4, 8, 2
OFFSET = {"large_batch": 0.0, "sam": -0.02, "nothing": 0.0}


@pytest.fixture
def power(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("power")


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


def test_points_are_spread_and_confirm_seeds_of_a_block_differ(power, arms):
    rng = np.random.default_rng(0)
    for number in (3, 8, 12):
        drawn = power.spread_points(arms["sam"].points[:, 0], number, rng)
        assert len(set(drawn)) == number
    blocks = power.draw_blocks(arms["sam"], 50, rng, seeds=2)
    assert (blocks.seeds[:, 0] != blocks.seeds[:, 1]).all()
    other = power.others(arms["sam"], blocks, rng)
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
