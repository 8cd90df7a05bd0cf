"""Runs of a pool that are confirmed until differences are known: at a fixed width, or told from the reference at a look."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from power_designs import Array, Design
from power_runs import BASELINE, NUM_PLACEBOS, REFERENCE, Runs
from power_table import table

from analysis.comparison import at_looks
from tune_lb.inference.effects import ALPHA, differences, paired_t
from tune_lb.inference.looks import looks, obrien_fleming
from tune_lb.inference.procedure import Answer, Confirmed, answers
from tune_lb.inference.selection_variance import FREEDOM, with_floor
from tune_lb.search.confirming import Confirming, blocks_wanted
from tune_lb.space.until import Until

MAX_BLOCKS, EARLY_BLOCKS, MOST_RUNS = 60, 38, 500
WIDTHS = {"digits": (0.4, 0.3), "mnist": (0.25, 0.2), "cifar": (1.0, 0.8)}
"""Half-widths in points, the family's: one that most arms reach, and one that some never reach."""


@dataclass(frozen=True)
class Group:
    """What is compared with a reference: arms, of which some are outside of the family, and one placebo at most."""

    reference: Confirmed
    arms: Mapping[str, Confirmed]
    outside: Collection[str]
    placebos: Collection[str]

    @property
    def family(self) -> list[str]:
        """Return the arms that are tested."""
        return [name for name in self.arms if name not in self.outside and name not in self.placebos]

    def at(self, blocks: Mapping[str, int]) -> dict[str, Answer]:
        """Return what is said of every arm in its first blocks."""
        own = {name: Confirmed(_first(arm.errors, blocks[name]), arm.selection) for name, arm in self.arms.items()}
        return answers(self.reference, own, outside=self.outside, placebos=self.placebos)


@dataclass(frozen=True)
class Rule:
    """When an arm is confirmed long enough: after a number of blocks, at a width, or at a look that tells it from the reference."""

    label: str
    blocks: int
    until: Until | None = None
    levels: str = ""
    """At which levels looks tell: "spent" (O'Brien and Fleming), "5 %" (each look as if it were the only one), none."""

    def stops(self, group: Group) -> dict[str, int]:
        """Return the blocks of each arm."""
        if self.until is not None:
            known = {name: Confirming(arm.errors, arm.selection) for name, arm in group.arms.items()}
            reference = Confirming(group.reference.errors, group.reference.selection)
            found = blocks_wanted(self.until, "", {"": reference, **known}, group.family)
            return {name: found[name] for name in group.arms}
        found = dict.fromkeys(group.arms, self.blocks)
        if self.levels:
            at = looks(self.blocks)
            levels = obrien_fleming(at) if self.levels == "spent" else np.full(len(at), ALPHA)
            for name in group.family:
                told = (
                    k for k, number in enumerate(at) if self._p(group, name, number) < levels[k] / len(group.family)
                )
                found[name] = at[next(told, -1)]
        return found

    @staticmethod
    def _p(group: Group, name: str, number: int) -> float:
        arm = group.arms[name]
        pairs = differences(arm.errors[:number], group.reference.errors[:number])
        return paired_t(pairs, arm.selection + group.reference.selection, 1, FREEDOM).p

    def said(self, group: Group, stops: Mapping[str, int]) -> dict[str, Answer]:
        """Return what a run says after these blocks."""
        found = group.at(stops)
        return at_looks(found, self.blocks, group.placebos) if self.levels == "spent" else found


@dataclass
class Found:
    """What a rule led to: rows are runs, columns arms."""

    blocks: Array
    halves: Array
    covers: Array
    inside: Array
    claims: Array
    false: Mapping[str, Array]


def judged(rule: Rule, runs: list[Group], null: Mapping[str, list[Group]], truth: Mapping[str, float]) -> Found:
    """Return what a rule leads to in runs of which the truth is known, and in families of placebos."""
    names = list(truth)
    table: dict[str, list[list[float]]] = {name: [] for name in ("blocks", "halves", "covers", "inside", "claims")}
    for group in runs:
        stops = rule.stops(group)
        said = rule.said(group, stops)
        singles = [_single(group, name, stops[name]) for name in names]
        table["blocks"].append([stops[name] for name in names])
        table["halves"].append([said[name].procedure.half_width for name in names])
        table["covers"].append([low <= truth[n] <= high for n, (low, high) in zip(names, singles, strict=True)])
        family = [name for name in names if name in group.family]
        table["inside"].append([all(said[n].procedure.low <= truth[n] <= said[n].procedure.high for n in family)])
        table["claims"].append([said[name].claim for name in names])
    false = {
        kind: np.array([any(a.p_holm < ALPHA for a in rule.said(g, rule.stops(g)).values()) for g in groups])
        for kind, groups in null.items()
    }
    return Found(**{name: np.array(rows, dtype=float) for name, rows in table.items()}, false=false)


