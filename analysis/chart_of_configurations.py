"""What the page draws of the configurations that were tried: a line each over the dimensions of its arm, and slices with a fit."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.asked import AskedArm
from analysis.decisions import unit_points
from analysis.document import Chart
from analysis.eta_over_b_fit import leave_one_out_r2
from analysis.notation import counted, known, plain
from analysis.run import Run
from tune_lb.inference.selection_variance import RIDGE

LOSSES = {
    "search_validation_loss": "validation loss",
    "validation_loss": "validation loss",
    "validation_error": "validation error",
}
STEPS = 33
MIN_POINTS = 4
"""Points that an arm has to have tried to be shown."""
CAPTION = (
    "Configurations that were tried: a line each, blue where the validation loss of its search member is low, thick where it was a "
    "candidate, orange where it was selected. Drag along an axis to see some of them alone. Below: the loss along each dimension; "
    "the curve is a quadratic fitted to all points, at the selected values of the other dimensions."
)


def configurations_chart(results: Run, table: pd.DataFrame) -> list[Chart]:
    """The chart of the arms that tried at least MIN_POINTS configurations; none where no arm did. table: configurations."""
    value = next((name for name in LOSSES if name in table and table[name].notna().any()), None)
    arms = []
    for arm in results.asked.arms:
        if value is not None and arm.dimensions:
            arms += _arm(arm, table[table["arm"] == arm.name], value)
    if not arms:
        return []
    # most is to be seen where most was searched, and the reference is not the least of them
    first = max(range(len(arms)), key=lambda i: len(arms[i]["axes"]))
    return [Chart("configurations", CAPTION, {"arms": arms, "first": first})]


def _arm(arm: AskedArm, own: pd.DataFrame, value: str) -> list[dict[str, Any]]:
    own = own[np.isfinite(own[value].astype(float))]
    names = [name for name in arm.dimensions or {} if name in own and own[name].nunique(dropna=False) > 1]
    if len(own) < MIN_POINTS or not names:
        return []
    losses = own[value].to_numpy(np.float64)
    low, high = float(losses.min()), float(losses.max())
    selected = own["is_selected"].to_numpy(bool) if "is_selected" in own else np.zeros(len(own), dtype=bool)
    candidate = own["candidate"].notna().to_numpy() if "candidate" in own else selected
    rows = [
        {
            "values": [plain(row[name]) for name in names],
            "loss": loss,
            "selected": bool(chosen),
            "candidate": bool(stood),
        }
        for row, loss, chosen, stood in zip(own.to_dict("records"), losses.tolist(), selected, candidate, strict=True)
    ]
    domains = {name: (arm.dimensions or {})[name] for name in names}
    fits, r2 = _fits(
        unit_points(own, _only(arm, domains)), losses, int(selected.argmax() if selected.any() else losses.argmin())
    )
    # along a dimension that the selected configuration does not have, the fit would be of others
    chosen = rows[int(selected.argmax() if selected.any() else losses.argmin())]["values"]
    fits = [fit if value is not None else [] for fit, value in zip(fits, chosen, strict=True)]
    # a fit may promise less than any point reached: as far as it is half of it, that is shown
    lowest = min((value for line in fits for value in line), default=low)
    low = max(lowest, low - 0.5 * abs(low)) if lowest < low else low
    said = counted(len(own), "configuration") + (f"; leave-one-out R2 of the fit {r2:.2f}" if known(r2) else "")
    loss = {"name": LOSSES[value], "low": low, "high": high, "log": low > 0 and high > 3 * low}
    axes = [_axis(name, domain) for name, domain in domains.items()]
    return [{"arm": arm.name, "axes": axes, "loss": loss, "rows": rows, "fits": fits, "said": said}]


def _only(arm: AskedArm, domains: Mapping[str, Mapping[str, Any]]) -> AskedArm:
    return AskedArm(arm.name, dimensions=domains)


def _axis(name: str, domain: Mapping[str, Any]) -> dict[str, Any]:
    if domain.get("values") is not None:
        return {"name": name, "values": [str(plain(choice)) for choice in domain["values"]]}
    return {"name": name, "low": float(domain["low"]), "high": float(domain["high"]), "log": bool(domain.get("log"))}


def _fits(units: FloatArray, losses: FloatArray, center: int) -> tuple[list[list[float]], float]:
    """Of every dimension the fitted loss at STEPS places, and R2 left out one by one; none where points are too few.

    Ridge least squares of log loss (of the loss, where some are 0) on 1, z, z^2 and products, z = 2 u - 1, penalty RIDGE / 10.
    """
    logs = bool((losses > 0).all())
    values, num = np.log(losses) if logs else losses, units.shape[1]
    terms = 1 + num + num * (num + 1) // 2
    if len(values) < min(terms, 3 * num) + 1 or not np.ptp(values) > 0:
        return [[] for _ in range(num)], math.nan
    design = _design(units)
    penalty = np.diag([0.0] + [RIDGE / 10] * (terms - 1))
    weights = np.linalg.solve(design.T @ design + penalty, design.T @ values)
    fits = []
    for axis in range(num):
        line = np.repeat(units[center][None], STEPS, axis=0)
        line[:, axis] = np.linspace(0, 1, STEPS)
        fitted = _design(line) @ weights
        fits.append([float(f"{v:.5g}") for v in (np.exp(fitted) if logs else fitted)])
    return fits, leave_one_out_r2(2 * units - 1, values) if len(values) > 2 * terms else math.nan


def _design(units: FloatArray) -> FloatArray:
    z = 2 * units - 1
    products = [z[:, i] * z[:, j] for i in range(z.shape[1]) for j in range(i, z.shape[1])]
    return np.column_stack([np.ones(len(z)), z, *products])
