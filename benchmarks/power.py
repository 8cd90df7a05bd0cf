"""How wide are the intervals, how often do they hold the truth, what is found, and what is claimed that is not there?

    python benchmarks/power.py --train digits|mnist|cifar    train a pool of real members (minutes), kept in power/POOL.parquet
    python benchmarks/power.py --study [NAMES]               NAMES: digits, mnist, cifar, examples; without any all of them

The study of a pool draws runs from it, 500 of each design (MNIST 1,000); it writes power/POOL.md (designs), power/POOL_until.md
(blocks until it is known) and power/POOL_others.md (other ways with as many members). "examples" simulates intervals for other test
examples, 1,000 runs of each kind (power/examples.md). --parts designs until others: some of a pool's tables alone. All of it
takes about ten minutes on one core.

A run is search, decide and confirm over arms, drawn from the pool (power_designs.py); what is said of it is said by
tune_lb.inference. The truth of a recipe is its mean over the pool; that of the procedure the mean over all runs of what they chose.
Families of five placebos, each with a search of its own, count false claims: with the reference's draws in the confirm stage, as
in a run (paired), and with others on the same cuts (other seeds).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from power_designs import Array, Design, Pool, pools
from power_examples import examples_said
from power_looks import EARLY_BLOCKS, MAX_BLOCKS, MOST_RUNS, until_known
from power_peers import old_design, tuning_curves
from power_runs import BASELINE, NUM_PLACEBOS, REFERENCE, Run, Runs
from power_table import table

from tune_lb.inference.effects import differences, paired_t
from tune_lb.inference.procedure import Confirmed, answers
from tune_lb.inference.selection_variance import FREEDOM, with_floor

FOLDER = Path(__file__).parent / "power"
EFFECTS = (0.001, 0.0025, 0.005, 0.01)
DESIGNS = (
    Design(24, 5, 6, 38, 1),
    Design(24, 5, 6, 19, 2),
    Design(24, 5, 6, 24, 1),
    Design(24, 6, 5, 24, 1),
    Design(24, 5, 6, 12, 2),
    Design(20, 4, 6, 20, 1),
    Design(16, 3, 4, 12, 1),
    Design(8, 2, 2, 8, 1),
    Design(10, 2, 2, 6, 1),
)
REPEATS = {"digits": 500, "mnist": 1_000, "cifar": 500}
"""More where a coverage lies at the edge of what is asked for."""
Rule = Callable[[Array], Array]


@dataclass
class Counts:
    """What is counted over the runs of a design."""

    design: Design
    arms: list[str]
    values: dict[str, list[object]] = field(default_factory=dict)

    def add(self, name: str, value: object) -> None:
        """Add what one run says."""
        self.values.setdefault(name, []).append(value)

    def mean(self, name: str) -> float:
        """Return the mean over runs."""
        return float(np.mean(self.values[name]))


def study(arms: dict[str, Pool], design: Design, repeats: int = 500) -> Counts:
    """Return what runs of a design say, against what is true."""
    return counted(arms, design, Runs(arms, repeats).of(design))


def counted(arms: dict[str, Pool], design: Design, runs: list[Run], floor: Rule = with_floor) -> Counts:
    """Return what the runs say, against what is true."""
    names = [name for name in arms if name != REFERENCE]
    family = [name for name in names if name != BASELINE]
    counts = Counts(design, names)
    truth = {name: float(np.mean([arm.mean[run.chosen[name].point] for run in runs])) for name, arm in arms.items()}
    for run in runs:
        by_name = dict(zip(arms, floor(np.array([run.chosen[name].variance for name in arms])), strict=True))
        reference = Confirmed(run.confirmed[REFERENCE], by_name[REFERENCE])
        own = {name: Confirmed(run.confirmed[name], by_name[name]) for name in names}
        own["placebo"] = Confirmed(run.placebos["paired"][-1], by_name[REFERENCE])
        found = answers(reference, own, outside=[BASELINE], placebos=["placebo"])
        inside, inside_recipes = [], []
        for name in names:
            expected = truth[name] - truth[REFERENCE]
            recipe = float(arms[name].mean[run.chosen[name].point] - arms[REFERENCE].mean[run.chosen[REFERENCE].point])
            pairs = differences(run.confirmed[name], run.confirmed[REFERENCE])
            single = paired_t(pairs, by_name[name] + by_name[REFERENCE], 1, FREEDOM)
            recipes, simultaneous = found[name].recipes, found[name].procedure
            counts.add(f"recipes half {name}", recipes.half_width)
            counts.add(f"recipes cover {name}", recipes.low <= recipe <= recipes.high)
            counts.add(f"half {name}", single.half_width)
            counts.add(f"simultaneous half {name}", simultaneous.half_width)
            counts.add(f"cover {name}", single.low <= expected <= single.high)
            counts.add(f"claim {name}", found[name].claim)
            counts.add(f"wrong sign {name}", found[name].claim and (simultaneous.estimate > 0) != (expected > 0))
            if name in family:
                inside.append(simultaneous.low <= expected <= simultaneous.high)
                wide = paired_t(pairs, 0.0, len(family))
                inside_recipes.append(wide.low <= recipe <= wide.high)
            for effect in EFFECTS:
                shifted = paired_t(pairs - expected - effect, by_name[name] + by_name[REFERENCE], len(family), FREEDOM)
                counts.add(f"power {effect} {name}", shifted.high < 0)
        counts.add("all", all(inside))
        counts.add("all recipes", all(inside_recipes))
        for kind, errors in run.placebos.items():
            values = floor(np.array([run.chosen[REFERENCE].variance, *(x.variance for x in run.placebo_chosen)]))
            first = Confirmed(run.confirmed[REFERENCE], float(values[0]))
            group = {str(i): Confirmed(e, float(v)) for i, (e, v) in enumerate(zip(errors, values[1:], strict=True))}
            last = str(NUM_PLACEBOS)
            claimed = [a for n, a in answers(first, group, placebos=[last]).items() if n != last]
            counts.add(f"false {kind}", any(a.p_holm < 0.05 for a in claimed))
            counts.add(f"false floor {kind}", any(a.claim for a in claimed))
            counts.add(f"recipes false {kind}", any(a.recipes.p < 0.05 / NUM_PLACEBOS for a in claimed))
    for name, arm in arms.items():
        means = np.array([arm.mean[run.chosen[name].point] for run in runs])
        counts.values[f"scatter {name}"] = [float(means.std())]
        counts.values[f"regret {name}"] = [float(means.mean() - np.nanmin(arm.mean))]
        counts.values[f"root V {name}"] = [float(np.sqrt(np.nanmean([run.chosen[name].variance for run in runs])))]
        counts.values[f"passed over {name}"] = [float(np.mean([run.chosen[name].passed_over for run in runs]))]
    counts.values["truth"] = [{name: truth[name] - truth[REFERENCE] for name in names}]
    return counts


MADE = "Made by `python benchmarks/power.py --study`."


def looked(pool: str, drawn: Runs) -> str:
    """Return what is said of a pool's runs that are confirmed until differences are known."""
    names, repeats = ", ".join(name for name in drawn.arms if name != REFERENCE), min(drawn.repeats, MOST_RUNS)
    return "\n".join(
        [
            f"# {pool}: {repeats} runs, confirmed until it is known\n",
            f"{MADE} Arms in the order {names}. Search and decide: 24 points, 5 candidates x 6 blocks. Looks at 10, 14, "
            "18 ... blocks. Until(w): an arm stops when its half-width of the procedure, simultaneous over the family, is at "
            f"most w points, or would be with no number of blocks, at most after {MAX_BLOCKS}. Told at a look: when its p is "
            f"below the level of O'Brien and Fleming over the family, at most after {EARLY_BLOCKS}. Below each rule a fixed "
            "number of blocks, as many as the arms of the family had on average, of the same runs. Blocks and half-widths "
            "(points) are means. Cover, each: % of the intervals of one arm by itself, at 95 %; all at once and claims (%): "
            f"at the level of the look, where levels are spent. False: % of families of {NUM_PLACEBOS} placebos with a claim "
            "(Holm), paired / with other seeds. Monte Carlo standard errors: "
            f"{100 * (0.0475 / repeats) ** 0.5:.1f} at 95 %, {100 * (0.0196 / repeats) ** 0.5:.1f} at 2 %.\n",
            until_known(pool, drawn),
        ]
    )


