"""Tables of the report: how the searches went, what was decided and why, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from analysis.decisions import Decision
from analysis.document import Part, Table, Text, filled, table
from analysis.notation import MISSING, count, counted, known, percent, points, significant, with_spread
from analysis.results import Results
from analysis.sentences import correlation
from analysis.tips import value_text


def adequacy_table(results: Results) -> Table:
    """How each arm's search went."""
    verdicts = {True: "converged", False: "not converged"}
    rows = [
        {
            "arm": str(row["arm"]),
            "points": count(row["num_points"]),
            "gain of the last doubling, % of the loss": percent(row["search_gain"], 0),
            "noise of a member, %": percent(row["search_noise"], 0),
            "search": verdicts.get(row["search_converged"], MISSING),
            **_stopped(results, str(row["arm"])),
            "at an end of what was tried": str(row["edges"]),
            "median point %": percent(row["median_test_error"]),
            "points that beat the tuned reference %": percent(row["share_beating_reference"], 0),
            "gradient evaluations in all": count(row["total_gradient_evaluations"]),
            "seconds in all": significant(row["total_wall_s"]),
        }
        for row in results.printed
        if row["num_points"]
    ]
    return filled("searches", rows)


def _stopped(results: Results, arm: str) -> dict[str, str]:
    """What an arm's search stopped early, and the gradient evaluations that it took; nothing where none stops any."""
    if not results.asked.looks:
        return {}
    own = results.members[(results.members["arm"] == arm) & (results.members["stage"] == "search")]
    return {
        "stopped early": count(int((own["status"] == "stopped").sum())),
        "gradient evaluations of the search": count(int(own["gradient_evaluations"].sum())),
    }


def decided(results: Results) -> list[Part]:
    """What was confirmed of each arm, and by what the decision fell."""
    rows = []
    for arm in results.asked.order(list(results.selected)):
        chosen = results.selected[arm]
        members = results.confirmed[results.confirmed["arm"] == arm]
        searched = results.asked.arm(arm).dimensions or {}
        names = list(searched) if results.asked.arm(arm).searched else ["lr", "eta_over_b"]
        values = [(name, members[name].iloc[0]) for name in names if name in members and len(members)]
        text = ", ".join(
            f"{name} {value_text(value)}" for name, value in values if value is not None and value == value
        )
        rows.append(
            {"arm": arm, "configuration": text or "nothing was searched"} | _why(results.decisions.get(arm), chosen)
        )
    if not rows:
        return []
    note = (
        "Losses and soft errors (mean of 1 - p of the true class) are of the validation examples in the decide blocks: of the "
        "candidate that was decided for [lowest, highest of its competitors]. deviation: by how much the error of what is selected "
        "varies when the decision is repeated with noise (square root of the variance of the selection, floor included)."
    )
    variances = results.comparison.variances
    rows = [row | {"deviation, points": percent(np.sqrt(variances.get(row["arm"], np.nan)))} for row in rows]
    return [Text(note), table("decided", rows)]


def _why(decision: Decision | None, chosen: str) -> dict[str, str]:
    empty = {"validation loss": MISSING, "soft error %": MISSING, "lowest in": MISSING}
    if decision is None or decision.standing is None or chosen not in decision.candidates:
        return empty
    own = decision.candidates.index(chosen)
    others = [k for k in range(len(decision.candidates)) if k != own]
    losses, errors = decision.losses, 100 * decision.soft_errors
    best = [name for name, values in (("loss", losses), ("soft error", errors)) if values[own] <= np.nanmin(values)]
    lowest = "both" if len(best) == 2 else best[0] if best else "neither: a compromise"
    return {
        "validation loss": _among(losses, own, others),
        "soft error %": _among(errors, own, others),
        "lowest in": lowest if others else "the only candidate",
    }


def _among(values: np.ndarray[Any, np.dtype[np.float64]], own: int, others: list[int]) -> str:
    text = significant(float(values[own]), 3)
    if not others:
        return text
    return f"{text} [{significant(float(np.nanmin(values[others])), 3)}, {significant(float(np.nanmax(values[others])), 3)}]"


def measured_tables(results: Results) -> list[Part]:
    """Sharpness, gap and train loss of the arms: levels, differences from the reference, rank correlations."""
    values, arms = results.sharpness_values, [row for row in results.printed if row["n"]]
    levels = [
        {
            "arm": str(row["arm"]),
            "train loss": significant(row["train_loss"]),
            "gap, points": percent(row["generalization_gap"]),
        }
        | {name: with_spread(row[name], row[f"{name}_std"]) for name in values}
        for row in arms
    ]
    found = results.measured
    by_arm = {(str(row["arm"]), str(row["value"])): row for row in found.to_dict("records")}
    shown = list(dict.fromkeys(found["value"]))
    numbers = {name: sorted({int(n) for n in found.loc[found["value"] == name, "n"]}) for name in shown}
    compared = [
        {"arm": str(row["arm"])}
        | {_title(name, by_arm, numbers[name]): _measured(by_arm.get((str(row["arm"]), name))) for name in shown}
        for row in arms
        if any((str(row["arm"]), name) in by_arm for name in shown)
    ]
    correlations = [
        {
            "value": str(row["value"]),
            "over": f"{row['n']} arms, {counted(row['num_blocks'], 'block')}",
            "with the gap": _correlation(row, "with_gap"),
            "with the train loss": _correlation(row, "with_train_loss"),
            "with the gap at equal train loss": _correlation(row, "partial"),
        }
        for row in results.correlations.to_dict("records")
        if any(known(row[name]) for name in ("with_gap", "with_train_loss", "partial"))
    ]
    parts: list[Part] = [table("sharpness", levels)]
    if compared:
        selected = "with the values that the searches found, " if results.asked.searches else ""
        text = (
            f"Against {results.asked.reference}, {selected}paired by block, intervals simultaneous over the arms (exploratory). "
            "*times*: ratio to the reference, 1 is no difference."
        )
        parts += [Text(text, marked=True), table("sharpness_differences", compared)]
    if correlations:
        parts += [
            Text("Rank correlations over the means of the arms, with intervals over blocks (exploratory):"),
            table("sharpness_correlations", correlations),
        ]
    return parts


def _title(name: str, by_arm: Mapping[tuple[str, str], Mapping[Any, Any]], numbers: list[int]) -> str:
    ratio = next(row["is_ratio"] for (_, value), row in by_arm.items() if value == name)
    label = {"generalization_gap": "gap, points", "train_loss": "train loss"}.get(name, name)
    n = f"n = {numbers[0]}" if len(numbers) == 1 else f"n = {numbers[0]} to {numbers[-1]}"
    return f"{label}{', times' if ratio else ''} ({n})"


def _measured(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return ""
    if row["value"] == "generalization_gap":
        text, ends = points(row["difference"]), [percent(row[end]) for end in ("low", "high")]
    else:
        text, *ends = (significant(float(row[name])) for name in ("difference", "low", "high"))
    return f"{text} [{ends[0]}, {ends[1]}]" if known(row["low"]) else text


def _correlation(row: Mapping[Any, Any], name: str) -> str:
    return correlation(row, name) if known(float(row[name])) else MISSING
