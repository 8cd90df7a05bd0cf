"""The answer in plain words: what can be known from a run, and what cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from analysis.asked import UNTESTED_ROLES
from analysis.caveats import Caveat, Lead, unfinished
from analysis.limits import failures, kind_of_error, mixtures, of_old_code, under_trained_text
from analysis.member_columns import usable
from analysis.notation import known, listed, percent, points, significant, with_interval
from analysis.old_design.comparisons import NO_DROP
from analysis.old_design.results import OldResults
from analysis.old_design.selection import confirmed_trials
from analysis.old_design.ties import tied_selections

OLD_DESIGN = (
    "This run was made under the old design (search, rescreen, confirm in every split) and is reported by its rules; its intervals "
    "are wider than those of a run made anew."
)
MIN_CONFIRM_SEEDS = 8
MIN_SPLITS = 3
MOST_NAMED = 8
"""Arms of which each is said why it is not claimed."""


def sentences(results: OldResults) -> list[str]:
    """Findings first, then limits; each a sentence or two that stands on its own."""
    arms = {str(row["arm"]): row for row in results.arms.to_dict("records")}
    return [
        *kind_of_error(results),
        *unfinished(results),
        *_missing(results, arms),
        *_drop(results, arms),
        *_remedies(results, arms),
        *_sharpness(results, arms),
        *_limits(results),
        Caveat("old design", OLD_DESIGN),
    ]


def _missing(results: OldResults, arms: dict[str, Any]) -> Iterator[str]:
    asked = results.asked
    yield from of_old_code(results)
    waiting = [name for name, row in arms.items() if row["n"] == 0]
    if len(waiting) == len(arms):
        yield Caveat(
            "not finished",
            f"No arm is confirmed yet: {len(results.members)} members are there, and nothing can be compared.",
        )
        return
    if waiting:
        yield Caveat("not finished", f"Not confirmed yet, so not compared: {listed(waiting)}.")
    for role in ("baseline", "reference"):
        if getattr(asked, role) is None:
            yield Caveat("an arm is missing", f"The space has no {role} arm, so what depends on it is not given.")
    if asked.placebo is None:
        yield Caveat("no placebo", "The space has no placebo arm: the noise floor of the comparison is not known.")


def _drop(results: OldResults, arms: dict[str, Any]) -> Iterator[str]:
    asked = results.asked
    baseline, reference = arms.get(str(asked.baseline)), arms.get(str(asked.reference))
    if baseline is None or reference is None or not known(reference["large_batch_drop"]):
        return
    drop = points(reference["large_batch_drop"])
    interval = with_interval(drop, reference["large_batch_drop_low"], reference["large_batch_drop_high"])
    errors = " against ".join(f"{row['arm']} {percent(row['test_error'])} %" for row in (reference, baseline))
    reason = results.no_gap_reason
    if not reason:
        yield Lead(f"The large batch costs {interval} points of test error: {errors}, both tuned with the same budget.")
    elif reference["large_batch_drop_high"] < 0:
        yield Lead(
            f"The large batch is better, so there is no drop to close: {interval} points of test error, {errors}."
        )
    elif reason.startswith(NO_DROP) and reference["large_batch_drop_low"] > 0:
        yield Lead(
            f"The drop is {interval} points ({errors}), too small beside the test set's size to give shares of it: {reason}."
        )
    elif reason.startswith(NO_DROP):
        yield Lead(f"There is no drop to close that can be told from zero: {interval} points ({errors}).")
    else:
        yield Lead(f"The drop is {drop} points ({errors}); no share of it is given: {reason}.")
    train, gap = points(reference["drop_train_error"]), points(reference["drop_generalization_gap"])
    yield f"Of it, {train} points are lost on the train set itself and {gap} points in generalization."
    if reference["under_trained"] is True:
        yield Caveat("under-trained", under_trained_text(asked.reference, reference, asked.baseline, baseline))
    closed = results.tuning_closed
    if closed.value is not None:
        share = with_interval(f"{percent(closed.value, 0)} %", *closed.interval, digits=0)
        yield f"Tuning alone closes {share} of what the large batch loses at the baseline's own learning rate."


def _remedies(results: OldResults, arms: dict[str, Any]) -> Iterator[str]:
    asked = results.asked
    placebo = arms.get(str(asked.placebo))
    if placebo is not None and known(placebo["difference"]):
        yield (
            f"Noise floor: {asked.placebo}, which is {asked.reference} with other random draws, "
            f"differs from it by {_effect(placebo)}. No smaller difference is claimed."
        )
    tested = {name: row for name, row in arms.items() if row["role"] not in UNTESTED_ROLES and known(row["difference"])}
    claimed = {name: row for name, row in tested.items() if row["claim"] is True}
    for name, row in sorted(claimed.items(), key=lambda item: item[1]["difference"]):
        yield Lead(_claim(results, name, row))
    if tested and not claimed:
        yield Lead(f"No remedy can be told from {asked.reference} in this search.")
    rest = {name: row for name, row in tested.items() if name not in claimed}
    if rest:
        yield f"Not claimed: {'; '.join(_unclaimed(rest))}."
    unfinished = [name for name, row in arms.items() if row["search_converged"] is False]
    if unfinished:
        yield Caveat(
            "search not converged",
            f"Search not converged for {listed(unfinished)}: the last doubling of trials still gained more than one "
            "standard error, so more trials may change their places.",
        )


def _claim(results: OldResults, name: str, row: dict[str, Any]) -> str:
    better = row["difference"] < 0
    text = f"{name} {'lowers' if better else 'RAISES'} the test error: {_effect(row)} (Holm p = {row['p_holm']:.2g})"
    if better and known(row["gap_closed"]):
        share = with_interval(
            f"{percent(row['gap_closed'], 0)} %", row["gap_closed_low"], row["gap_closed_high"], digits=0
        )
        text += f"; it closes {share} of the drop"
    cost = results.asked.arm(name).cost
    text += f", at {significant(cost)} gradient evaluations an update." if cost > 1 else "."
    if row["matched_by"] and known(row["matched_difference"]):
        matched = with_interval(
            points(row["matched_difference"]), row["matched_difference_low"], row["matched_difference_high"]
        )
        text += f" Against {row['matched_by']}, which spends as much: {matched} points (exploratory)."
    return text


def _effect(row: dict[str, Any]) -> str:
    """Return the difference from the reference with its interval."""
    return f"{with_interval(points(row['difference']), row['difference_low'], row['difference_high'])} points"


def _unclaimed(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Arm by arm why nothing is claimed; of many arms with the same reason the first and the last, the table has them all."""

    def effect(name: str) -> str:
        return f"{name} {_effect(rows[name])}"

    if len(rows) <= MOST_NAMED:
        yield from (f"{effect(name)}, {row['claim_reason']}" for name, row in rows.items())
        return
    of_reason: dict[str, list[str]] = {}
    for name in sorted(rows, key=lambda name: float(rows[name]["difference"])):
        of_reason.setdefault(str(rows[name]["claim_reason"]).partition(" (")[0], []).append(name)
    for reason, names in of_reason.items():
        many = f"{len(names)} arms, from {effect(names[0])} to {effect(names[-1])}"
        yield f"{many if len(names) > 1 else effect(names[0])}, {reason}"


