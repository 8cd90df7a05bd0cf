"""How often does the procedure find an effect where there is none?

    python benchmarks/placebo.py [--repeats 200]

The whole procedure (search, decide, confirm, both intervals, Holm, the placebo as a floor) is repeated with a placebo in place of
each of the quickstart's five remedies: the large batch itself, with points and search blocks of its own. Whatever it then claims is
false. At 5 % over the family of arms about 2 of 40 repeats may hold a false claim; more than 4 would say that the intervals are too
short. In confirm the placebos have the blocks and draws of the reference, as a run's own placebo (paired: equal recipes differ by
exactly 0); and, which is harder, other seeds on the same splits.

It is a fast simulation on real members: every member is drawn from the pool of large-batch members on digits that
benchmarks/power.py trains (power/digits.parquet). What is trained next is said by tune_lb.search, and what is claimed by analysis,
as in a real run.
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
from power_designs import Pool, pools, spread_points

from analysis.frames import Frames
from analysis.results import Results
from search_spaces.quickstart import SPACE
from tune_lb.results.storage import Store
from tune_lb.samplers.sampler import Values
from tune_lb.search.blocks import NEXT_SEED
from tune_lb.search.data_facts import DataFacts
from tune_lb.search.job import Job, Member
from tune_lb.search.planner import Search
from tune_lb.search.score import score_of
from tune_lb.space.arm import Arm
from tune_lb.space.space import Space
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.request import Request
from tune_lb.tuning.run_description import run_description

FOLDER = Path(__file__).parent / "power"
REFERENCE = "large_batch"
REMEDIES = ("noise", "sam", "ghost_norm", "warmup", "all")


def placebo_space() -> Space:
    """Return the quickstart with a copy of its large batch in place of every remedy."""
    arms = (Arm(REFERENCE), *(Arm(name) for name in REMEDIES))
    changes = {"baseline": None, "reference": REFERENCE, "metrics": (), "derived": False, "compute_matched": False}
    return dataclasses.replace(SPACE, arms=arms, **changes)


class FromPool:
    """Proposes the rates of points of the pool."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = rates

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return the rate of the index-th point."""
        return {"eta_over_b": self.rates[index]}


class Draws:
    """Which member of the pool each member of a repeat is: a cut and a seed for every block and seed of an arm's stage."""

    def __init__(self, pool: Pool, rng: np.random.Generator, *, paired: bool) -> None:
        self.pool, self.rng, self.paired = pool, rng, paired
        self.cuts: dict[tuple[str, int], int] = {}
        self.seeds: dict[tuple[str, int], np.ndarray[Any, Any]] = {}

    def row(self, job: Job, member: Member, point: int) -> dict[str, Any]:
        """Return the row of a member."""
        confirm = job.stage == "confirm"
        cut = self._cut("" if confirm else job.arm, member.trial.split_seed, searched=job.stage == "search")
        owner = "" if confirm and self.paired else job.arm
        where = (owner, member.seed % NEXT_SEED)
        if where not in self.seeds:
            self.seeds[where] = self.rng.permutation(self.pool.trained.shape[2])
        seed = self.seeds[where][member.seed // NEXT_SEED]
        if not self.pool.trained[point, cut, seed]:
            # a point that the pool has in the first cuts alone
            cut = int(self.rng.integers(self.pool.search_cuts))
        return {name: float(table[point, cut, seed]) for name, table in self.pool.table.items()}

    def _cut(self, owner: str, split_seed: int, *, searched: bool) -> int:
        where = (owner, split_seed)
        if where not in self.cuts:
            self.cuts[where] = int(self.rng.integers(self.pool.search_cuts if searched else self.pool.size[1]))
        return self.cuts[where]


def simulate(repeat: int, pool: Pool, facts: DataFacts, template: Mapping[str, Any], *, paired: bool) -> Results:
    """Return the results of one repeat."""
    rng = np.random.default_rng((repeat, paired))
    space = placebo_space()
    search = Search(space, facts)
    domain = search.arms[REFERENCE].dimensions["eta_over_b"]
    by_rate = {domain.at(float(u)): point for point, u in enumerate(pool.points[:, 0])}
    rates = list(by_rate)
    for arm in search.arms.values():
        points = rng.permutation(spread_points(pool.points[:, 0], arm.design.num_samples, rng))
        arm.proposer = FromPool([rates[point] for point in points])
    draws = Draws(pool, rng, paired=paired)
    rows = []
    while not search.finished:
        job = search.take()
        assert job is not None
        found = {}
        for member in job.members:
            row = draws.row(job, member, by_rate[member.values["eta_over_b"]])
            own = {"trial_id": member.trial_id, "seed": member.seed, "block": member.block, "arm": job.arm}
            own |= {
                "configuration_id": member.configuration_id,
                "stage": job.stage,
                "split_seed": member.trial.split_seed,
            }
            rows.append(member.trial.columns() | row | own | SAME)
            found[member.key] = score_of(row)
        search.observe(found)
    selected = {arm: chosen.configuration_id for arm in search.arms if (chosen := search.selected(arm)) is not None}
    return Results(Frames(dict(template) | {"selected": selected}, pd.DataFrame(rows), pd.DataFrame(), {}, {}))


SAME = {"status": "completed", "finished_at": "", "run": "placebo", "train_error": 0.0, "train_loss": 0.01}
"""What a member has beside, for tables that ask for it."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    given = parser.parse_args()
    torch.set_num_threads(1)
    pool = pools(FOLDER / "digits.parquet")[REFERENCE]
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(Request(placebo_space(), "placebo", Store(folder)), write=False)
        # equal recipes of different arms are different members
        facts = dataclasses.replace(made.facts, salts={name: name for name in REMEDIES})
        template = run_description(made.request, made.designs, made.context, facts)
    for kind in ("paired", "other seeds"):
        repeats_with, claims, outside, recipes, effects, halves = 0, 0, 0, 0, [], []
        for repeat in range(given.repeats):
            arms = simulate(repeat, pool, facts, template, paired=kind == "paired").arms.set_index("arm")
            found = arms.loc[list(REMEDIES)]
            claimed = int(found["claim"].fillna(False).astype(bool).sum())
            claims, repeats_with = claims + claimed, repeats_with + (claimed > 0)
            outside += int(((found["difference_low"] > 0) | (found["difference_high"] < 0)).sum())
            recipes += int(((found["difference_recipe_low"] > 0) | (found["difference_recipe_high"] < 0)).sum())
            effects += (100 * found["difference"]).tolist()
            halves += (50 * (found["difference_high"] - found["difference_low"])).tolist()
        number = given.repeats * len(REMEDIES)
        spread, most = np.std(effects, ddof=1), np.max(np.abs(effects))
        print(f"{kind}: {given.repeats} repeats x {len(REMEDIES)} placebos: {claims} claims in {repeats_with} repeats;")
        print(f"  simultaneous intervals of the procedure that exclude 0: {outside} of {number};")
        print(f"  intervals of recipes, each of 95 %, that exclude 0: {recipes} of {number};")
        print(f"  effects of nothing: standard deviation {spread:.2f} points, largest {most:.2f};")
        print(f"  mean half-width, simultaneous: {np.mean(halves):.2f} points", flush=True)


if __name__ == "__main__":
    main()
