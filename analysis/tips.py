"""What a dot of a figure says of its member when it is pointed at."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import pandas as pd

from analysis.asked import Asked
from analysis.notation import NOT_TOLD, known, points, significant, with_interval

MOST_DIMENSIONS = 8
UNITS = ("%", "nats", "points", "s", "MB")


def member_tips(members: pd.DataFrame, asked: Asked) -> pd.Series:
    """A text for each member, by its index: arm, block and seed, and the values of what its arm searched, a line each."""
    texts = [_member(row, asked) for row in members.to_dict("records")]
    return pd.Series(texts, index=members.index, dtype="object")


def _member(row: Mapping[Any, Any], asked: Asked) -> str:
    block = row.get("block")
    place = f"block {block}" if block is not None and block is not pd.NA and block == block else None
    place = place or f"split {row['split_seed']}"
    names = list(asked.arm(str(row["arm"])).dimensions or ("lr", "eta_over_b"))[:MOST_DIMENSIONS]
    values = [f"{name} {value_text(row[name])}" for name in names if name in row and _there(row[name])]
    return "\n".join([str(row["arm"]), f"{place}, seed {row['seed']}", *values])


def _there(value: Any) -> bool:
    return value is not None and value is not pd.NA and value == value


def value_text(value: Any) -> str:
    """A searched value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def level_tip(arm: Mapping[str, Any], whole: float = math.inf) -> str:
    """Of an arm's mean error: percent, its interval, members. whole: width in points from which an interval says nothing."""
    text = f"{arm['mean']:.2f} %{_interval(arm['low'], arm['high'], whole)}"
    return f"{arm['arm']}\ntest error, mean {text}\nn = {arm['n']}"


def difference_tip(arm: Mapping[str, Any], whole: float = math.inf) -> str:
    """Of an arm's difference from the reference: points, the procedure's interval, that of these recipes."""
    text = f"{points(arm['difference'] / 100)}{_interval(arm['difference_low'], arm['difference_high'], whole)}"
    lines = [str(arm["arm"]), f"{text} points from the reference"]
    if known(arm["inner_low"]):
        lines.append(f"these recipes{_interval(arm['inner_low'], arm['inner_high'], whole)}")
    if arm["is_tested"]:
        lines.append("claimed" if arm["claim"] is True else "not claimed")
    return "\n".join(lines)


def mean_tips(rows: pd.DataFrame, what: str, name: str = "", *, ranges: bool = False) -> list[str]:
    """Of means with intervals, or with ranges over members: a text for each row of x (in words), mean, low, high and n.

    what: "label, unit".
    """
    label, unit = name_and_unit(what)
    texts = []
    for row in rows.to_dict("records"):
        low, high = (significant(row[end], 3) for end in ("low", "high"))
        ends = (f", {low} to {high}" if ranges else f" [{low}, {high}]") if known(row["low"]) else ""
        lines = [name, str(row["x"]), f"{label} {significant(row['mean'], 3)}{unit}{ends}", f"n = {row['n']:.0f}"]
        texts.append("\n".join(line for line in lines if line))
    return texts


def name_and_unit(label: str) -> tuple[str, str]:
    """The label of an axis in plain words, and its unit (" %", " nats"): a tip knows no mathematics."""
    text = re.sub(r"[${}\\]", "", label.replace(r"\times", "x").replace(r"\epsilon", "eps"))
    name, _, unit = text.rpartition(",")
    return (name, unit) if unit.strip() in UNITS else (text, "")


def said_of(label: str, value: float) -> str:
    """A value under the label of its axis: "test error 4.10 %"."""
    name, unit = name_and_unit(label)
    return f"{name} {significant(value, 3)}{unit}"


def _interval(low: float, high: float, whole: float) -> str:
    return with_interval("", low / 100, high / 100) if high - low <= whole else f" [{NOT_TOLD}]" if known(low) else ""
