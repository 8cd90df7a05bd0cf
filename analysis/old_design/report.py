"""The report of a run in Markdown: the answer, the tables behind it, and how they were made."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from analysis.notation import MISSING, count, known, percent, points, significant, with_interval
from analysis.old_design.results import OldResults
from analysis.sections import CAPTIONS, at_equal_loss, bullets, problems, scaling, table, value_text, values_of

OLD = "*A run of the old design: tables and intervals follow docs/inference_old_design.md.*"
METHODS = """
* Errors are in percent, differences in points; a negative difference is better. `n` counts confirmed members, whose
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
""".strip()


def old_report(results: OldResults, shown: Mapping[str, Any], figures: Iterable[str]) -> str:
    """The whole report. shown: what `summary` gave; figures: names of the PNG files beside it, without suffix."""
    drawn = list(figures)
    pictures = {name: f"![{CAPTIONS[name]}]({name}.png)" for name in drawn}
    sharp = [pictures[name] for name in ("sharpness_and_gap", "sharpness_and_loss") if name in pictures]
    parts = [
        f"# {results.asked.name}",
        results.asked.question,
        OLD,
        "## Answer",
        bullets(shown["sentences"]),
        pictures.get("test_error", ""),
        "## Arms",
        table([row["cells"] for row in shown["rows"]]),
        "## Where the drop comes from",
        _decomposition(results),
        pictures.get("history", ""),
        "## Was the search large enough?",
        _adequacy(results),
        pictures.get("search", ""),
        *_sharpness(results, sharp),
        *scaling(results.configurations),
        *_examples(results),
        "## Selected configurations",
        _selected(shown["best"]),
        "## How to read this",
        METHODS,
        _protocol(results),
        *problems(shown["problems"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _decomposition(results: OldResults) -> str:
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
    return table(rows)


def _adequacy(results: OldResults) -> str:
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
    return table(rows)


def _sharpness(results: OldResults, pictures: list[str]) -> list[str]:
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
    parts = ["## Sharpness", table(rows), "Rank correlations (exploratory):", table(correlations), *pictures]
    parts += at_equal_loss(results)
    return parts


def _correlation(value: float) -> str:
    return f"{value:+.2f}" if known(value) else MISSING


def _examples(results: OldResults) -> list[str]:
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
    return ["## Noise of the test examples", note, table(rows)] if rows else []


def _selected(best: Mapping[str, Mapping[str, Any]]) -> str:
    rows = []
    for arm, chosen in best.items():
        for split, searched in sorted(chosen["by_split"].items(), key=lambda item: int(item[0])):
            texts = [f"{name} {value_text(value)}" for name, value in searched.items() if value is not None]
            rows.append({"arm": arm, "split": split, "configuration": ", ".join(texts)})
    return table(rows) or "No configuration is confirmed yet."


def _protocol(results: OldResults) -> str:
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
        "members": count(len(results.members)),
        "execution": "; ".join(f"{name} {values_of(results, name)}" for name in ("device", "execution", "threads")),
        "space": str(space.get("hash")),
    }
    return table([{"protocol": name, "": text} for name, text in rows.items()])
