"""What sets a sentence of the answer apart: it is what was asked for, or it has to be known before acting on the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Self

import numpy as np

from analysis.asked import Asked
from analysis.decisions import Decision
from analysis.notation import count, counted, named
from analysis.run import Run

EQUAL = 1e-12


class Lead(str):
    """A sentence that answers what was asked: the drop, what is claimed, that nothing is."""


class Caveat(str):
    """A sentence, and what kind of limit it states in two or three words."""

    kind: str

    def __new__(cls, kind: str, text: str) -> Self:
        """Return the sentence as a caveat of that kind."""
        made = super().__new__(cls, text)
        made.kind = kind
        return made


def unfinished(results: Run) -> Iterator[Caveat]:
    """That a run is not finished: fewer confirm members than were asked for. Of one that stops by itself nothing is known."""
    for name, run in results.parts.items():
        yield from (Caveat(caveat.kind, f"In {name}: {caveat}") for caveat in unfinished(run))
    if results.parts:
        return
    members, confirmed, asked = results.members, results.confirmed, results.asked
    if asked.design is not None:
        wanted = 0 if asked.design.half_width else asked.design.confirm_blocks * asked.design.block_seeds
    else:
        wanted = (asked.confirm_seeds or 0) * len(asked.split_seeds)
    there = confirmed.groupby("arm").size()
    missing = {arm.name: wanted - int(there.get(arm.name, 0)) for arm in asked.arms}
    missing = {name: number for name, number in missing.items() if number > 0}
    if wanted and missing:
        total = wanted * len(asked.arms)
        last = members["finished_at"].dropna().astype(str).max() if "finished_at" in members and len(members) else None
        # 2026-11-26T16:40:12...: to the minute
        until = f", the last of {str(last)[:16].replace('T', ' ')} UTC" if isinstance(last, str) else ""
        how = "being written" if results.is_written else "not finished"
        there_now = f"{count(total - sum(missing.values()))} of {count(total)} confirm members are there{until}"
        yield Caveat("not finished", f"The run is {how}: {there_now}. This is what they show so far.")


def budgets(arms: Mapping[str, Mapping[Any, Any]], asked: Asked) -> Iterator[Caveat]:
    """Arms that searched different numbers of configurations: the one with more has had more chances."""
    numbers = {
        name: int(row["num_points"])
        for name, row in arms.items()
        if row["num_points"] and asked.arm(name).searched and asked.arm(name).dimensions
    }
    if len(set(numbers.values())) < 2:
        return
    usual = max(set(numbers.values()), key=list(numbers.values()).count)
    others = {name: number for name, number in numbers.items() if number != usual}
    shown = named([f"{name} {number:,}" for name, number in others.items()], more=" another number (see the table)")
    yield Caveat(
        "budgets unequal",
        f"Budgets are unequal: most arms tried {counted(usual, 'configuration')}, {shown}. More tries find better values.",
    )


def ties(decided: Mapping[str, Decision], selected: Mapping[str, str]) -> Iterator[Caveat]:
    """Arms whose configuration was not alone at the best value of the decide blocks."""
    tied = []
    for arm, decision in decided.items():
        chosen = selected.get(arm)
        if decision.standing is None or chosen not in decision.candidates or len(decision.candidates) < 2:
            continue
        own = decision.candidates.index(chosen)
        pairs = (
            [decision.losses]
            if not np.isfinite(decision.soft_errors).any()
            else [decision.losses, decision.soft_errors]
        )
        same = np.all([np.abs(values - values[own]) <= EQUAL for values in pairs], axis=0)
        if same.sum() > 1:
            tied.append(arm)
    if tied:
        yield Caveat(
            "chosen on ties",
            f"Chosen on a tie: another candidate of {named(tied, more='')} has the same validation loss and error; which is "
            "confirmed is chance.",
        )