def report(pool: str, drawn: Runs) -> str:
    """Return the tables of a pool; a share has its Monte Carlo standard error in the line below the table."""
    arms, repeats = drawn.arms, drawn.repeats
    found = [counted(arms, design, drawn.of(design)) for design in DESIGNS]
    names = found[0].arms

    def each(counts: Counts, name: str, digits: int, scale: float = 100.0) -> str:
        return " ".join(f"{scale * counts.mean(f'{name} {arm}'):.{digits}f}" for arm in names)

    designs = [
        f"{c.design.members}: {c.design.num_samples}, {c.design.candidates} x {c.design.decide_blocks}, "
        f"{c.design.confirm_blocks} x {c.design.block_seeds}"
        for c in found
    ]
    truth = found[0].values["truth"][0]
    assert isinstance(truth, dict)
    halves = [
        [label, each(c, "recipes half", 2), each(c, "half", 2), each(c, "simultaneous half", 2)]
        for label, c in zip(designs, found, strict=True)
    ]

    def all_of(counts: Counts) -> str:
        return f"{100 * counts.mean('all'):.0f}"

    covers = [
        [
            label,
            each(c, "recipes cover", 0),
            f"{100 * c.mean('all recipes'):.0f}",
            each(c, "cover", 0),
            f"{100 * c.mean('all'):.0f}",
        ]
        for label, c in zip(designs, found, strict=True)
    ]
    kinds = ("paired", "other seeds")
    claims = [
        [
            label,
            *(
                " / ".join(f"{100 * c.mean(f'{name} {kind}'):.1f}" for kind in kinds)
                for name in ("false", "false floor", "recipes false")
            ),
            each(c, "claim", 0),
            each(c, "wrong sign", 1),
        ]
        for label, c in zip(designs, found, strict=True)
    ]
    power = [[label, *(each(c, f"power {e}", 0) for e in EFFECTS)] for label, c in zip(designs, found, strict=True)]
    own = [*names, REFERENCE]
    scatter = [
        [
            label,
            *(
                " ".join(f"{100 * c.mean(f'{name} {arm}'):.2f}" for arm in own)
                for name in ("scatter", "root V", "regret")
            ),
        ]
        for label, c in zip(designs, found, strict=True)
    ]
    most = 100 * (0.25 / repeats) ** 0.5
    return "\n".join(
        [
            f"# {pool}: {repeats} runs of each design, drawn from the pool\n",
            f"{MADE} Points of test error. Arms in the order "
            f"{', '.join(names)}; true differences of the procedure with {designs[0]}: "
            + " ".join(f"{100 * truth[name]:.2f}" for name in names)
            + ". A design: members an arm: points, candidates x blocks of the decision, confirm blocks x seeds. Monte Carlo "
            f"standard errors of shares: at most {most:.1f}, at 95 % {100 * (0.0475 / repeats) ** 0.5:.1f}, "
            f"at 2 % {100 * (0.0196 / repeats) ** 0.5:.1f}.\n",
            "## Half-widths\n",
            table(["design", "recipes", "procedure", "procedure, simultaneous"], halves),
            "## Coverage, %\n",
            table(
                ["design", "recipes, each", "recipes, all at once", "procedure, each", "procedure, all at once"], covers
            ),
            "## Claims, %\n",
            f"False: families of {NUM_PLACEBOS} placebos with a claim, paired / with other seeds; by Holm, above a placebo as "
            "well, and what recipes' intervals (Bonferroni) would claim.\n",
            table(
                [
                    "design",
                    "false, Holm",
                    "false, claimed",
                    "false, recipes",
                    "claims of the arms",
                    "of the wrong sign",
                ],
                claims,
            ),
            "## Power for a true effect, %\n",
            "Differences shifted to the effect, at the family's Bonferroni level.\n",
            table(["design", *(f"{100 * e:g} points" for e in EFFECTS)], power),
            "## What is selected\n",
            f"Over runs: scatter of the error of what is selected, root of the mean V, regret; last {REFERENCE}.\n",
            table(["design", "scatter", "root V", "regret"], scatter),
        ]
    )


