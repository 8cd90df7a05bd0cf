"""Sections of a report in Markdown that do not depend on the design, and the lists and tables that all are made of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from analysis.eta_over_b_fit import scaling_fit
from analysis.notation import MISSING, listed, significant
from analysis.run import Run
from analysis.sharpness import at_common_loss

CAPTIONS = {
    "test_error": "Test error of every confirmed member and of every arm, and the difference from the reference",
    "sharpness_and_gap": "Sharpness against the generalization gap",
    "sharpness_and_loss": "Sharpness against train loss: no sharpness is to be compared without it",
    "history": "Training of the confirmed members",
    "search": "What the best of k points reaches in the search",
}


def table(rows: list[dict[str, str]]) -> str:
    """A Markdown table of rows with equal keys."""
    if not rows:
        return ""
    lines = [list(rows[0]), ["---"] * len(rows[0]), *[list(row.values()) for row in rows]]
    return "\n".join("| " + " | ".join(cell.replace("|", "/") for cell in line) + " |" for line in lines)


def bullets(lines: Iterable[str]) -> str:
    """A Markdown list."""
    return "\n".join(f"* {line}" for line in lines)


def at_equal_loss(results: Run) -> list[str]:
    """Sharpness of the arms when the train loss first fell below the smallest level that every arm reached."""
    parts: list[str] = []
    # an arm at the baseline's own rate is hardly trained: it would leave no common level
    copied = [arm.name for arm in results.asked.arms if arm.role == "copied"]
    common = at_common_loss(results.history, results.confirmed[~results.confirmed["arm"].isin(copied)])
    if len(common):
        level = significant(common["threshold"].iloc[0], 1)
        parts.append(
            f"lambda_max when the train loss first fell below {level}, the smallest level that every arm reached"
            f"{f' ({listed(copied)} aside)' if copied else ''}:"
        )
        cells = (
            common.set_index("arm").loc[results.asked.order(common["arm"].tolist())].reset_index().to_dict("records")
        )
        parts.append(
            table(
                [
                    {
                        "arm": c["arm"],
                        "lambda_max": significant(c["value"]),
                        "members": f"{c['n']} of {c['num_members']}",
                    }
                    for c in cells
                ]
            )
        )
    return parts


def scaling(configurations: pd.DataFrame) -> list[str]:
    """Whether the error follows eta/B alone, where the batch size was searched."""
    fit = scaling_fit(configurations)
    if fit is None:
        return []
    return [
        "## Does the error follow eta/B alone?",
        f"Leave-one-out R2 of log test error over {fit.num_trials} trials without a remedy at {fit.num_batch_sizes} "
        f"batch sizes: {fit.r2_eta_over_b:.2f} from eta/B alone, {fit.r2_with_batch_size:.2f} with B added, "
        f"{fit.r2_with_updates:.2f} with the number of updates added (exploratory).",
    ]


def problems(problems: list[str]) -> list[str]:
    """Files that were left out."""
    if not problems:
        return []
    return ["## Files left out", f"{len(problems)} could not be used and count nowhere:", bullets(problems)]


def value_text(value: Any) -> str:
    """A searched value."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def values_of(results: Run, column: str) -> str:
    """The values that members have in a column."""
    return ", ".join(sorted(map(str, results.members[column].dropna().unique()))) or MISSING
