"""Sections of a report that the shape of its space calls for: batch sizes, the walk, what was watched over training."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.document import Part, Section, Table, Text, section, table
from analysis.eta_over_b_fit import ScalingFit, scaling_fits
from analysis.how_large import HowLarge
from analysis.notation import MISSING, count, counted, known, percent, points, significant, with_interval
from analysis.plots.walk_tables import distances_table, epochs_table
from analysis.price import prices
from analysis.rank_agreement import rank_agreement
from analysis.results import Results
from analysis.run import Run
from analysis.sections import pictures
from analysis.time_to_target import ToTarget, performance_model

WALK_NOTE = (
    "barriers: updates of the epoch between which the loss rises above both ends, mean over members [fewest, most]. height: "
    "(L(w_t) + L(w_t+1) - 2 min L) / 2, nats, mean over all updates of all members, and its variance."
)


PRICE_NOTE = (
    "gain: test error below the reference's [interval of the procedure]. A point: (cost of a training - the reference's) / gain, "
    "for arms whose interval lies above 0, with the ends of the gain; below 0 the arm saves as well. Searching comes on top."
)
RANK_NOTE = (
    "Kendall's tau of each value with the generalization gap over members (exploratory). Within arms: mean over arms. Granulated: "
    "Psi of Jiang et al. (2020), mean over the axes of tau among members that differ in that axis alone. At equal train loss: "
    "partial tau."
)
SPEED_NOTE = (
    "must be: how many times as many examples a second a batch must train to reach the target as soon as the smallest (Keskar et "
    "al., 2017, appendix C); was: how many times as many it trained here, on this machine and in these stacks."
)


def paper_sections(results: Results, drawn: Iterable[str]) -> list[Section]:
    """The sections, of those that have a figure or a table. drawn: names of the figures that were drawn."""
    there = list(drawn)
    return [
        *section("How large a batch?", _batch_sizes(results, there), "Batch sizes"),
        *section("Over training", pictures(there, "train_and_test", "curves", "trajectory"), "Training"),
        *section("The walk", _walk(results, there), "Walk"),
        *section("Paths between members", pictures(there, "paths"), "Paths"),
        *section("What a point of error costs", _price(results, there), "Price"),
        *section("Does sharpness order generalization?", _ranks(results), "Ranks"),
    ]


def _batch_sizes(results: Results, drawn: list[str]) -> list[Part | None]:
    answer = results.how_large
    fits = scaling_fits(results.configurations)
    found = answer.found if answer is not None else None
    speeds = speeds_of(found) if found is not None else table("speed_to_pay", [])
    return [
        *pictures(drawn, "batch_size", "time_to_target"),
        Text(SPEED_NOTE) if speeds.rows else None,
        speeds,
        _noise_of(answer) if answer is not None else None,
        *pictures(drawn, "with_without", "heat_map"),
        scaling_of(fits) if any(fits) else None,
    ]


def speeds_of(found: ToTarget) -> Table:
    """By batch size: what it takes to reach the target, and how fast a batch must be to pay."""
    model = performance_model(found).set_index("batch_size")
    at = f"to {percent(found.target)} % {found.error.replace('_', ' ')}"
    return table(
        "speed_to_pay",
        [
            {
                "batch size": count(row["batch_size"]),
                f"updates {at}": _interval(row, "updates"),
                "examples": count(row["examples"]),
                "seconds": significant(row["seconds"]),
                "members there": f"{row['n_reached']:.0f} of {row['n']:.0f}",
                "times as fast it must be": significant(float(model.loc[row["batch_size"], "examples_ratio"])),
                "and was": significant(float(model.loc[row["batch_size"], "measured"])),
            }
            for row in found.means.to_dict("records")
            if row["batch_size"] in model.index
        ],
    )


def _interval(row: Mapping[Any, Any], name: str) -> str:
    text = significant(row[name], 3)
    if not known(row[f"{name}_low"]):
        return text
    return f"{text} [{significant(row[f'{name}_low'], 3)}, {significant(row[f'{name}_high'], 3)}]"


def _noise_of(answer: HowLarge) -> Table:
    rows = answer.noise.to_dict("records")
    return table(
        "noise_scale_by_batch_size",
        [
            {
                "measured": str(row["name"]),
                "batch size": count(row["batch_size"]),
                "epoch": f"{row['epoch']:g}" if known(row["epoch"]) else "at the end",
                "examples": significant(row["value"], 3),
                "n": counted(row["n"], "member"),
            }
            for row in rows
        ],
    )


def scaling_of(fits: Mapping[str, ScalingFit]) -> Table:
    """Of every kind of arm: whether the error follows eta/B alone."""
    return table(
        "scaling_by_remedy",
        [
            {
                "remedies": remedies or "none",
                "leave-one-out R2, f(eta/B)": f"{fit.r2_eta_over_b:.2f}",
                "f(eta, B)": f"{fit.r2_with_batch_size:.2f}",
                "configurations": str(fit.num_trials),
                "batch sizes": str(fit.num_batch_sizes),
            }
            for remedies, fit in fits.items()
        ],
    )


def _price(results: Results, drawn: list[str]) -> list[Part | None]:
    found = prices(results.arms, results.asked.reference)
    rows = [
        {
            "arm": str(row["arm"]),
            "gain, points": with_interval(points(row["gain"] / 100), row["gain_low"] / 100, row["gain_high"] / 100),
            "gradient evaluations": f"{count(row['gradient_evaluations'])} (x {significant(row['evaluations_ratio'])})",
            "a point, gradient evaluations": _price_text(row, "evaluations"),
            "seconds": f"{significant(row['wall_s'])} (x {significant(row['seconds_ratio'])})",
            "a point, seconds": _price_text(row, "seconds"),
        }
        for row in found.to_dict("records")
        if row["arm"] != results.asked.reference and known(row["gain"])
    ]
    return [Text(PRICE_NOTE) if rows else None, table("prices", rows), *pictures(drawn, "pareto")]


def _price_text(row: Mapping[Any, Any], name: str) -> str:
    if not known(row[f"{name}_per_point"]):
        return "no gain told"
    low, high = (significant(row[f"{name}_{end}"]) for end in ("low", "high"))
    return f"{significant(row[f'{name}_per_point'])} [{low}, {high}]"


def _ranks(results: Results) -> list[Part | None]:
    values = results.sharpness_values
    if not values:
        return []
    members = results.members[results.members["status"] == "completed"]
    found = rank_agreement(members, values, axes_of(results))
    rows = [
        {
            "value": str(row["value"]),
            "members": count(row["n"]),
            "overall": significant(row["overall"]),
            "within arms": f"{significant(row['within_arm'])} ({row['arms']} arms)" if row["arms"] else MISSING,
            "granulated": f"{significant(row['granulated'])} ({row['axes']})" if row["axes"] else MISSING,
            "at equal train loss": significant(row["partial"]),
        }
        for row in found.to_dict("records")
    ]
    return [Text(RANK_NOTE) if rows else None, table("rank_agreement", rows)]


def axes_of(results: Results) -> list[str]:
    """What was varied between members in steps: batch size, remedies, kinds of parts, and the dimensions of listed values."""
    listed = {n for arm in results.asked.arms for n, domain in (arm.dimensions or {}).items() if "values" in domain}
    names = ["batch_size", "remedies", "optimizer", "schedule", "loss", *sorted(listed)]
    members = results.members
    return [n for n in dict.fromkeys(names) if n in members and 1 < members[n].nunique() <= 32]


def _walk(results: Run, drawn: list[str]) -> list[Part | None]:
    epochs, distances = epochs_of(results), distances_of(results)
    return [
        *pictures(drawn, "walk", "cosine"),
        Text(WALK_NOTE) if epochs.rows else None,
        epochs,
        *pictures(drawn, "distance"),
        # a distance by itself is no walk: it stands in every run
        distances if epochs.rows or "distance" in drawn else None,
    ]


def epochs_of(results: Run) -> Table:
    """Barriers and heights by arm and epoch."""
    return table(
        "walk_by_epoch",
        [
            {
                "arm": str(row["arm"]),
                "epoch": str(row["epoch"]),
                "barriers": _range(row["barriers"], row["barriers_low"], row["barriers_high"]),
                "height": significant(row["height"]),
                "variance of the height": significant(row["height_variance"]),
                "updates": str(row["updates"]),
                "n": counted(row["n"], "member"),
            }
            for row in epochs_table(results).to_dict("records")
        ],
    )


def distances_of(results: Run) -> Table:
    """Distance from the start at the end of training, and beside the reference's."""
    return table(
        "distance_from_start",
        [
            {
                "arm": str(row["arm"]),
                "distance from the start": significant(row["distance"], 3),
                "95 % interval": f"[{significant(row['low'], 3)}, {significant(row['high'], 3)}]",
                "times the reference's": significant(row["ratio"]),
                "n": counted(row["n"], "member"),
            }
            for row in distances_table(results).to_dict("records")
        ],
    )


def _range(mean: float, low: float, high: float) -> str:
    text = significant(mean)
    return text if low == high or text == MISSING else f"{text} [{low:g}, {high:g}]"
