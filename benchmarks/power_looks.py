"""Runs of a pool that are confirmed until differences are known: at a fixed width, or told from the reference at a look.

All runs are computed at once; tests hold the numbers to those of tune_lb.inference and tune_lb.search.confirming, run by run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from power_designs import Array, Design
from power_runs import BASELINE, NUM_PLACEBOS, REFERENCE, Run, Runs
from power_table import table
from scipy.special import stdtr, stdtrit

from tune_lb.inference.effects import ALPHA
from tune_lb.inference.looks import looks, obrien_fleming
from tune_lb.inference.selection_variance import FREEDOM, with_floor

MAX_BLOCKS, EARLY_BLOCKS, MOST_RUNS = 60, 38, 500
WIDTHS = {"digits": (0.4, 0.3), "mnist": (0.25, 0.2), "cifar": (1.0, 0.8)}
"""Half-widths in points, the family's: one that most arms reach, and one that some never reach."""

IntArray = NDArray[np.int64]


class Said(NamedTuple):
    """Of every run and arm, (R, K): the estimate, half the interval, and p."""

    estimate: Array
    half: Array
    p: Array


@dataclass(frozen=True)
class Group:
    """Arms beside their reference in R runs: those outside of the family first, then the family, then a placebo."""

    pairs: Array
    """(R, K, S) mean differences of the blocks."""
    selection: Array
    """(R, K) V_a + V_ref."""
    family: slice
    """Which of the K are tested."""

    @property
    def sizes(self) -> IntArray:
        """Return by arm how many intervals hold at once."""
        sizes = np.ones(self.pairs.shape[1], dtype=np.int64)
        sizes[self.family] = sizes[self.family].size
        return sizes

    def said(self, blocks: IntArray, sizes: IntArray | int = 1, alpha: Array | float = ALPHA) -> Said:
        """Return what the first blocks say, (R, K) or one number, as `paired_t` does for one arm."""
        n = np.broadcast_to(blocks, self.selection.shape)
        first = (np.arange(self.pairs.shape[2]) < n[..., None]) * self.pairs
        mean = first.sum(axis=2) / n
        own = np.maximum((first**2).sum(axis=2) / n - mean**2, 0) / (n - 1)
        total = own + self.selection
        freedom = total**2 / (own**2 / (n - 1) + self.selection**2 / FREEDOM)
        level = 1 - np.asarray(alpha) / (2 * np.asarray(sizes))
        halves = [stdtrit(f, level) * np.sqrt(v) for f, v in ((freedom, total), (n - 1.0, own))]
        both = 2 * stdtr(freedom, -np.abs(mean) / np.sqrt(total))
        alone = np.where(own > 0, 2 * stdtr(n - 1.0, -np.abs(mean) / np.sqrt(np.where(own > 0, own, 1))), 0)
        return Said(mean, np.maximum(*halves), np.maximum(both, alone))


@dataclass(frozen=True)
class Rule:
    """When an arm is confirmed long enough: after a number of blocks, at a width, or at a look that tells it from the reference."""

    label: str
    blocks: int
    width: float = 0.0
    """Half-width to reach, in points; 0: none."""
    levels: str = ""
    """At which levels looks tell: "spent" (O'Brien and Fleming), "5 %" (each look as if it were the only one), none."""

    def at_level(self) -> Array:
        """Return the level of each look."""
        at = looks(self.blocks)
        return obrien_fleming(at) if self.levels == "spent" else np.full(len(at), ALPHA)

    def stops(self, group: Group) -> IntArray:
        """Return in how many blocks each arm is confirmed: (R, K)."""
        found = np.full(group.selection.shape, self.blocks)
        if not (self.width or self.levels):
            return found
        sizes, at = group.sizes, looks(self.blocks)
        never = stdtrit(FREEDOM, 1 - ALPHA / (2 * sizes)) * np.sqrt(group.selection) >= self.width / 100
        for number, level in reversed(list(zip(at, self.at_level(), strict=True))):
            said = group.said(np.array(number), sizes)
            told = never | (said.half <= self.width / 100) if self.width else said.p < level / sizes
            found = np.where(told, number, found)
        if self.levels:
            outside = np.ones(len(sizes), dtype=bool)
            outside[group.family] = False
            found[:, outside] = self.blocks
        return found


@dataclass(frozen=True)
class Found:
    """What a rule leads to: (R, K) but `rejects`, of the family alone: (R, F)."""

    stops: IntArray
    said: Said
    low: Array
    high: Array
    rejects: NDArray[np.bool_]


def found_by(rule: Rule, group: Group) -> Found:
    """Return what runs say that go by a rule, as `answers` and `at_looks` do for one run."""
    stops, sizes, family = rule.stops(group), group.sizes, group.family
    level: Array | float = ALPHA
    if rule.levels == "spent":
        level = np.full(stops.shape, ALPHA)
        level[:, family] = rule.at_level()[np.searchsorted(looks(rule.blocks), stops[:, family])]
    said = group.said(stops, sizes, level)
    low, high = said.estimate - said.half, said.estimate + said.half
    rejects = holm(np.minimum(1, said.p * ALPHA / level)[:, family]) < ALPHA
    # where Holm rejects what Bonferroni alone would not, the interval ends at 0, open
    cut = rejects & (low[:, family] <= 0) & (high[:, family] >= 0)
    below = said.estimate[:, family] < 0
    tiny = np.nextafter(0.0, 1.0)
    high[:, family] = np.where(cut & below, -tiny, high[:, family])
    low[:, family] = np.where(cut & ~below, tiny, low[:, family])
    return Found(stops, said, low, high, rejects)


