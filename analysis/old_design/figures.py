"""What the figures of a run of the old design show."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd

from analysis.asked import UNTESTED_ROLES
from analysis.figure_kinds import ArmErrors, Curves, Scatter, SearchCurves, history_curves, scatter
from analysis.notation import known, listed, points
from analysis.old_design.results import OldResults
from analysis.tips import member_tips

Shown = ArmErrors | Scatter | Curves | SearchCurves


def arm_errors(results: OldResults) -> ArmErrors | None:
    """Test error of every confirmed member, and of every arm with its headline interval; None before the first one."""
    table = results.arms[results.arms["n"] > 0]
    if table.empty:
        return None
    headline = table["test_error_low"].notna().any()
    low, high = ("test_error_low", "test_error_high") if headline else ("test_error_seed_low", "test_error_seed_high")
    edges = ("difference_low", "difference_high") if headline else ("difference_seed_low", "difference_seed_high")
    columns = {"mean": "test_error", "low": low, "high": high, "difference": "difference"}
    columns |= dict(zip(("difference_low", "difference_high"), edges, strict=True))
    arms = table[["arm", "role", "n", "n_diverged", "claim"]].reset_index(drop=True)
    arms = arms.assign(**{name: 100 * table[column].to_numpy(np.float64) for name, column in columns.items()})
    confirmed, asked = results.confirmed, results.asked
    arms = arms.assign(inner_low=np.nan, inner_high=np.nan, is_tested=~arms["role"].isin(UNTESTED_ROLES))
    members = confirmed[["arm"]].assign(
        tip=member_tips(confirmed, asked),
        group=confirmed["split_seed"],
        test_error=100 * confirmed["test_error"],
        diverged=confirmed["status"] == "diverged",
    )
    splits = confirmed["split_seed"].nunique()
    dots = "Dots: confirm seeds" + (f", one marker for each of {splits} splits" if splits > 1 else "")
    floor = float(table["noise_floor"].iloc[0])
    covers = next((text for text in table["difference_covers"] if text), "") if headline else "seeds only"
    return ArmErrors(
        _finding(results),
        arms,
        members.reset_index(drop=True),
        _mean(arms, asked.baseline),
        _mean(arms, asked.reference),
        100 * floor,
        f"{dots}. Diamonds and bars: mean and 95 % interval over {covers or 'search, seeds'}.",
    )


def _mean(arms: pd.DataFrame, name: str | None) -> float:
    found = arms.loc[arms["arm"] == name, "mean"]
    return float(found.iloc[0]) if len(found) else float("nan")


def _finding(results: OldResults) -> str:
    """What the comparison shows, as a title."""
    table, reference = results.arms, results.asked.reference
    if reference is None or not (table.loc[table["arm"] == reference, "n"] > 0).any():
        return "Test error after the search"
    claimed = table[table["claim"].fillna(False).astype(bool)]
    better = claimed.loc[claimed["difference"] < 0, "arm"].tolist()
    worse = claimed.loc[claimed["difference"] > 0, "arm"].tolist()
    parts = []
    if better:
        parts.append(f"{listed(better)} {'improve' if len(better) > 1 else 'improves'} on {reference}")
    if worse:
        parts.append(f"{listed(worse)} {'are' if len(worse) > 1 else 'is'} worse than {reference}")
    if not parts and not (table["role"] == "arm").any() and results.asked.baseline is not None:
        row = table.loc[table["arm"] == results.asked.baseline].iloc[0]
        apart = row["difference_low"] * row["difference_high"] > 0
        return f"{reference} {'differs' if apart else 'cannot be told'} from {results.asked.baseline}"
    return "; ".join(parts) or f"No remedy can be told from {reference}"


def sharpness_and_gap(results: OldResults, value: str = "lambda_max") -> Scatter | None:
    """Sharpness against the generalization gap (points); None where no confirmed member has both."""
    return _scatter(results, value, "generalization_gap")


def sharpness_and_loss(results: OldResults, value: str = "lambda_max") -> Scatter | None:
    """Sharpness against train loss, both on logarithmic axes; None where no confirmed member has both."""
    return _scatter(results, value, "train_loss")


def _scatter(results: OldResults, value: str, other: str) -> Scatter | None:
    info = scatter(results, value, other)
    if info is None:
        return None
    found = results.correlations
    row = found[(found["value"] == value) & (found["level"] == "arms")].iloc[0]
    correlation = float(row["with_train_loss" if info.log_y else "with_gap"])
    title = info.title
    if known(correlation):
        title += f": rank correlation {correlation:+.2f} over {row['n']} arm means"
        if not info.log_y and known(float(row["partial"])):
            title += f", {row['partial']:+.2f} at equal train loss"
    return info._replace(title=title)


def search_curves(results: OldResults) -> SearchCurves | None:
    """Expected test error of the best of k trials by validation, per arm; None where trials are not exchangeable."""
    curves = results.curves
    if curves.empty or curves["k"].max() < 2:
        return None
    lines = curves.groupby(["arm", "k"], as_index=False)["test_error"].mean()
    unfinished = results.arms.loc[results.arms["search_converged"].eq(False), ["arm", "search_gain"]]
    gains = [f"{arm} ({points(-gain)})" for arm, gain in unfinished.itertuples(index=False)]
    quiet = "No arm gains more than a standard error from its last doubling of trials"
    title = f"Still gaining with more trials: {listed(gains)} points" if gains else quiet
    lines = lines.assign(value=100 * lines["test_error"], converged=~lines["arm"].isin(unfinished["arm"]))
    splits = curves["split_seed"].nunique()
    note = "Expectation over random k of an arm's trials, search and rescreen seeds"
    note += f", mean of {splits} splits." if splits > 1 else "."
    return SearchCurves(title, lines, "test error of the best by validation, %", note)


FIGURES: dict[str, Callable[[OldResults], Shown | None]] = {
    "test_error": arm_errors,
    "sharpness_and_gap": sharpness_and_gap,
    "sharpness_and_loss": sharpness_and_loss,
    "history": history_curves,
    "search": search_curves,
}
"""File name without suffix -> what the figure shows; None where the results do not allow it."""
