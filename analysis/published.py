"""What the five papers print (published.csv), and a run that repeats their rows beside it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from analysis.blocks import arrays
from analysis.document import Part, Section, Text, bullets, section, table
from analysis.notation import count, significant, with_spread
from analysis.run import Run
from tune_lb.inference.effects import Effect, differences, paired_t, quantile

FILE = Path(__file__).with_name("published.csv")
ACCURACIES = {"test_accuracy": "test_error", "train_accuracy": "train_error"}
"""Quantities in percent that are one minus a column of members."""
STATED = ("batch_size", "distance_ratio", "drop", "steep_directions", "seconds_ratio")
"""Quantities that stand in a paper's text, of no arm: where a drop begins, a ratio, a drop in points."""
NOTE = """
*Level*: where nothing differs from the paper, a mean agrees if the difference from the published one is within Student's 95 % of
both standard errors. *Sign*: of the difference from the arm beside which it was published; agrees or differs where the 95 %
interval over blocks (paired) leaves 0 out. A star marks values that were not seen in the paper's text itself.
""".strip()


def published() -> pd.DataFrame:
    """Every number that the papers print, as a frame, a row each.

    row: of tune_lb.space.papers. network, data. arm: name of the arm that repeats it; against: of the arm beside which it was
    published; both "" for what is said of no arm. quantity: a column of members, test_accuracy or train_accuracy (%), barriers,
    height, height_variance, or one of STATED (case says what it is). value, spread (standard deviation) over n runs. seen: False
    where the paper's text was not at hand, and the number is from elsewhere.
    """
    found = pd.read_csv(FILE, dtype={"arm": "str", "against": "str"})
    return found.assign(seen=found["seen"] == "yes", **{name: found[name].fillna("") for name in ("arm", "against")})


def beside(results: Run) -> pd.DataFrame:
    """The published numbers of the arms of the rows that a run repeats, with its own.

    To the columns of `published` come here, here_std, here_n, level, published_effect, effect, effect_low, effect_high and sign.
    Of a row with several networks those of the run's; of a row with one network that one, whatever the run's is. Levels are
    comparable where nothing differs from the paper. Empty for a run that repeats none.
    """
    known = published()
    asked = results.asked
    of_rows = known[known["row"].isin(asked.rows) & (known["arm"] != "")]
    several = of_rows.groupby("row")["network"].transform("nunique") > 1
    chosen = of_rows[~several | of_rows["network"].isin(set(asked.networks.values()))]
    return pd.DataFrame([dict(row) | _here(row, known, results) for row in chosen.to_dict("records")])


def published_section(results: Run) -> list[Section]:
    """The section of a report; nothing for a run that repeats no row for which a number is known."""
    found = beside(results)
    if found.empty:
        return []
    differs = results.asked.differs
    rows = [
        {
            "row": str(row["row"]),
            "case": f"{row['case']} ({row['network']})",
            "quantity": str(row["quantity"]),
            "published": level_text(row["value"], row["spread"]) + ("" if row["seen"] else " *"),
            "here": level_text(row["here"], row["here_std"]),
            "n": str(row["here_n"] or ""),
            "level": str(row["level"]),
            "against": str(row["against"]),
            "difference published": significant(row["published_effect"]),
            "difference here": effect_text(row),
            "sign": str(row["sign"]),
        }
        for row in found.to_dict("records")
    ]
    said: list[Part] = (
        [Text("What differs from the paper:"), bullets(differs)]
        if differs
        else [Text("Nothing differs from the paper.")]
    )
    parts = [*said, table("published", rows), Text(NOTE, marked=True)]
    return section("Beside the published values", parts, "Published")


def stated(row: str) -> str:
    """What a paper's text says in numbers of a row, "" where it does not: "about where the drop begins (F2) 15,000"."""
    known = published()
    own = known[(known["row"] == row) & known["quantity"].isin(STATED)]
    said = [(entry["case"], entry["network"], float(entry["value"])) for entry in own.to_dict("records")]
    return "; ".join(f"{case}{'' if of == 'all' else f' ({of})'} {count(value)}" for case, of, value in said)


def _here(row: dict[Any, Any], known: pd.DataFrame, results: Run) -> dict[str, Any]:
    """What the run has of one published number."""
    column = ACCURACIES.get(row["quantity"], row["quantity"])
    confirmed = results.confirmed
    effect = Effect(math.nan, math.nan, math.nan, math.nan, 0)
    values = pd.Series(dtype="float64")
    if column in confirmed:
        values = _values(confirmed[confirmed["arm"] == row["arm"]][column], row["quantity"]).dropna()
        both = arrays(confirmed, column)
        if row["arm"] in both and row["against"] in both:
            scale = -100 if row["quantity"] in ACCURACIES else 1
            effect = paired_t(scale * differences(both[row["arm"]], both[row["against"]]))
    was = _published_effect(row, known)
    return {
        "here": values.mean() if len(values) else math.nan,
        "here_std": values.std() if len(values) > 1 else math.nan,
        "here_n": len(values),
        "level": _verdict(row, values, results),
        "published_effect": was,
        "effect": effect.estimate,
        "effect_low": effect.low,
        "effect_high": effect.high,
        "sign": _sign(effect, was),
    }


def _values(errors: pd.Series, quantity: str) -> pd.Series:
    return 100 * (1 - errors) if quantity in ACCURACIES else errors.astype("float64")


def _published_effect(row: dict[Any, Any], known: pd.DataFrame) -> float:
    """What the paper has as the difference from the arm beside it; nan where it has no such arm."""
    paper = str(row["row"]).partition(":")[0]
    like = known[
        known["row"].str.startswith(f"{paper}:")
        & (known["network"] == row["network"])
        & (known["data"] == row["data"])
        & (known["quantity"] == row["quantity"])
        & (known["arm"] == row["against"])
    ]
    return float(row["value"] - like["value"].iloc[0]) if row["against"] and len(like) else math.nan


def _verdict(row: dict[Any, Any], values: pd.Series, results: Run) -> str:
    asked = results.asked
    if not len(values):
        return "not measured"
    if asked.differs or row["network"] not in asked.networks.values():
        return "not comparable"
    if len(values) < 2 or not row["n"] > 1 or not math.isfinite(row["spread"]):
        return "no spread to compare by"
    error = math.hypot(values.std() / math.sqrt(len(values)), row["spread"] / math.sqrt(row["n"]))
    freedom = min(len(values), int(row["n"])) - 1
    return "agrees" if abs(values.mean() - row["value"]) <= quantile(freedom, 1) * error else "disagrees"


def _sign(effect: Effect, was: float) -> str:
    if not math.isfinite(was) or not math.isfinite(effect.estimate):
        return ""
    if not effect.low * effect.high > 0:
        return "not told"
    return "agrees" if effect.estimate * was > 0 else "differs"


def level_text(value: float, spread: float) -> str:
    """A mean and its standard deviation, with the digits that papers print."""
    return with_spread(value, spread, 4)


def effect_text(row: Mapping[Any, Any], digits: int = 3) -> str:
    """The difference of a row of `beside`, with its interval where there is one."""
    text = significant(row["effect"], digits)
    if not math.isfinite(row["effect_low"]):
        return text
    return f"{text} [{significant(row['effect_low'])}, {significant(row['effect_high'])}]"
