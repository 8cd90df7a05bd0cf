"""The report of a run: the answer, the tables behind it, and how they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.chart_of_configurations import configurations_chart
from analysis.costs import cost_table, provenance_table
from analysis.document import Document, Part, Table, Text, bullets, section, table
from analysis.notation import MISSING, count, known, percent, points, significant, with_interval
from analysis.old_design.results import OldResults
from analysis.sections import at_equal_loss, pictures, problems, scaling, with_others
from analysis.tips import value_text

OLD = "*A run of the old design: tables and intervals follow docs/inference_old_design.md.*"
METHODS = """
Errors are in percent, differences in points; a negative difference is better. `n` counts confirmed members, whose
  seeds no selection has seen. A diverged member counts at chance error.
* *difference*: test error minus that of the reference. Its interval (95 %) is a two-level bootstrap: the points of the
  search are drawn with replacement, the configuration is selected again on validation, and seeds are redrawn with
  multipliers scaled so that without a search the interval is Student's t. What arms share (points, seeds) is drawn once
  for all of them. Over several splits the spread between them is added (DerSimonian and Laird).
* *over seeds only*: Student's t over confirm seeds, paired where arms share them, Welch's against the placebo: given
  these configurations and these splits. It leaves out the search, and is too short for a claim about a remedy.
* A remedy is claimed where Holm's adjusted p is below 0.05 and the difference is above the placebo's. That is the only
  test; all else is exploratory.
* *large-batch drop*: test error minus that of the baseline. *gap closed*: 1 - drop / drop of the reference, with
  Fieller's interval; it is given only where the drop's interval lies above zero and the drop is at least two standard
  errors of the test set. *gap*: test error minus train error of a member, another thing than the drop.
