"""What a run of blocks cannot say, or says only so well: which error is in its intervals, how far its searches went."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.asked import OUTSIDE_ROLES
from analysis.caveats import Caveat, budgets, ties
from analysis.limits import failures, mixtures
from analysis.notation import MOST_NAMED, count, counted, known, listed, named, percent, points
from analysis.results import Results

MIN_BLOCKS = 8
Rows = Mapping[str, Mapping[Any, Any]]


def limits(results: Results, arms: Rows) -> Iterator[str]:
    """Sentences on what is not known, and why."""
    if results.problems:
        yield Caveat(
            "files left out",
            f"{len(results.problems)} files or rows could not be used and count nowhere; the report names them.",
        )
    yield from _searches(results, arms)
    yield from budgets(arms, results.asked)
    yield from ties(results.decisions, results.selected)
    yield from _under_trained(results, arms)
    if len(results.confirmed) == 0:
        return
    if not results.one_block:
        yield from _selection(results, arms)
        yield from _precision(results, arms)
        if any(known(row["difference"]) for row in arms.values()):
            yield from _examples(results, arms)
        yield from _blocks(results, arms)
    yield from mixtures(results.confirmed)
    yield from failures(results)


def _searches(results: Results, arms: Rows) -> Iterator[str]:
    unfinished = [name for name, row in arms.items() if row["search_converged"] is False]
    if unfinished:
        yield Caveat(
            "search not converged",
            f"Search not converged for {named(unfinished)}: the last doubling of points still lowers the best validation loss by "
            "more than the noise of a member, so more points (num_samples) may change their places.",
        )
    edges = {name: str(row["edges"]) for name, row in arms.items() if row["edges"]}
    if edges:
        shown = list(edges.items())[:MOST_NAMED]
        more = f"; and {len(edges) - len(shown)} more arms" if len(edges) > len(shown) else ""
        yield Caveat(
            "best value at an end",
            f"At an end of what was tried: {'; '.join(f'{name} ({text})' for name, text in shown)}{more}. A wider range may do "
            "better.",
        )


def _under_trained(results: Results, arms: Rows) -> Iterator[str]:
    """Arms beside the reference, of which it is said where the drop is."""
    found = [name for name, row in arms.items() if row["under_trained"] is True and name != results.asked.reference]
    if found:
        yield Caveat(
            "under-trained",
            f"Under-trained {'as well' if arms.get(str(results.asked.reference), {}).get('under_trained') is True else 'are'}: "
            f"{named(found)} by train error or train loss.",
        )


def _selection(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    if asked.num_validation == 0 and any(arm.dimensions for arm in asked.arms):
        yield Caveat(
            "nothing to select by",
            "The data have no validation part: nothing was selected by, and each arm has the first of its configurations.",
        )
    unknown = [
        name
        for name, row in arms.items()
        if row["role"] not in OUTSIDE_ROLES and row["n"] and not known(row["selection_std"])
    ]
    if unknown or (
        arms.get(str(asked.reference), {}).get("n") and not known(arms[str(asked.reference)]["selection_std"])
    ):
        yield Caveat(
            "selection not known",
            "How much the selection would change in another search is not known, since no stage decided between candidates: "
            "nothing is claimed (candidates of at least 2, decide_blocks of at least 2).",
        )
    if asked.points:
        yield Caveat(
            "points given",
            f"The first {counted(asked.points, 'point')} of the search were given: how well the procedure's intervals cover was "
            "studied for Sobol points only.",
        )
    elif asked.looks:
        searched = results.members[results.members["stage"] == "search"]
        stopped = int((searched["status"] == "stopped").sum())
        yield Caveat(
            "stopped early",
            f"{stopped:,} of {counted(len(searched), 'configuration')} were stopped early, after "
            f"{listed([f'{100 * share:.3g} %' for share in asked.looks])} of the training, inside each arm: arms that search "
            "equally many are compared at equal gradient evaluations. What is decided between and confirmed was trained in full. "
            "How well the procedure's intervals cover was studied for searches without.",
        )
    elif not asked.exchangeable:
        yield Caveat(
            "sampler learns",
            f"The {asked.sampler} sampler proposes from what it has seen: how well the procedure's intervals cover was studied for "
            "Sobol points only.",
        )


def _precision(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    tested = {name: row for name, row in arms.items() if row["role"] not in OUTSIDE_ROLES}
    halves = {
        name: (row["difference_high"] - row["difference_low"]) / 2
        for name, row in tested.items()
        if known(row["difference_low"])
    }
    ends = ("difference_low", "difference_recipe_low")
    unknown = [name for name, row in tested.items() if any(math.isinf(row[end]) for end in ends)]
    if unknown:
        yield Caveat(
            "intervals say nothing",
            f"The interval of {named(unknown)} is wider than 100 points: {_blocks_of(results)} tell no spread (8 and more do).",
        )
    if not halves:
        return
    least, most = min(halves.values()), max(halves.values())
    width = f"+-{percent(least)}" + (f" to {percent(most)}" if percent(least) != percent(most) else "")
    needed = {
        name: row["blocks_for_half_a_point"]
        for name, row in tested.items()
        if not math.isnan(row["blocks_for_half_a_point"])
    }
    whose = "The procedure's intervals" if asked.searches else "The intervals"
    yield f"{whose} are {width} points, from {_blocks_of(results)}."
    finite = {name: value for name, value in needed.items() if math.isfinite(value)}
    never = [name for name in needed if name not in finite]
    if finite:
        low, high = min(finite, key=lambda name: finite[name]), max(finite, key=lambda name: finite[name])
        span = f"{counted(finite[low], 'confirm block')} ({low})"
        span += f" to {count(finite[high])} ({high})" if finite[high] > finite[low] else ""
        yield f"An effect of 0.5 points would be claimed 4 times in 5 with {span}."
    if never:
        yield Caveat(
            "selection uncertain",
            f"With no number of confirm blocks would an effect of 0.5 points be claimed 4 times in 5 of {named(never)}: the "
            "selection is too uncertain (more decide_blocks or candidates).",
        )
    if asked.design is not None and asked.design.half_width is not None:
        wanted = asked.design.half_width / 100
        wider = [name for name, half in halves.items() if half > wanted]
        reached = f"for all but {named(wider)}" if wider else "for all of them"
        yield (
            f"Blocks were added until the intervals of the tested arms reach no further than {percent(wanted)} points, at most "
            f"{asked.design.confirm_blocks}: that was reached {reached}. "
            + (
                "Arms also stopped when they were told from the reference: p and intervals are O'Brien and Fleming's."
                if asked.design.early
                else "Stopping at a width needs no correction."
            )
        )
    if asked.design is not None and asked.design.searched_before:
        before = listed([count(number) for number in asked.design.searched_before])
        yield Caveat(
            "searched_more",
            f"The search was extended: it had been asked for with {before} configurations an arm before. If that was because of "
            "what the confirm blocks showed, effects are found a little too easily: these blocks were known to whom decided that.",
        )
    if asked.design is not None and asked.design.extended_from:
        before = listed([count(number) for number in asked.design.extended_from])
        yield Caveat(
            "extended",
            f"The run was extended: it had been asked for with {before} confirm blocks before. If that was because of what it "
            "showed, effects are found a little too easily, for the intervals do not account for looking again.",
        )


def _blocks_of(results: Results) -> str:
    numbers = results.arms.loc[results.arms["n"] > 0, "num_blocks"]
    low, high = int(numbers.min()), int(numbers.max())
    return counted(high, "confirm block") if low == high else f"{low} to {high} confirm blocks"


def _examples(results: Results, arms: Rows) -> Iterator[str]:
    """Which error is in the intervals, and which is not: cuts, seeds, test examples."""
    asked, sets = results.asked, results.test_sets
    stds = [row["examples_std"] for row in arms.values() if known(row["examples_std"])]
    size = " to ".join(dict.fromkeys(points(end(stds))[1:] for end in (min, max))) if stds else ""
    if sets.is_fixed:
        held = (
            f"All blocks have the same {count(asked.num_test)} test examples"
            if asked.num_test
            else "All blocks have the same test examples"
        )
        cut = (
            "cuts of train and validation examples and seeds" if asked.design and asked.design.fresh_splits else "seeds"
        )
        text = f"{held}: the intervals are over {cut}, and about these test examples."
    else:
        text = (
            "Every block cuts the data anew: the intervals are over cuts and seeds, but all cuts share the examples of the whole "
            "data."
        )
    if size:
        yield f"{text} Other examples of the same kind would move the differences by {size} points (standard error)."
    elif asked.error is None:
        yield f"{text} By how much other examples would move the differences is not known: there are no predictions to tell it by."
    else:
        yield text


def _blocks(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    if asked.design is not None and not asked.design.fresh_splits:
        yield Caveat(
            "one cut", "All blocks have one cut of the data: how much the answer depends on the cut is not known."
        )
    short = [name for name, row in arms.items() if row["num_blocks"] == 1]
    if short:
        yield Caveat("too few blocks", f"One confirm block of {named(short)}: an interval takes 2.")
    few = [name for name, row in arms.items() if 0 < row["num_blocks"] < min(MIN_BLOCKS, _asked_blocks(results))]
    rest = [name for name in few if name not in short]
    if rest:
        everyone = set(rest) == {name for name, row in arms.items() if row["n"]}
        whose = "every arm" if everyone else named(rest)
        yield Caveat(
            "too few blocks", f"Fewer than {min(MIN_BLOCKS, _asked_blocks(results))} confirm blocks so far: {whose}."
        )


def _asked_blocks(results: Results) -> int:
    return results.asked.design.confirm_blocks if results.asked.design else MIN_BLOCKS
