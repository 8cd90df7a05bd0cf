"""Claims: Holm's correction over the arms that are tested, the noise floor, and why nothing is claimed."""

from __future__ import annotations

import numpy as np
import pandas as pd

from analysis.asked import UNTESTED_ROLES, Asked
from analysis.old_design.comparisons import ALPHA
from tune_lb.inference.effects import holm

NAN = float("nan")


def with_claims(table: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """Return the arms with p_holm, the placebo's noise floor, and what may be claimed (docs/inference_old_design.md, section 4)."""
    tested = ~table["role"].isin(UNTESTED_ROLES)
    p_holm = np.full(len(table), NAN)
    p_holm[tested] = holm(table.loc[tested, "p"].to_numpy(np.float64))
    placebo = table.loc[table["arm"] == asked.placebo, "difference"].abs()
    floor = float(placebo.iloc[0]) if len(placebo) else NAN
    reasons = [
        _claim_reason(asked, floor, tests, adjusted, difference)
        for tests, adjusted, difference in zip(tested, p_holm, table["difference"], strict=True)
    ]
    claims = [reason == "" if tests else None for tests, reason in zip(tested, reasons, strict=True)]
    flags = {name: pd.array(table[name].tolist(), dtype="boolean") for name in ("under_trained", "search_converged")}
    table = table.assign(**flags)
    return table.assign(p_holm=p_holm, noise_floor=floor, claim=pd.array(claims, dtype="boolean"), claim_reason=reasons)


def _claim_reason(asked: Asked, floor: float, tested: bool, p_holm: float, difference: float) -> str:
    if not tested:
        return "a reference, not tested"
    if not np.isfinite(difference):
        return "not confirmed yet"
    if not asked.searches_resampled:
        return "the noise of the search is not known"
    if not np.isfinite(p_holm):
        return "fewer than 2 confirm seeds in a split"
    if not p_holm < ALPHA:
        return f"not told from the reference (Holm p = {p_holm:.2g})"
    if asked.placebo is not None and not np.isfinite(floor):
        return "the noise floor is not known: the placebo is not confirmed yet"
    if np.isfinite(floor) and abs(difference) <= floor:
        return "below the noise floor (the placebo's difference)"
    return ""
