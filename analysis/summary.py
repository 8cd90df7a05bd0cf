"""What the end of a search shows: one row per arm, sentences, and the configurations to use."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from analysis.asked import DERIVED_ROLES
from analysis.drops import NO_DROP
from analysis.member_columns import CONFIGURATION, remedy_columns
from analysis.notation import MISSING, count, known, percent, plain, points, significant, with_interval
from analysis.old_design.results import OldResults
from analysis.old_design.summary import old_summary
from analysis.pooled import PooledResults
from analysis.pooled_report import pooled_sentences
from analysis.results import Results
from analysis.sentences import sentences

Row = Mapping[str, Any]
VALUES = (
    *(
        "arm",
        "role",
        "n",
        "n_diverged",
        "num_blocks",
        "test_error",
        "test_error_std",
        "test_error_low",
        "test_error_high",
    ),
    *("difference", "difference_low", "difference_high", "difference_recipe_low", "difference_recipe_high"),
    *("difference_new_low", "difference_new_high", "p_holm", "claim", "claim_reason", "claim_new_data"),
    *("generalization_gap", "train_error", "train_loss", "large_batch_drop", "large_batch_drop_low"),
    *("large_batch_drop_high", "gap_closed", "gap_closed_low", "gap_closed_high", "gap_closed_reason", "lambda_max"),
    *("keskar.full_1e-3", "updates", "gradient_evaluations", "wall_s", "under_trained", "search_converged"),
    *("blocks_for_half_a_point", "noise_floor"),
)


def _error(row: Row) -> str:
    text = percent(row["test_error"])
    return f"{text} +- {percent(row['test_error_std'])}" if known(row["test_error_std"]) else text


def _difference(row: Row) -> str:
    return with_interval(points(row["difference"]), row["difference_low"], row["difference_high"])


def _recipe(row: Row) -> str:
    return with_interval("", row["difference_recipe_low"], row["difference_recipe_high"]).strip() or MISSING


def _drop(row: Row) -> str:
    return with_interval(points(row["large_batch_drop"]), row["large_batch_drop_low"], row["large_batch_drop_high"])


def _closed(row: Row) -> str:
    if not known(row["gap_closed"]):
        reason = str(row["gap_closed_reason"])
        # the same for every arm, and said in a sentence
        return MISSING if reason.startswith(NO_DROP) else reason
    return with_interval(f"{percent(row['gap_closed'], 0)} %", row["gap_closed_low"], row["gap_closed_high"], digits=0)


COLUMNS: dict[str, Callable[[Row], str]] = {
    "arm": lambda row: str(row["arm"]),
    "n": lambda row: str(row["n"]) + (f" ({row['n_diverged']} diverged)" if row["n_diverged"] else ""),
    "test error %": _error,
    "difference, points": _difference,
    "these recipes": _recipe,
    "gap, points": lambda row: percent(row["generalization_gap"]),
    "train loss": lambda row: significant(row["train_loss"]),
    "large-batch drop, points": _drop,
    "gap closed": _closed,
    "lambda_max": lambda row: significant(row["lambda_max"]),
    "Keskar 1e-3": lambda row: significant(row["keskar.full_1e-3"]),
    "updates": lambda row: count(row["updates"]),
    "gradient evaluations": lambda row: count(row["gradient_evaluations"]),
    "seconds": lambda row: significant(row["wall_s"]),
}
"""Titles of the table at the end of a search, and how each cell is made from a row of the arms table."""


def mark(row: Row) -> str:
    """What sets a row apart: baseline, reference, placebo, derived, trained longer, claim, or "": to be printed grey."""
    names = {
        "baseline": "baseline",
        "reference": "reference",
        "placebo": "placebo",
        "compute_matched": "trained longer",
    }
    names |= dict.fromkeys(DERIVED_ROLES, "derived")
    return names.get(str(row["role"]), "claim" if row["claim"] is True else "")


def summary(results: Results | OldResults) -> dict[str, Any]:
    """Rows, sentences and best configurations as plain values (None for what is not known), fit for JSON.

    rows: one per arm: values as in the arms table (fractions), mark (see `mark`), and cells: title -> text in percent
    or points, in the order to print. best: arm -> selected configuration. problems: files left out.
    """
    if isinstance(results, OldResults):
        return old_summary(results)
    rows = []
    for record, printed in zip(results.arms.to_dict("records"), results.printed, strict=True):
        row = {name: plain(record.get(name)) for name in VALUES}
        open_ends = {name: value for name, value in printed.items() if isinstance(value, float) and math.isinf(value)}
        cells = {title: cell(row | open_ends) for title, cell in COLUMNS.items()}
        rows.append({**row, "mark": mark(row), "cells": cells})
    said = pooled_sentences(results) if isinstance(results, PooledResults) else sentences(results)
    return {"rows": rows, "sentences": said, "best": best(results), "problems": list(results.problems)}


def best(results: Results) -> dict[str, dict[str, Any]]:
    """The confirmed configuration of each arm.

    Fields of the configuration, configuration_id; trial_id and split_seed of its first confirm block; and searched: what was
    selected in the searched dimensions.
    """
    remedies = remedy_columns(results.members, results.frames.roles, _remedies(results))
    found: dict[str, dict[str, Any]] = {}
    for name, rows in results.confirmed.groupby("arm", sort=False):
        arm, row = results.asked.arm(str(name)), rows.iloc[0]
        identity = ("configuration_id", "trial_id", "split_seed")
        values = {column: plain(row.get(column)) for column in (*identity, *CONFIGURATION, *remedies)}
        searched = {column: plain(row.get(column)) for column in arm.dimensions or ("lr", "eta_over_b")}
        found[arm.name] = {k: v for k, v in values.items() if v is not None} | {"searched": searched}
    return {name: found[name] for name in results.asked.order(list(found))}


def _remedies(results: Results) -> set[str]:
    return {name for text in results.members["remedies"].dropna().unique() for name in str(text).split(",") if name}