""".strip().split("\n* ")


def old_document(results: OldResults, shown: Mapping[str, Any], figures: Iterable[str]) -> Document:
    """The whole report. shown: what `summary` gave; figures: names of those that were drawn."""
    drawn = list(figures)
    arms = table("arms", [row["cells"] for row in shown["rows"]])
    chart = configurations_chart(results, results.configurations)
    return Document(
        results.asked.name,
        results.asked.question,
        with_others(
            drawn,
            (
                *section(
                    "Answer", [Text(OLD, marked=True), bullets(shown["sentences"]), *pictures(drawn, "test_error")]
                ),
                *section("Arms", [arms]),
                *section(
                    "Where the drop comes from", [_decomposition(results), *pictures(drawn, "history")], "Decomposition"
                ),
                *section(
                    "Was the search large enough?",
                    [_adequacy(results), *pictures(drawn, "search", "tuning_curves")],
                    "Search",
                ),
                *section("Sharpness", _sharpness(results, drawn)),
                *scaling(results.configurations),
                *section("Noise of the test examples", _examples(results), "Test examples"),
                *section("Selected configurations", [_selected(shown["best"]), *chart], "Configurations"),
                *section("Cost", [cost_table(results, results.arms)]),
                *section("How to read this", [bullets(METHODS, marked=True), _protocol(results)], "Protocol"),
                *section("Provenance", [provenance_table(results)]),
                *problems(shown["problems"]),
            ),
        ),
    )


def _decomposition(results: OldResults) -> Table:
    rows = [
        {
            "arm": str(row["arm"]),
            "test error %": percent(row["test_error"]),
            "large-batch drop": points(row["large_batch_drop"]),
            "= on the train set": points(row["drop_train_error"]),
            "+ in generalization": points(row["drop_generalization_gap"]),
            "train error %": percent(row["train_error"]),
            "train loss": significant(row["train_loss"]),
            "updates": count(row["updates"]),
            "with running BN statistics %": percent(row.get("test_error_running", float("nan"))),
            "": "under-trained" if row["under_trained"] is True else "",
        }
        for row in results.arms.to_dict("records")
        if row["n"]
    ]
    return table("decomposition", rows)


def _adequacy(results: OldResults) -> Table:
    verdicts = {True: "converged", False: "not converged"}
    rows = [
        {
            "arm": str(row["arm"]),
            "trials": count(row["num_trials"]),
            "gain of the last doubling": points(row["search_gain"]),
            "standard error": percent(row["search_gain_se"]),
            "search": verdicts.get(row["search_converged"], MISSING),
            "median trial %": percent(row["median_trial_test_error"]),
            "trials that beat the tuned reference %": percent(row["share_beating_reference"], 0),
            "gradient evaluations in all": count(row["total_gradient_evaluations"]),
            "seconds in all": significant(row["total_wall_s"]),
        }
        for row in results.arms.to_dict("records")
        if row["num_trials"]
    ]
    return table("searches", rows)


def _sharpness(results: OldResults, drawn: list[str]) -> list[Part]:
    values = results.sharpness_values
    if not values:
        return []
    arms = [row for row in results.arms.to_dict("records") if row["n"]]
    rows = [
        {
            "arm": str(row["arm"]),
            "train loss": significant(row["train_loss"]),
            "gap, points": percent(row["generalization_gap"]),
        }
        | {name: f"{significant(row[name])} +- {significant(row[f'{name}_std'])}" for name in values}
        for row in arms
    ]
    correlations = [
        {
            "value": str(row["value"]),
            "over": f"{row['n']} {'arm means' if row['level'] == 'arms' else 'members'}",
            "with the gap": _correlation(row["with_gap"]),
            "with the train loss": _correlation(row["with_train_loss"]),
            "with the gap at equal train loss": _correlation(row["partial"]),
        }
        for row in results.correlations.to_dict("records")
    ]
    return [
        table("sharpness", rows),
        Text("Rank correlations (exploratory):"),
        table("sharpness_correlations", correlations),
        *pictures(drawn, "sharpness_and_gap", "sharpness_and_loss"),
        *at_equal_loss(results),
    ]


def _correlation(value: float) -> str:
    return f"{value:+.2f}" if known(value) else MISSING


def _examples(results: OldResults) -> list[Part]:
    rows = [
        {
            "arm": str(row["arm"]),
            "difference over seeds and test examples": with_interval(
                points(row["difference"]), row["two_way_low"], row["two_way_high"]
            ),
            "McNemar p": significant(row["mcnemar_p"]),
            "classed differently %": percent(row["disagreement"]),
        }
        for row in results.arms.to_dict("records")
        if known(row["disagreement"])
    ]
    note = "Against the reference, on the same examples (exploratory; the search is not in these intervals)."
    return [Text(note), table("test_examples", rows)]


def _selected(best: Mapping[str, Mapping[str, Any]]) -> Table:
    rows = []
    for arm, chosen in best.items():
        for split, searched in sorted(chosen["by_split"].items(), key=lambda item: int(item[0])):
            texts = [f"{name} {value_text(value)}" for name, value in searched.items() if value is not None]
            rows.append({"arm": arm, "split": split, "configuration": ", ".join(texts)})
    return table("decided", rows)


def _protocol(results: OldResults) -> Table:
    space, asked = results.space, results.asked
    sizes = f"{asked.num_train} training, {asked.num_validation} validation, {asked.num_test} test examples"
    cut = "a test part of its own" if asked.own_test_split else "cut by split_seed"
    seeds = (
        f"{space.get('seeds')} to search, {space.get('rescreen_seeds')} to rescreen, {asked.confirm_seeds} to confirm"
    )
    rows = {
        "data": f"{asked.data}: {sizes} ({cut})",
        "splits": ", ".join(map(str, asked.split_seeds)),
        "seeds": seeds,
        "sampler": f"{asked.sampler}{f', stopped by {asked.scheduler}' if asked.scheduler else ''}",
    }
    return table("protocol", [{"protocol": name, "": text} for name, text in rows.items()])