def _sharpness(results: OldResults, arms: dict[str, Any]) -> Iterator[str]:
    found = results.correlations
    found = found[(found["value"] == "lambda_max") & (found["level"] == "arms")]
    if found.empty or not known(float(found["with_gap"].iloc[0])):
        return
    row = found.iloc[0]
    measured = {name: arm for name, arm in arms.items() if known(arm.get("lambda_max"))}
    flat, sharp = (pick(measured, key=lambda name: measured[name]["lambda_max"]) for pick in (min, max))
    text = (
        f"Flattest by lambda_max is {flat} ({significant(measured[flat]['lambda_max'])}), sharpest {sharp} "
        f"({significant(measured[sharp]['lambda_max'])}). Over {row['n']} arm means lambda_max has rank correlation "
        f"{row['with_gap']:+.2f} with the generalization gap and {row['with_train_loss']:+.2f} with the train loss"
    )
    partial = f"; at equal train loss it has {row['partial']:+.2f} with the gap" if known(float(row["partial"])) else ""
    yield f"{text}{partial} (exploratory)."


def _limits(results: OldResults) -> Iterator[str]:
    asked, confirmed = results.asked, results.confirmed
    if results.problems:
        yield Caveat(
            "files left out",
            f"{len(results.problems)} files or rows could not be used and count nowhere; the report names them.",
        )
    if not asked.searches_resampled:
        why = (
            f"trials were stopped by {asked.scheduler}"
            if asked.scheduler
            else f"{asked.sampler} trials depend on each other"
        )
        yield Caveat(
            "search not known",
            f"The noise of the search is not known ({why}): intervals are over seeds only, and nothing is claimed.",
        )
    if len(confirmed) == 0:
        return
    splits = confirmed["split_seed"].nunique()
    if splits == 1 or (splits < MIN_SPLITS and not asked.own_test_split):
        yield Caveat(
            "one cut",
            f"{splits} split{'s' * (splits > 1)} of the data: how much the answer depends on the cut is not known"
            f"{'' if splits == 1 else ' well'}; use at least {MIN_SPLITS} split_seeds.",
        )
    seeds = confirmed.groupby(["arm", "split_seed"])["seed"].nunique()
    few = seeds[seeds < MIN_CONFIRM_SEEDS].reset_index()["arm"].unique().tolist() if len(seeds) else []
    if few:
        whose = "every arm" if set(few) == set(confirmed["arm"]) else listed(few)
        yield Caveat("too few seeds", f"Fewer than {MIN_CONFIRM_SEEDS} confirm seeds: {whose}.")
    yield from _ties(results)
    yield from mixtures(confirmed)
    yield from failures(results)


def _ties(results: OldResults) -> Iterator[str]:
    asked = results.asked
    found = tied_selections(usable(results.members), asked, confirmed_trials(usable(results.members), asked))
    if found.empty:
        return
    by, other = ("loss", "error") if asked.select_by == "loss" else ("error", "loss")
    texts = [f"{row['arm']} ({row['number']} in split {row['split_seed']})" for row in found.to_dict("records")]
    how = f"the lower validation {other} decided" if asked.ties_decided else "the first of them was taken"
    yield Caveat("chosen on ties", f"Selected among trials of equal validation {by}: {listed(texts)}; {how}.")
