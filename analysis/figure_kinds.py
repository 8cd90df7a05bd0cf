"""What the figures show, as frames: each kind is drawn by a function of analysis.drawing."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.reach import reach, within
from analysis.run import Run
from analysis.tips import member_tips

HISTORY_NAMES = {
    "train_loss": "train loss",
    "running_train_loss": "train loss (running)",
    "validation_error": "validation error, %",
    "test_error": "test error, %",
    "lambda_max": "lambda_max",
}
IN_PERCENT = ("validation_error", "test_error")
MAX_PANELS = 3
MIN_SHOWN = 3
"""Arms that are always on the axes of errors."""
LEAST_SPAN = 0.5
"""Points: arms that lie closer together are one place."""


class ArmErrors(NamedTuple):
    """Errors in percent, differences in points.

    arms: arm, role, mean, low, high, difference, difference_low, difference_high, inner_low, inner_high (a shorter interval of the
    difference, drawn thick; nan where there is none), is_tested, n, n_diverged, claim; in order.
    members: arm, group (of the same marker), test_error, diverged, tip (see `member_tips`). floor: |placebo's difference|, nan
    where unknown. note: how dots and bars are read.
    """

    title: str
    arms: pd.DataFrame
    members: pd.DataFrame
    baseline: float
    reference: float
    floor: float
    note: str
    whole: float = math.inf
    """Width in points from which an interval says nothing."""

    @property
    def rows(self) -> dict[str, int]:
        """Height of each arm, the first on top."""
        return {str(arm): len(self.arms) - 1 - position for position, arm in enumerate(self.arms["arm"])}

    @property
    def beyond(self) -> list[str]:
        """Arms too bad for the axes: further above the others than these, baseline and reference among them, are apart."""
        steady = self.arms[self.arms["n_diverged"] == 0].sort_values("mean")
        means, names = steady["mean"].to_numpy(np.float64), [str(arm) for arm in steady["arm"]]
        told_apart = np.isin(steady["role"], ("baseline", "reference"))
        for first in range(MIN_SHOWN, len(means)):
            width = max(means[first - 1] - means[0], LEAST_SPAN)
            if means[first] - means[first - 1] > width and not told_apart[first:].any():
                return names[first:]
        return []

    @property
    def error_span(self) -> tuple[float, float]:
        """Ends of the error axis: around all that did not diverge and is not far beyond, which would hide the rest."""
        points = np.concatenate([self._fine(), *self._steady("mean"), [self.baseline, self.reference]])
        low, high = _span(points, np.concatenate(self._steady("low", "high")))
        return max(0.0, low), high

    @property
    def difference_span(self) -> tuple[float, float]:
        """Ends of the axis of differences, in the same way; members that scatter more than their means set the scale."""
        points = np.concatenate([*self._steady("difference"), [0.0, self.floor, -self.floor]])
        fine = self._fine()
        scatter = float(np.ptp(fine)) if fine.size else 0.0
        return _span(points, np.concatenate(self._steady("difference_low", "difference_high")), max(scatter, 1e-3))

    @property
    def cut(self) -> bool:
        """Whether an interval reaches beyond its axis, of an arm that does not."""
        shown = self.arms[~self.arms["arm"].isin(self.beyond)]
        pairs = ((self.error_span, ("low", "high")), (self.difference_span, ("difference_low", "difference_high")))
        return any(bool((shown[low] < span[0]).any() or (shown[high] > span[1]).any()) for span, (low, high) in pairs)

    def _fine(self) -> FloatArray:
        left_out = self.members["diverged"] | self.members["arm"].isin(self.beyond)
        return self.members.loc[~left_out, "test_error"].to_numpy(np.float64)

    def _steady(self, *columns: str) -> list[FloatArray]:
        steady = self.arms[(self.arms["n_diverged"] == 0) & ~self.arms["arm"].isin(self.beyond)]
        return [steady[column].to_numpy(np.float64) for column in columns]

    @property
    def records(self) -> list[dict[str, Any]]:
        """The arms one by one."""
        return [{str(name): value for name, value in row.items()} for row in self.arms.to_dict("records")]


def _span(points: FloatArray, ends: FloatArray, least: float = 1e-3) -> tuple[float, float]:
    """Axis limits that hold all points, and the ends of intervals as far as they lie within the points' range of them.

    least: a range that the points are taken to have where they lie closer.
    """
    points, ends = points[np.isfinite(points)], ends[np.isfinite(ends)]
    if not points.size:
        return 0.0, 1.0
    width = max(float(np.ptp(points)), least)
    shown = np.concatenate([points, np.clip(ends, points.min() - width, points.max() + width)])
    return float(shown.min()) - 0.05 * width, float(shown.max()) + 0.05 * width


class Scatter(NamedTuple):
    """Two quantities of confirmed members. members: arm, x, y, tip; means, of arms over members: arm, x, y; labels of the axes."""

    title: str
    members: pd.DataFrame
    means: pd.DataFrame
    x_label: str
    y_label: str
    log_y: bool


def scatter(results: Run, value: str, other: str) -> Scatter | None:
    """Sharpness against generalization_gap (points) or train_loss (log axis); None where no confirmed member has both."""
    confirmed = results.confirmed
    if value not in confirmed or other not in confirmed:
        return None
    loss = other == "train_loss"
    scale, what, label = (
        (1.0, "train loss", "train loss, nats per example")
        if loss
        else (100.0, "the generalization gap", "generalization gap, points (test - train error)")
    )
    table = pd.DataFrame({"arm": confirmed["arm"], "x": confirmed[value], "y": scale * confirmed[other]}).dropna()
    table = table[(table["x"] > 0) & ((table["y"] > 0) if loss else True)]
    table = table.assign(tip=member_tips(confirmed.loc[table.index], results.asked))
    if table.empty:
        return None
    means = table.assign(x=np.log(table["x"]), y=np.log(table["y"]) if loss else table["y"])
    means = means.groupby("arm", as_index=False)[["x", "y"]].mean()
    means = means.assign(x=np.exp(means["x"]), y=np.exp(means["y"]) if loss else means["y"])
    return Scatter(f"{value} and {what}", table.reset_index(drop=True), means, value, label, loss)


class Curves(NamedTuple):
    """panels: name -> label. lines: arm, name, epoch, mean, low, high (range over members), n. log: on a log axis."""

    title: str
    panels: dict[str, str]
    lines: pd.DataFrame
    log: tuple[str, ...]
    note: str


def history_curves(results: Run) -> Curves | None:
    """What was recorded over training, mean and range over each arm's confirmed members; None without history."""
    history = results.history
    names = [name for name in HISTORY_NAMES if (history["name"] == name).any()]
    # The loss on the clean train set, where it was looked at, says all that the running one does.
    names = [name for name in names if name != "running_train_loss" or "train_loss" not in names][:MAX_PANELS]
    arms = results.confirmed.drop_duplicates("trial_id").set_index("trial_id")["arm"]
    keys = pd.MultiIndex.from_frame(results.confirmed[["trial_id", "seed"]])
    mine = pd.MultiIndex.from_frame(history[["trial_id", "seed"]]).isin(keys) & history["name"].isin(names).to_numpy()
    rows = history[mine]
    rows = rows.assign(arm=rows["trial_id"].map(arms), value=rows["value"].where(np.isfinite(rows["value"])))
    if rows.empty:
        return None
    grouped = rows.groupby(["arm", "name", "epoch"], as_index=False)["value"]
    lines = pd.DataFrame(grouped.agg(mean="mean", low="min", high="max", n="count"))
    percent = lines["name"].isin(IN_PERCENT)
    for column in ("mean", "low", "high"):
        lines[column] = lines[column].where(~percent, 100 * lines[column])
    positive = lines.groupby("name")["mean"].min() > 0
    log = tuple(name for name in names if positive[name])
    note = "Lines: means. Bands: smallest to largest over members." + reach(lines, "epoch")[1]
    titles = {name: HISTORY_NAMES[name] for name in names}
    return Curves("Training of the confirmed members", titles, within(lines, "epoch"), log, note)


class SearchCurves(NamedTuple):
    """lines: arm, k, value (of the best of k), converged. label: of the value. log: whether it is on a log axis."""

    title: str
    lines: pd.DataFrame
    label: str
    note: str
    log: bool = False