def holm(p: Array) -> Array:
    """Return Holm's adjustment of the rows of p."""
    order = p.argsort(axis=1)
    factors = np.arange(p.shape[1], 0, -1)
    adjusted = np.minimum(1, np.maximum.accumulate(np.take_along_axis(p, order, axis=1) * factors, axis=1))
    result = np.empty_like(p)
    np.put_along_axis(result, order, adjusted, axis=1)
    return result


def rules(pool: str) -> list[Rule]:
    """Return the rules that are studied in a pool."""
    widths = [Rule(f"Until({width:g})", MAX_BLOCKS, width) for width in WIDTHS[pool]]
    early = Rule(f"told at a look, at most {EARLY_BLOCKS}", EARLY_BLOCKS, levels="spent")
    return [*widths, early, Rule("the same, each look at 5 %", EARLY_BLOCKS, levels="5 %")]


def until_known(pool: str, drawn: Runs) -> str:
    """Return what runs say that are confirmed until differences are known, beside as many blocks, of the same runs."""
    arms, runs = drawn.arms, drawn.of(Design(confirm_blocks=MAX_BLOCKS, block_seeds=1))[:MOST_RUNS]
    names = [name for name in arms if name != REFERENCE]
    outside = sum(name == BASELINE for name in names)
    group = _group(runs, names, slice(outside, len(names)))
    null = [_null(runs, kind) for kind in ("paired", "other seeds")]
    means = {name: float(np.mean([arm.mean[run.chosen[name].point] for run in runs])) for name, arm in arms.items()}
    truth = np.array([means[name] - means[REFERENCE] for name in names])
    rows = []
    for rule in rules(pool):
        cells, blocks = _cells(rule, group, null, truth)
        fixed = Rule(f"{blocks} blocks", blocks)
        rows += [[rule.label, *cells], [fixed.label, *_cells(fixed, group, null, truth)[0]]]
    last = Rule(f"{EARLY_BLOCKS} blocks", EARLY_BLOCKS)
    return table(HEAD, [*rows, [last.label, *_cells(last, group, null, truth)[0]]])


HEAD = ["rule", "blocks", "half, simultaneous", "cover, each", "all at once", "false, Holm", "claims"]


def _cells(rule: Rule, group: Group, null: list[Group], truth: Array) -> tuple[list[str], int]:
    found, arms, family = found_by(rule, group), slice(len(truth)), group.family
    single = group.said(found.stops)
    covers = (np.abs(single.estimate - single_truth(truth, group)) <= single.half)[:, arms]
    inside = ((found.low[:, arms] <= truth) & (truth <= found.high[:, arms]))[:, family].all(axis=1)
    above = np.abs(found.said.estimate[:, family]) > np.abs(found.said.estimate[:, -1:])
    false = [found_by(rule, own).rejects.any(axis=1).mean() for own in null]

    def each(values: Array, digits: int, scale: float = 100.0) -> str:
        return " ".join(f"{scale * value:.{digits}f}" for value in values.mean(axis=0))

    cells = [
        each(found.stops[:, arms], 0, 1.0),
        each(found.said.half[:, arms], 2),
        each(covers, 0),
        f"{100 * inside.mean():.0f}",
        " / ".join(f"{100 * share:.1f}" for share in false),
        each(found.rejects & above, 0),
    ]
    return cells, round(float(found.stops[:, family].mean()))


def single_truth(truth: Array, group: Group) -> Array:
    """Return the truth by arm; that of a placebo is 0."""
    return np.append(truth, np.zeros(group.pairs.shape[1] - len(truth)))


def _group(runs: list[Run], names: list[str], family: slice) -> Group:
    """Return the arms of runs, and their placebo."""
    pairs, selection = [], []
    for run in runs:
        arms = [REFERENCE, *names]
        values = dict(zip(arms, with_floor(np.array([run.chosen[name].variance for name in arms])), strict=True))
        errors = [*(run.confirmed[name] for name in names), run.placebos["paired"][-1]]
        pairs.append([(own - run.confirmed[REFERENCE]).mean(axis=1) for own in errors])
        selection.append([values[name] + values[REFERENCE] for name in (*names, REFERENCE)])
    return Group(np.array(pairs), np.array(selection), family)


def _null(runs: list[Run], kind: str) -> Group:
    """Return the placebos of runs as arms that are tested, the last one as their placebo."""
    pairs, selection = [], []
    for run in runs:
        values = with_floor(np.array([run.chosen[REFERENCE].variance, *(x.variance for x in run.placebo_chosen)]))
        pairs.append([(own - run.confirmed[REFERENCE]).mean(axis=1) for own in run.placebos[kind]])
        selection.append(values[1:] + values[0])
    return Group(np.array(pairs), np.array(selection), slice(NUM_PLACEBOS))