def others_said(pool: str, drawn: Runs) -> str:
    """Return what the old design and bands of tuning curves say with as many members."""
    arms = drawn.arms
    return "\n".join(
        [
            f"# {pool}: other ways, with as many members\n",
            f"{MADE}\n",
            *([old_design(arms, REFERENCE, BASELINE)] if arms[REFERENCE].search_cuts > 1 else []),
            tuning_curves(arms, REFERENCE, BASELINE),
        ]
    )


PARTS = {"designs": ("", report), "until": ("_until", looked), "others": ("_others", others_said)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", choices=("digits", "mnist", "cifar"))
    parser.add_argument("--study", nargs="*", metavar="NAME")
    parser.add_argument(
        "--parts", nargs="+", choices=tuple(PARTS), default=tuple(PARTS), help="without it all of a study"
    )
    parser.add_argument("--repeats", type=int, help="runs of each design; without it 500, of MNIST 1,000")
    given = parser.parse_args()
    if given.train:
        from power_pools import train

        train(given.train)
    all_names = () if given.train else [*(path.stem for path in sorted(FOLDER.glob("*.parquet"))), "examples"]
    for pool in given.study or all_names:
        if pool == "examples":
            (FOLDER / "examples.md").write_text(examples_said(given.repeats or 1_000))
            continue
        drawn = Runs(pools(FOLDER / f"{pool}.parquet"), given.repeats or REPEATS[pool])
        for part in given.parts:
            ending, say = PARTS[part]
            (FOLDER / f"{pool}{ending}.md").write_text(say(pool, drawn))
            print(f"{pool}: {part} studied", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
