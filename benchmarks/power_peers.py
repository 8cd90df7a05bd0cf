"""What else answers the question with as many members: the old design, and confidence bands of tuning curves (opda)."""

from __future__ import annotations

import sys

import numpy as np
from power_designs import Pool
from power_old_design import effects

from tune_lb.inference.effects import holm

NUM_PLACEBOS = 5
OLD_REPEATS = 200


def old_design(arms: dict[str, Pool], reference: str, baseline: str, repeats: int = OLD_REPEATS) -> str:
    """Return what runs of the old design say: half-widths, claims, false claims among five placebos of their own draws."""
    rng = np.random.default_rng(0)
    names = [name for name in arms if name not in (reference, baseline)]
    widths: dict[str, list[float]] = {name: [] for name in names}
    claims = dict.fromkeys(names, 0)
    false = 0
    for _ in range(repeats):
        found = effects({name: arms[name] for name in (reference, *names)}, [reference, *names], reference, rng)
        adjusted = holm(np.array([found[name].p for name in names]))
        for name, p in zip(names, adjusted, strict=True):
            widths[name].append((found[name].high - found[name].low) / 2)
            claims[name] += int(p < 0.05)
        copies = {reference: arms[reference]} | {f"placebo {i}": arms[reference] for i in range(NUM_PLACEBOS)}
        null = effects(copies, [reference], reference, rng)
        false += int((holm(np.array([effect.p for effect in null.values()])) < 0.05).any())
    halves = " ".join(f"{100 * np.nanmean(widths[name]):.2f}" for name in names)
    claimed = " ".join(f"{100 * claims[name] / repeats:.0f}" for name in names)
    return (
        f"**The old design** (about 80 members an arm: two cuts, 12 points x 2 seeds, validation error, rescreen, 8 confirm seeds; "
        f"the two-level bootstrap of analysis/old_design; {repeats} runs; arms {', '.join(names)}): half-widths {halves}; claims "
        f"{claimed} %; families of {NUM_PLACEBOS} placebos with a claim {100 * false / repeats:.1f} %. The seeds of a cut are "
        "drawn from a few with replacement, and the cuts are always the same two, so its coverage is not given.\n"
    )


def tuning_curves(arms: dict[str, Pool], reference: str, baseline: str, members: int = 78, repeats: int = 100) -> str:
    """Return what opda's bands say of the median error of the best of 24 points, each of `members` random points once."""
    try:
        from opda.nonparametric import EmpiricalDistribution
    except ImportError:
        print("opda is not installed: pip install opda", file=sys.stderr)
        return ""
    # bands depend on the values by their order alone: made once for the ranks, then read at the values
    ranks = np.arange(1, members + 1) / (members + 1)
    low, _, high = EmpiricalDistribution.confidence_bands(ranks, 0.95, a=0.0, b=1.0, method="ld_equal_tailed", n_jobs=1)
    ends = [float(np.ravel(band.quantile_tuning_curve([24], minimize=True))[0]) for band in (low, high)]
    rng = np.random.default_rng(0)
    halves: dict[str, list[float]] = {name: [] for name in arms}
    apart = dict.fromkeys(arms, 0)
    for _ in range(repeats):
        bands = {}
        for name, pool in arms.items():
            points = rng.integers(len(pool.points), size=members)
            where = (
                points,
                rng.integers(pool.search_cuts, size=members),
                rng.integers(pool.trained.shape[2], size=members),
            )
            errors = np.sort(np.nan_to_num(pool.table["test_error"][where], nan=0.9))
            # the ends are ranks of observations, or the ends of the support: no error, all wrong
            bands[name] = sorted(float(np.interp(end, [0.0, *ranks, 1.0], [0.0, *errors, 1.0])) for end in ends)
        for name, (least, most) in bands.items():
            halves[name].append((most - least) / 2)
            apart[name] += int(most < bands[reference][0] or least > bands[reference][1])
    others = [name for name in arms if name != reference]
    widths = " ".join(f"{100 * np.mean(halves[name]):.2f}" for name in others)
    told = " ".join(f"{100 * apart[name] / repeats:.0f}" for name in others)
    return (
        f"**Tuning curves** (opda, Lourie et al., 2024: simultaneous 95 % bands of the median test error of the best of 24, from "
        f"{members} random points an arm, as many updates; {repeats} runs; arms {', '.join(others)}): half-widths of the bands "
        f"{widths}; bands apart from the reference's in {told} % of the runs.\n"
    )
