"""How far an axis over training goes where a few arms train much longer than the others: to the end of the others."""

from __future__ import annotations

import pandas as pd

from analysis.notation import named

FAR = 2.0
"""How many times longer than the next an arm must train for the axis to end before it does."""
MOST_NAMED = 4


def reach(lines: pd.DataFrame, x: str) -> tuple[float, str]:
    """Where the axis ends, and a sentence on the arms that go on beyond it ("" where none does).

    lines: with arm and x. At least half of the arms end on the axis; inf where all do.
    """
    ends = lines.groupby("arm")[x].max().sort_values()
    for place in range((len(ends) + 1) // 2, len(ends)):
        if place and ends.iloc[place] > FAR * ends.iloc[place - 1] > 0:
            beyond = [f"{arm} ({end:g})" for arm, end in ends.iloc[place:].items()]
            who = f"{named(beyond, MOST_NAMED, '')} {'go' if beyond[1:] else 'goes'} on"
            return float(ends.iloc[place - 1]), f" Cut at {ends.iloc[place - 1]:g}: {who}."
    return float("inf"), ""


def within(lines: pd.DataFrame, x: str) -> pd.DataFrame:
    """The lines as far as the axis goes."""
    return lines[lines[x] <= reach(lines, x)[0]]