def rules(pool: str) -> list[Rule]:
    """Return the rules that are studied in a pool."""
    widths = [Rule(f"Until({w:g})", MAX_BLOCKS, Until(half_width=w, max_blocks=MAX_BLOCKS)) for w in WIDTHS[pool]]
    early = Rule(f"told at a look, at most {EARLY_BLOCKS}", EARLY_BLOCKS, levels="spent")
    return [*widths, early, Rule("the same, each look at 5 %", EARLY_BLOCKS, levels="5 %")]


def rows(pool: str, runs: list[Group], null: Mapping[str, list[Group]], truth: Mapping[str, float]) -> list[list[str]]:
    """Return the table: each rule, and below it a fixed number of blocks, as many as the arms of the family had on average."""
    found = []
    family = [i for i, name in enumerate(truth) if name in runs[0].family]
    for rule in rules(pool):
        seen = judged(rule, runs, null, truth)
        found.append([rule.label, *_cells(seen)])
        number = round(float(seen.blocks[:, family].mean()))
        found.append([f"{number} blocks", *_cells(judged(Rule("", number), runs, null, truth))])
    return [*found, [f"{EARLY_BLOCKS} blocks", *_cells(judged(Rule("", EARLY_BLOCKS), runs, null, truth))]]


def until_known(pool: str, drawn: Runs) -> str:
    """Return what runs say that are confirmed until differences are known, beside as many blocks, drawn once for all rules."""
    arms, runs = drawn.arms, drawn.of(Design(confirm_blocks=MAX_BLOCKS, block_seeds=1))[:MOST_RUNS]
    compared: list[Group] = []
    null: dict[str, list[Group]] = {"paired": [], "other seeds": []}
    for run in runs:
        variances = dict(zip(arms, with_floor(np.array([run.chosen[n].variance for n in arms])).tolist(), strict=True))
        own_arms = {name: Confirmed(run.confirmed[name], variances[name]) for name in arms if name != REFERENCE}
        own_arms["placebo"] = Confirmed(run.placebos["paired"][-1], variances[REFERENCE])
        reference = Confirmed(run.confirmed[REFERENCE], variances[REFERENCE])
        compared.append(Group(reference, own_arms, [BASELINE], ["placebo"]))
        own = with_floor(np.array([run.chosen[REFERENCE].variance, *(x.variance for x in run.placebo_chosen)]))
        for kind, errors in run.placebos.items():
            members = {str(i): Confirmed(e, float(v)) for i, (e, v) in enumerate(zip(errors, own[1:], strict=True))}
            reference = Confirmed(run.confirmed[REFERENCE], float(own[0]))
            null[kind].append(Group(reference, members, [], [str(NUM_PLACEBOS)]))
    mean = {name: float(np.mean([arm.mean[run.chosen[name].point] for run in runs])) for name, arm in arms.items()}
    truth = {name: mean[name] - mean[REFERENCE] for name in arms if name != REFERENCE}
    return table(HEAD, rows(pool, compared, null, truth))


HEAD = ["rule", "blocks", "half, simultaneous", "cover, each", "all at once", "false, Holm", "claims"]


def _cells(found: Found) -> list[str]:
    def each(table: Array, digits: int, scale: float = 100.0) -> str:
        return " ".join(f"{scale * value:.{digits}f}" for value in table.mean(axis=0))

    return [
        each(found.blocks, 0, 1.0),
        each(found.halves, 2),
        each(found.covers, 0),
        each(found.inside, 0),
        " / ".join(f"{100 * values.mean():.1f}" for values in found.false.values()),
        each(found.claims, 0),
    ]


def _single(group: Group, name: str, number: int) -> tuple[float, float]:
    arm = group.arms[name]
    pairs = differences(arm.errors[:number], group.reference.errors[:number])
    found = paired_t(pairs, arm.selection + group.reference.selection, 1, FREEDOM)
    return found.low, found.high


def _first(errors: Array, number: int) -> Array:
    return np.where(np.arange(len(errors))[:, None] < number, errors, np.nan)
