"""What the figures of a run of blocks show."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.arms import WIDEST
from analysis.asked import OUTSIDE_ROLES
from analysis.figure_kinds import ArmErrors, Curves, Scatter, SearchCurves, history_curves, scatter
from analysis.notation import counted, known, named, percent
from analysis.pooled import PooledResults
from analysis.results import Results
from analysis.sentences import correlation
from analysis.tips import member_tips

Shown = ArmErrors | Scatter | Curves | SearchCurves
MOST_NAMED = 4


def arm_errors(results: Results) -> ArmErrors | None:
    """Test error of every confirm member and arm, and both intervals of the differences; None before the first one."""
    table = results.arms[results.arms["n"] > 0]
    if table.empty:
        return None
    columns = {
        "mean": "test_error",
        "low": "test_error_low",
        "high": "test_error_high",
        "difference": "difference",
        "difference_low": "difference_low",
        "difference_high": "difference_high",
        "inner_low": "difference_recipe_low",
        "inner_high": "difference_recipe_high",
    }
    arms = table[["arm", "role", "n", "n_diverged", "claim"]].reset_index(drop=True)
    arms = arms.assign(is_tested=~arms["role"].isin(OUTSIDE_ROLES))
    arms = arms.assign(**{name: 100 * table[column].to_numpy(np.float64) for name, column in columns.items()})
    # without the variance of the selection the recipes' interval is all there is
    outer = arms["difference_low"].isna()
    arms = arms.assign(
        difference_low=arms["difference_low"].mask(outer, arms["inner_low"]),
        difference_high=arms["difference_high"].mask(outer, arms["inner_high"]),
    )
    confirmed, asked = results.confirmed, results.asked
    members = confirmed[["arm"]].assign(
        tip=member_tips(confirmed, asked),
        group=0,
        test_error=100 * confirmed["test_error"],
        diverged=confirmed["status"] == "diverged",
    )
    blocks = confirmed["block"].nunique()
    note = f"Dots: confirm members, of {counted(blocks, 'block')}. Left, diamonds and bars: mean and 95 % interval over blocks."
    if arms["difference"].notna().any():
        found = (
            "with the values that the search found; thin: of the whole procedure,"
            if asked.searches
            else "each by itself; thin:"
        )
        note += f" Right: differences within blocks; thick: {found} all tested arms at once."
        if isinstance(results, PooledResults) and results.not_paired:
            note += " Each from the reference of its own run."
    return ArmErrors(
        _finding(results),
        arms,
        members.reset_index(drop=True),
        _mean(arms, results.asked.baseline),
        _mean(arms, results.asked.reference),
        100 * float(table["noise_floor"].iloc[0]),
        note,
        100 * WIDEST if asked.is_share else math.inf,
    )


def _mean(arms: pd.DataFrame, name: str | None) -> float:
    found = arms.loc[arms["arm"] == name, "mean"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _finding(results: Results) -> str:
    """What the comparison shows, as a title."""
    table, reference, asked = results.arms, results.asked.reference, results.asked
    if reference is None or not (table.loc[table["arm"] == reference, "n"] > 0).any():
        return "Test error after the search"
    claimed = table[table["claim"].fillna(False).astype(bool)]
    better = claimed.loc[claimed["difference"] < 0, "arm"].tolist()
    worse = claimed.loc[claimed["difference"] > 0, "arm"].tolist()
    parts = []
    if better:
        parts.append(f"{named(better, MOST_NAMED, '')} {'improve' if len(better) > 1 else 'improves'} on {reference}")
    if worse:
        parts.append(f"{named(worse, MOST_NAMED, '')} {'are' if len(worse) > 1 else 'is'} worse than {reference}")
    if parts:
        return "; ".join(parts)
    compared = table[table["role"].eq("arm") & table["difference"].notna()]
    if compared.empty:
        rows = table.loc[(table["arm"] == asked.baseline) & table["difference"].notna()]
        if rows.empty:
            return "Test error after the search"
        row = rows.iloc[0]
        apart = row["difference_low"] * row["difference_high"] > 0
        return f"{reference} {'differs' if apart else 'cannot be told'} from {asked.baseline}"
    noun = "remedy" if any(asked.arm(str(name)).remedies for name in compared["arm"]) else "arm"
    return f"No {noun} can be told from {reference}"


def sharpness_and_gap(results: Results, value: str = "lambda_max") -> Scatter | None:
    """Sharpness against the generalization gap (points); None where no confirm member has both."""
    return _scatter(results, value, "generalization_gap")


def sharpness_and_loss(results: Results, value: str = "lambda_max") -> Scatter | None:
    """Sharpness against train loss, both on logarithmic axes; None where no confirm member has both."""
    return _scatter(results, value, "train_loss")


def _scatter(results: Results, value: str, other: str) -> Scatter | None:
    info = scatter(results, value, other)
    found = results.correlations
    found = found[found["value"] == value]
    if info is None or found.empty:
        return info
    row = found.iloc[0]
    which = "with_train_loss" if info.log_y else "with_gap"
    if not known(float(row[which])):
        return info
    title = f"{info.title}: rank correlation {correlation(row, which)} over {row['n']} arms"
    if not info.log_y and known(float(row["partial"])):
        title += f", {correlation(row, 'partial')} at equal train loss"
    return info._replace(title=title)


def search_curves(results: Results) -> SearchCurves | None:
    """Expected validation loss of the best of k points, per arm; None where points are not exchangeable."""
    curves = results.curves
    if curves.empty or curves["k"].max() < 2:
        return None
    table = results.arms
    unfinished = table.loc[table["search_converged"].eq(False).fillna(False), ["arm", "search_gain"]]
    gains = [f"{arm} ({percent(gain, 0)} %)" for arm, gain in unfinished.itertuples(index=False)]
    quiet = "No arm gains more than the noise of a member from its last doubling of points"
    title = f"Still gaining with more points: {named(gains, MOST_NAMED, '')}" if gains else quiet
    if not table["search_converged"].notna().any():
        title = "What the best of k points reaches"
    by_error = results.asked.select_by == "error"
    label = "validation error of the best, %" if by_error else "validation loss of the best, nats"
    lines = curves.assign(
        value=(100 if by_error else 1) * curves["value"], converged=~curves["arm"].isin(unfinished["arm"])
    )
    log = not by_error and bool((lines["value"] > 0).all())
    note = "Expectation over random k of an arm's points, one member each, in one block."
    if results.asked.placebo in set(lines["arm"]):
        note += f" {results.asked.placebo} searches in another block: its level is not to be compared."
    return SearchCurves(title, lines, label, note, log)


FIGURES: dict[str, Callable[[Results], Shown | None]] = {
    "test_error": arm_errors,
    "sharpness_and_gap": sharpness_and_gap,
    "sharpness_and_loss": sharpness_and_loss,
    "history": history_curves,
    "search": search_curves,
}
"""File name without suffix -> what the figure shows; None where the results do not allow it."""
