"""What a search is expected to tell, as the plan says it, from the spread that an earlier run of the space showed."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from tune_lb.cli.runs import find_run, run_names, space_of_run
from tune_lb.errors import RequestError
from tune_lb.inference.precision import Spread
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import Store
from tune_lb.search.precision import EFFECT, USUAL, expected_precision, spread_in
from tune_lb.space.space import Space
from tune_lb.space.until import Until
from tune_lb.tuning.replay import of_old_design, replayed_run


class KnownSpread(NamedTuple):
    """What differences scatter by, and where that is known from."""

    spread: Spread
    origin: str


def known_spread(space_word: str, name: str, storage: str, asked: str | None = None) -> KnownSpread:
    """Return the spread of a run: of the one that is asked for, else the run itself, else the last one of the same space.

    Raises RequestError where the one that is asked for shows none.
    """
    if asked is not None:
        found = _of_run(find_run(asked, storage))
        if found is None:
            raise RequestError(
                f"--spread-from {asked}: the run shows no spread: no arm is confirmed in 2 blocks that the reference has too"
            )
        return KnownSpread(found, f"the spread of run {asked}")
    for run in _candidates(space_word, name, storage):
        try:
            found = _of_run(Store(storage).child(run))
        except RequestError:
            continue  # its space has changed or is gone: it says nothing here
        if found is not None:
            return KnownSpread(found, f"the spread of run {run}")
    return KnownSpread(USUAL, "the spread of the digits, nothing of this space being known (--spread-from RUN)")


def precision_text(space: Space, known: KnownSpread) -> str:
    """Return what is expected in a line; nothing where there is nothing to compare."""
    found = expected_precision(space, known.spread)
    if found is None:
        return ""
    until = space.confirm_blocks
    blocks = ""
    if isinstance(until, Until):
        never = found.half_width > until.half_width
        blocks = (
            f"{until.half_width:g} points are not reached in {found.blocks} blocks: "
            if never
            else f"about {found.blocks} blocks: "
        )
    effect = (
        f"an effect of {EFFECT:g} points takes about {found.blocks_for_effect:,} blocks to be claimed 4 times in 5"
        if found.blocks_for_effect is not None
        else f"an effect of {EFFECT:g} points is not claimed with any number of blocks: the searches are too uncertain"
    )
    return (
        f"{blocks}half-widths of about {found.half_width:.2f} points of test error for a claim, {found.of_recipes:.2f} for these "
        f"recipes; {effect}; from {known.origin}"
    )


def precision_of(space: Space, known: KnownSpread) -> dict[str, Any] | None:
    """Return the same for --json."""
    found = expected_precision(space, known.spread)
    if found is None:
        return None
    return {**dataclasses.asdict(found), "spread": dataclasses.asdict(known.spread), "from": known.origin}


def _candidates(space_word: str, name: str, storage: str) -> list[str]:
    """Return the runs that may know the spread, the nearest first."""
    store = Store(storage)
    known = []
    for run in run_names(store):
        try:
            told = read_space(store.child(run))
        except RequestError:
            continue
        if not of_old_design(told) and told.get("asked", {}).get("space") == space_word:
            known.append((run == name, str(told.get("written_at", "")), run))
    return [run for *_, run in sorted(known, reverse=True)]


def _of_run(store: Store) -> Spread | None:
    known = read_space(store)
    if of_old_design(known):
        return None
    return spread_in(replayed_run(store, space_of_run(known), known))
