"""Arms that are one thing at several batch sizes: what a line against the batch size connects."""

from __future__ import annotations

import re

import pandas as pd

from analysis.run import Run

FOLLOWS = ("batch_size", "lr", "eta_over_b", "noise_scale", "epochs", "budget", "remedies")
"""Settings that may change with the batch size within a series; remedies and the network's name tell series apart."""
ALONE = ("placebo", "copied", "scaled", "compute_matched")
"""Roles of arms that stand for themselves: they are the reference again in some other way."""


def series_of(run: Run, confirmed: pd.DataFrame) -> dict[str, str]:
    """Arm -> name of its series, the arms that differ in batch size and in what follows from it alone.

    Two arms are of one series where their names are alike without the number that is their batch size (sgd_32_sam, sgd_500_sam:
    sgd_sam). Other names (small_batch, large_batch) are one series where all settings but those that follow agree; of several
    such arms of one batch size the baseline, the reference and then the first by the run's order is taken, the others stand alone.
    """
    sizes = confirmed.groupby("arm")["batch_size"].first()
    found: dict[str, str] = {}
    left: list[str] = []
    for arm in run.asked.order([str(name) for name in sizes.index]):
        size = str(int(sizes[arm]))
        parts = re.split(rf"_?(?<!\d){size}(?!\d)", arm, maxsplit=1)
        if run.asked.arm(arm).role in ALONE:
            found[arm] = arm
        elif len(parts) == 2:
            name = "_".join(part.strip("_") for part in parts if part.strip("_"))
            found[arm] = re.sub(r"^(batch|b|bs)(_|$)", "", name) or "plain"
        else:
            left.append(arm)
    order = {"baseline": 0, "reference": 1}
    left.sort(key=lambda arm: order.get(run.asked.arm(arm).role, 2))
    taken: dict[tuple[str, int], str] = {}
    names: dict[str, str] = {}
    for arm in left:
        key = _settings(run, confirmed[confirmed["arm"] == arm])
        place = (key, int(sizes[arm]))
        # the first settings of a kind have its name; others without a remedy (another schedule, say) go by their arm's
        same = names.setdefault(_name(run, arm), key) == key
        found[arm] = _name(run, arm) if same and place not in taken else arm
        taken.setdefault(place, arm)
    return found


def _name(run: Run, arm: str) -> str:
    return " + ".join(run.asked.arm(arm).remedies) or "plain"


def _settings(run: Run, rows: pd.DataFrame) -> str:
    searched = {name for arm in run.asked.arms for name in arm.dimensions or {}}
    names = [
        name
        for name, role in run.frames.roles.items()
        if role == "setting" and name in rows and name not in FOLLOWS and name not in searched
    ]
    return repr([(name, rows[name].iloc[0]) for name in sorted(names) if rows[name].notna().any()]) + ",".join(
        rows["remedies"].iloc[:1]
    )
