"""How often does the procedure find an effect where there is none?

    python benchmarks/placebo.py [--repeats 40] [--pool placebo_pool.parquet]

The whole procedure (search, rescreen, confirm, intervals, Holm, noise floor) is repeated with a placebo in place of each of the
quickstart's five remedies: the large batch itself, with configurations and seeds of its own. Whatever it then claims is false.
At 5 % over the family of arms about 2 of 40 repeats may hold a false claim; more than 4 would say that the intervals are too short.

It is a fast simulation on real members: a pool of large-batch members is trained once on digits (POOL_POINTS rates x
POOL_SEEDS seeds in each split), and every repeat and arm draws its configurations and its seeds from the pool at random.
Selection is done by tune_lb.search and inference by analysis, as in a real run.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from analysis.frames import Frames
from analysis.results import Results
from search_spaces.quickstart import SPACE
from tune_lb.data.device import on_device
from tune_lb.observation.outcome import outcomes
from tune_lb.results.storage import Store
from tune_lb.samplers.sampler import Values
from tune_lb.search.job import Job
from tune_lb.search.planner import Search
from tune_lb.search.proposers import proposers
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.description import description
from tune_lb.space.space import Space
from tune_lb.training.training import Training
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.request import Request

POOL_POINTS, POOL_SEEDS = 96, 13
REMEDIES = ("noise", "sam", "ghost_norm", "warmup", "all")


def placebo_space(repeat: int) -> Space:
    """Return the quickstart with a copy of its large batch in place of every remedy."""
    arms = (Arm("large_batch"), *(Arm(name) for name in REMEDIES))
    return dataclasses.replace(
        SPACE,
        arms=arms,
        baseline=None,
        reference="large_batch",
        metrics=(),
        seed=repeat,
        derived=False,
        compute_matched=False,
    )


def train_pool(space: Space) -> pd.DataFrame:
    """Return the rows of the pool: every quasi-random rate with every seed, in every split."""
    design = checked_designs(space)[0]
    rows = []
    for split_seed in space.split_seeds:
        parts = on_device(space.data.load(split_seed), "cpu")
        sampler = proposers(space, [design])[design.name]
        for point in range(POOL_POINTS):
            trial = dataclasses.replace(design.template.resolved(sampler.propose(point, [])), split_seed=split_seed)
            training = Training(trial, range(POOL_SEEDS), parts)
            while not training.done:
                training.advance(100.0)
            found = outcomes(training, metrics=(), wall_s=0.0)
            rows += [{"point": point, "pool_seed": outcome.row["seed"], **outcome.row} for outcome in found]
    return pd.DataFrame(rows)


class FromPool:
    """Proposes the rates of randomly chosen points of the pool, none twice."""

    def __init__(self, points: Sequence[int], rates: Mapping[int, float]) -> None:
        self.points, self.rates = list(points), rates

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return the rate of the index-th point."""
        return {"eta_over_b": self.rates[self.points[index]]}


def simulate(repeat: int, pool: Mapping[tuple[int, int, int], dict[str, Any]], template: dict[str, Any]) -> Results:
    """Return the results of one repeat."""
    space = placebo_space(repeat)
    rng = np.random.default_rng(repeat)
    splits = {int(s): _split(template, s) for s in space.split_seeds}
    search = Search(space, splits)
    rates = {point: row["eta_over_b"] for (_, point, _), row in pool.items()}
    by_rate = {rate: point for point, rate in rates.items()}
    for pair in search.pairs.values():
        pair.proposer = FromPool(rng.choice(POOL_POINTS, pair.design.num_samples, replace=False).tolist(), rates)
    seeds: dict[str, dict[int, int]] = {}
    rows = []
    while not search.finished:
        job = search.take()
        assert job is not None
        # search, rescreen and confirm need 2 + 3 + 8 different seeds of the pool's 13
        order = seeds.setdefault(
            job.trial_id, dict(zip(_all_seeds(space), rng.permutation(POOL_SEEDS).tolist(), strict=True))
        )
        found = {seed: pool[job.split_seed, by_rate[job.values["eta_over_b"]], order[seed]] for seed in job.seeds}
        rows += [_row(job, seed, row) for seed, row in found.items()]
        search.observe(job.trial_id, {seed: row["validation_error"] for seed, row in found.items()})
    selected = {
        arm: {str(s): chosen.trial_id for s in space.split_seeds if (chosen := search.selected(arm, s)) is not None}
        for arm in {arm for arm, _ in search.pairs}
    }
    return Results(Frames(template | {"selected": selected}, pd.DataFrame(rows), pd.DataFrame(), {}, {}))


def _all_seeds(space: Space) -> list[int]:
    stages = ((0, space.seeds), (1000, space.rescreen_seeds), (2000, space.confirm_seeds))
    return [first + i for first, number in stages for i in range(number)]


def _split(template: dict[str, Any], split_seed: int) -> Any:
    from tune_lb.search.arm_in_split import Split

    return Split(template["data"]["fingerprints"][str(split_seed)], template["data"]["num_validation"])


def _row(job: Job, seed: int, row: dict[str, Any]) -> dict[str, Any]:
    own = {"trial_id": job.trial_id, "arm": job.arm, "stage": job.stage, "seed": seed, "split_seed": job.split_seed}
    return row | own | {"finished_at": "", "run": "placebo"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=40)
    parser.add_argument("--pool", type=Path, default=Path("runs/placebo_pool.parquet"), help="trained once, then read")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if not given.pool.exists():
        given.pool.parent.mkdir(parents=True, exist_ok=True)
        train_pool(placebo_space(0)).to_parquet(given.pool)
    rows = pd.read_parquet(given.pool).to_dict("records")
    pool = {(row["split_seed"], row["point"], row["pool_seed"]): row for row in rows}
    with tempfile.TemporaryDirectory() as folder:
        template = description(prepare(Request(placebo_space(0), "placebo", Store(folder)), write=False))
    for arm in template["arms"]:
        arm["shares_points"] = False
    claims = outside = 0
    effects = []
    for repeat in range(given.repeats):
        arms = simulate(repeat, pool, template).arms.set_index("arm")
        found = arms.loc[list(REMEDIES)]
        claimed = int(found["claim"].fillna(False).astype(bool).sum())
        excluded = int(((found["difference_low"] > 0) | (found["difference_high"] < 0)).sum())
        claims, outside = claims + claimed, outside + excluded
        effects += (100 * found["difference"]).tolist()
        print(
            f"repeat {repeat}: claims {claimed}, headline intervals that exclude 0: {excluded} of {len(REMEDIES)}",
            flush=True,
        )
    spread = np.std(effects, ddof=1)
    print(f"{given.repeats} repeats x {len(REMEDIES)} placebos: {claims} claims (at most 4 of 40 repeats asked for);")
    print(f"headline intervals that exclude 0: {outside} of {given.repeats * len(REMEDIES)} (nominal 5 %);")
    print(f"effects of nothing: standard deviation {spread:.2f} points, largest {np.max(np.abs(effects)):.2f} points")


if __name__ == "__main__":
    main()
