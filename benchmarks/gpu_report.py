"""Tables of what gpu.py has measured, for the README.

python benchmarks/gpu_report.py [benchmarks/gpu/h100.parquet]
"""

from __future__ import annotations

import sys
from pathlib import Path

import pandas as pd

UNITS = ("ms/update/member", "images/s")


def tables(rows: pd.DataFrame) -> str:
    """Return the rows of a run as Markdown: times and rates, whatever else is a number, and what has failed."""
    about = rows[["device", "versions"]].drop_duplicates()
    found = [", ".join(about.iloc[0])]
    for unit, column in zip(UNITS, ("members", "precision"), strict=True):
        own = rows[rows["unit"].eq(unit) & rows["value"].notna()]
        if len(own):
            keys = ["network", "batch_size", "way"]
            wide = own.pivot_table(index=keys, columns=column, values="value", aggfunc="last", sort=False)
            wide = wide[sorted(wide.columns)]
            found += [f"{unit}, by {column}:", _table(wide.reset_index())]
    other = rows[~rows["unit"].isin(UNITS) & rows["value"].notna() & ~rows["part"].isin(("tests",))]
    if len(other):
        named = other[["part", "network", "batch_size", "precision", "way", "value", "unit"]]
        found += ["Others:", _table(named[other["error"].fillna("").eq("")])]
    tested = rows[rows["part"].eq("tests") & rows["value"].notna()]
    if len(tested):
        found += ["Tests:", _table(tested[["way", "value", "unit", "error"]])]
    failed = rows[rows["error"].fillna("").ne("")].assign(error=lambda own: own["error"].str.split("\n|Tried").str[0])
    failed = failed.assign(error=failed["error"].str.slice(0, 110))
    counted = failed.groupby(["part", "way", "error"], sort=False).size().rename("rows").reset_index()
    return "\n\n".join([*found, "Not measured:", _table(counted)])


def _table(frame: pd.DataFrame) -> str:
    head = "| " + " | ".join(map(str, frame.columns)) + " |"
    rule = "|" + "---|" * len(frame.columns)
    body = ["| " + " | ".join(_said(value) for value in row) + " |" for row in frame.itertuples(index=False)]
    return "\n".join([head, rule, *body])


def _said(value: object) -> str:
    if value is None or value != value:
        return ""
    if isinstance(value, float):
        whole = abs(value) >= 1000 or value == int(value)
        return f"{value:,.0f}" if whole else f"{value:.3g}"
    return str(value).replace("|", "/").strip()


if __name__ == "__main__":
    default = Path(__file__).resolve().parent / "gpu" / "h100.parquet"
    print(tables(pd.read_parquet(sys.argv[1] if len(sys.argv) > 1 else default)))
