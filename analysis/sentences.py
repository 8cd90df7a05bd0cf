"""The answer in plain words: what can be known from a run, and what cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from analysis.asked import DERIVED_ROLES, OUTSIDE_ROLES
from analysis.caveats import Caveat, Lead, unfinished
from analysis.drops import NO_DROP
from analysis.how_large import sentence
from analysis.limits import kind_of_error, of_old_code, under_trained_text
from analysis.notation import MOST_NAMED, counted, known, listed, named, percent, points, significant, with_interval
from analysis.results import Results
from analysis.what_is_unknown import limits

Rows = Mapping[str, Mapping[Any, Any]]


def sentences(results: Results) -> list[str]:
    """Findings first, then limits; each a sentence or two that stands on its own."""
    arms = {str(row["arm"]): row for row in results.printed}
    return [
        *kind_of_error(results),
        *unfinished(results),
        *_missing(results, arms),
        *_one_block(results),
        *_drop(results, arms),
        *_batch_sizes(results),
        *_placebo(results, arms),
        *_claims(results, arms),
        *_references(results, arms),
        *_sharpness(results, arms),
        *limits(results, arms),
    ]


def _missing(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    yield from of_old_code(results)
    waiting = [name for name, row in arms.items() if row["n"] == 0]
    if len(waiting) == len(arms):
        counts = results.members["stage"].value_counts()
        stages = [f"{counts[stage]} of {stage}" for stage in ("search", "decide", "confirm") if stage in counts]
        there = f"{len(results.members)} members are there{f' ({listed(stages)})' if stages else ''}"
        yield Caveat("not finished", f"No arm is confirmed yet: {there}, and nothing can be compared.")
        return
    if waiting:
        yield Caveat("not finished", f"Not confirmed yet, so not compared: {listed(waiting)}.")
    if asked.baseline is None and asked.reference is None:
        yield Caveat("an arm is missing", "The space has no baseline and no reference arm, so nothing is compared.")
        yield Lead(_levels(arms))
        return
    for role in ("baseline", "reference"):
        if getattr(asked, role) is None:
            yield Caveat("an arm is missing", f"The space has no {role} arm, so what depends on it is not given.")


def _levels(arms: Rows) -> str:
    """The lowest test error and the highest, where that is all that can be said."""
    there = {name: row for name, row in arms.items() if row["n"]}
    low, high = (pick(there, key=lambda name: there[name]["test_error"]) for pick in (min, max))
    said = []
    for name in dict.fromkeys((low, high)):
        row = there[name]
        interval = with_interval(f"{percent(row['test_error'])} %", row["test_error_low"], row["test_error_high"])
        said.append((name, interval))
    if not said[1:]:
        return f"The test error of {low} is {said[0][1]}, over {counted(there[low]['n'], 'member')}."
    of = " and highest of ".join(f"{name}, {interval}" for name, interval in said)
    return f"The test error is lowest of {of}, among {counted(len(there), 'arm')}."


def _one_block(results: Results) -> Iterator[str]:
    if results.one_block:
        yield Caveat(
            "one block",
            "One confirm block: each arm was trained on one cut of the data with one set of seeds, so no difference has an "
            "interval and no remedy can be told from another (confirm_blocks of at least 2; 8 and more for a claim).",
        )


def _drop(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    baseline, reference = arms.get(str(asked.baseline)), arms.get(str(asked.reference))
    if baseline is None or reference is None or not known(reference["large_batch_drop"]):
        return
    low, high = reference["large_batch_drop_low"], reference["large_batch_drop_high"]
    drop = with_interval(points(reference["large_batch_drop"]), low, high)
    errors = " against ".join(f"{row['arm']} {percent(row['test_error'])} %" for row in (reference, baseline))
    reason = results.no_gap_reason
    if not reason:
        tuned = ", both tuned by the same procedure" if asked.searches else ""
        yield Lead(f"The large batch costs {drop} points of test error: {errors}{tuned}.")
    elif high < 0:
        yield Lead(f"The large batch is better, so there is no drop to close: {drop} points of test error, {errors}.")
    elif reason.startswith(NO_DROP) and low > 0:
        yield Lead(
            f"The drop is {drop} points ({errors}); no share of it is given: {reason.removeprefix(NO_DROP + ': ')}."
        )
    elif reason.startswith(NO_DROP):
        yield Lead(f"There is no drop to close that can be told from zero: {drop} points ({errors}).")
    else:
        yield Lead(f"The drop is {drop} points ({errors}); no share of it is given: {reason}.")
    train, gap = (
        with_interval(points(reference[name]), reference[f"{name}_low"], reference[f"{name}_high"])
        for name in ("drop_train_error", "drop_generalization_gap")
    )
    split = f"{train} points of it are lost on the train set itself and {gap} points in generalization."
    yield f"With the values that the search found, {split}" if asked.searches else split
    if reference["under_trained"] is True:
        yield Caveat(
            "under-trained", under_trained_text(asked.reference, dict(reference), asked.baseline, dict(baseline))
        )
    closed = results.tuning_closed
    if closed.is_known:
        share = _share(closed.effect.estimate, closed.effect.low, closed.effect.high)
        yield f"Tuning alone closes {share} of what the large batch loses at the baseline's own learning rate."


def _batch_sizes(results: Results) -> Iterator[str]:
    if results.how_large is not None:
        yield Lead(sentence(results.how_large))


def _placebo(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    row = arms.get(str(asked.placebo))
    if asked.reference is None:
        return
    if asked.placebo is None:
        yield Caveat(
            "no placebo",
            "The space has no placebo arm: nothing says what a difference of nothing from nothing looks like in this run.",
        )
        return
    if row is None or not known(row["difference"]):
        return
    what = f"{asked.placebo}, which is {asked.reference} with a search of its own,"
    low, high = row["difference_low"], row["difference_high"]
    if row["difference"] == 0 and row["difference_recipe_low"] == 0:
        yield f"The check: {what} chose the same values, so it differs by exactly 0 and is no floor for claims."
    elif not known(low):
        yield f"The check: {what} differs from it by {points(row['difference'])} points. No smaller difference is claimed."
    elif low <= 0 <= high:
        yield (
            f"The check: {what} differs from it by {_procedure(row)}: the interval holds 0, as it should. "
            "No smaller difference is claimed."
        )
    else:
        yield Caveat(
            "check fails",
            f"The check FAILS: {what} differs from it by {_procedure(row)}, and the interval does not hold 0. In 1 run of 20 that "
            "is chance; read the claims as if they were not made.",
        )


def _claims(results: Results, arms: Rows) -> Iterator[str]:
    asked = results.asked
    if results.one_block:
        return
    tested = {name: row for name, row in arms.items() if row["role"] not in OUTSIDE_ROLES and known(row["difference"])}
    claimed = {name: row for name, row in tested.items() if row["claim"] is True}
    for name, row in sorted(claimed.items(), key=lambda item: item[1]["difference"]):
        yield Lead(_claim(results, name, row))
    if tested and not claimed:
        many = len(tested) > 1
        noun = "remedy" if any(asked.arm(name).remedies for name in tested) else "arm"
        yield Lead(
            f"No {noun} can be told from {asked.reference} in this run."
            if many
            else _only(next(iter(tested)), asked.reference)
        )
    rest = {name: row for name, row in tested.items() if name not in claimed}
    if rest:
        yield f"Not claimed: {'; '.join(_unclaimed(rest))}."
    apart = [name for name, row in rest.items() if row["difference_recipe_low"] * row["difference_recipe_high"] > 0]
    if apart and asked.searches:
        yield (
            f"With the values that the search found, {named(apart)} {'differ' if len(apart) > 1 else 'differs'} from "
            f"{asked.reference} (the interval of these recipes leaves 0 out); another search may find other values, so this is no "
            f"claim about {'the remedies' if len(apart) > 1 else 'the remedy'}."
        )


def _only(name: str, reference: str | None) -> str:
    return f"{name} cannot be told from {reference} in this run."


def _claim(results: Results, name: str, row: Mapping[Any, Any]) -> str:
    better = row["difference"] < 0
    searches = results.asked.searches
    text = f"{name} {'lowers' if better else 'RAISES'} the test error{', its search included' if searches else ''}: "
    text += f"{_procedure(row)} (Holm p = {row['p_holm']:.2g})"
    text += f"; with the values that the search found the interval is {_recipe(row)}" if searches else ""
    if better and known(row["gap_closed"]):
        text += f". It closes {_share(row['gap_closed'], row['gap_closed_low'], row['gap_closed_high'])} of the drop"
    cost = results.asked.arm(name).cost
    text += f". It costs {cost:g} gradient evaluations an update." if cost > 1 else "."
    text += _new_examples(row)
    if row["matched_by"] and known(row["matched_difference"]):
        matched = with_interval(
            points(row["matched_difference"]), row["matched_difference_low"], row["matched_difference_high"]
        )
        text += f" Against {row['matched_by']}, which spends as much: {matched} points (exploratory)."
    return text


def _new_examples(row: Mapping[Any, Any]) -> str:
    """What the claim is for other test examples than those of the run."""
    if not known(row["difference_new_low"]):
        return ""
    interval = f"[{percent(row['difference_new_low'])}, {percent(row['difference_new_high'])}]"
    if row["claim_new_data"] is True:
        return f" For other test examples of the same kind the interval is {interval}."
    return f" It is claimed for these test examples: for others of the same kind the interval is {interval}."


def _unclaimed(rows: Rows) -> Iterator[str]:
    """Arm by arm why nothing is claimed; of many arms with the same reason the first and the last, the table has them all."""
    if len(rows) <= MOST_NAMED:
        yield from (f"{name} {_procedure(row)}, {row['claim_reason']}" for name, row in rows.items())
        return
    of_reason: dict[str, list[str]] = {}
    for name in sorted(rows, key=lambda name: float(rows[name]["difference"])):
        of_reason.setdefault(str(rows[name]["claim_reason"]).partition(" (")[0], []).append(name)
    for reason, names in of_reason.items():
        first, last = (f"{name} {_procedure(rows[name])}" for name in (names[0], names[-1]))
        yield f"{len(names)} arms, from {first} to {last}, {reason}" if len(names) > 1 else f"{first}, {reason}"


def _references(results: Results, arms: Rows) -> Iterator[str]:
    """Copied, scaled and compute-matched arms: named as what they are, outside of the family."""
    roles = {
        role: "at the baseline's rate" if role == "copied" else "at its rate per example" for role in DERIVED_ROLES
    }
    roles["compute_matched"] = "trained longer"
    found = [
        f"{name} ({roles[str(row['role'])]}) {_procedure(row)}"
        for name, row in arms.items()
        if row["role"] in roles and known(row["difference"])
    ]
    if found:
        yield f"References, outside of the family that is tested, against {results.asked.reference}: {'; '.join(found)}."


def _sharpness(results: Results, arms: Rows) -> Iterator[str]:
    found = results.correlations
    found = found[found["value"] == "lambda_max"]
    if found.empty or not known(float(found["with_gap"].iloc[0])):
        return
    row = found.iloc[0]
    measured = {name: arm for name, arm in arms.items() if known(arm.get("lambda_max"))}
    flat, sharp = (pick(measured, key=lambda name: measured[name]["lambda_max"]) for pick in (min, max))
    text = (
        f"Flattest by lambda_max is {flat} ({significant(measured[flat]['lambda_max'])}), sharpest {sharp} "
        f"({significant(measured[sharp]['lambda_max'])}), on {counted(row['num_blocks'], 'block')}. Over the means of "
        f"{row['n']} arms lambda_max has rank correlation {correlation(row, 'with_gap')} with the generalization gap and "
        f"{correlation(row, 'with_train_loss')} with the train loss"
    )
    partial = (
        f"; at equal train loss it has {correlation(row, 'partial')} with the gap"
        if known(float(row["partial"]))
        else ""
    )
    yield f"{text}{partial} (exploratory)."


def correlation(row: Any, name: str) -> str:
    """A rank correlation with its interval over blocks: "+0.40 [0.10, 0.60]"."""
    # + 0.0: no minus zero
    value, low, high = (round(float(row[f"{name}{end}"]), 2) + 0.0 for end in ("", "_low", "_high"))
    return f"{value:+.2f} [{low:.2f}, {high:.2f}]" if math.isfinite(low) else f"{value:+.2f}"


def _procedure(row: Mapping[Any, Any]) -> str:
    """The difference from the reference with the procedure's interval."""
    return f"{with_interval(points(row['difference']), row['difference_low'], row['difference_high'])} points"


def _recipe(row: Mapping[Any, Any]) -> str:
    return with_interval("", row["difference_recipe_low"], row["difference_recipe_high"]).strip() or "not known"


def _share(value: float, low: float, high: float) -> str:
    return with_interval(f"{percent(value, 0)} %", low, high, digits=0)
