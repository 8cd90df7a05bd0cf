"""The drop of the large batch, and the shares of it that an arm, or tuning alone, takes away."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from analysis.arrays import FloatArray
from analysis.blocks import common_differences
from analysis.comparison import Comparison
from analysis.notation import points, with_interval
from tune_lb.inference.effects import NAN, Effect, fieller

MIN_SAMPLING_ERRORS = 2.0
NO_DROP = "no drop to close"


class GapClosed(NamedTuple):
    """Share of a drop that is closed, with Fieller's interval; or why there is none."""

    effect: Effect
    reason: str

    @property
    def is_known(self) -> bool:
        """Whether there is a share."""
        return math.isfinite(self.effect.estimate)


def _none(reason: str) -> GapClosed:
    return GapClosed(Effect(NAN, NAN, NAN, NAN, 0), reason)


def drop_reason(compared: Comparison) -> str:
    """Why no share of the reference's drop can be given (docs/inference.md, section 6), "" where it can."""
    asked = compared.asked
    drop = compared.between(asked.reference, asked.baseline)
    if not math.isfinite(drop.estimate):
        if asked.baseline is None or asked.reference is None:
            return f"{NO_DROP}: the space has no {'baseline' if asked.baseline is None else 'reference'}"
        return f"no drop known: {asked.baseline} or {asked.reference} has no confirmed members"
    if not math.isfinite(drop.low):
        return "the interval of the drop is not known"
    if not drop.low > 0:
        return f"{NO_DROP} ({with_interval(points(drop.estimate), drop.low, drop.high)})"
    error = sampling_error(compared)
    if not math.isfinite(error):
        return "the number of test examples is not known, so neither is the drop's sampling error"
    if drop.estimate < MIN_SAMPLING_ERRORS * error:
        return f"{NO_DROP}: it is {drop.estimate / error:.1f} standard errors of the test set"
    return ""


def sampling_error(compared: Comparison) -> float:
    """Standard error of the reference's drop from drawing the test examples; nan where nothing says it.

    From the predictions; without them sqrt((p (1 - p) + q (1 - q)) / N), which is more, for the errors of two networks on the same
    examples overlap. N: test examples; of cuts, at most those of the whole data.
    """
    asked = compared.asked
    variance = compared.test_sets.variance(asked.reference, asked.baseline)
    if math.isfinite(variance):
        return math.sqrt(variance)
    if asked.error is not None or asked.num_test is None:
        return NAN
    rates = [float(np.nanmean(compared.errors[str(name)])) for name in (asked.reference, asked.baseline)]
    whole = sum(part or 0 for part in (asked.num_train, asked.num_validation, asked.num_test))
    num_blocks = len(compared.errors[str(asked.reference)])
    size = asked.num_test if compared.test_sets.is_fixed else min(whole, num_blocks * asked.num_test)
    return math.sqrt(sum(rate * (1 - rate) for rate in rates) / size)


def gap_closed(compared: Comparison, arm: str, reason: str) -> GapClosed:
    """(reference - arm) / (reference - baseline): Fieller's interval of the whole procedure on paired blocks."""
    asked = compared.asked
    if reason:
        return _none(reason)
    if arm in (asked.baseline, asked.reference):
        # by definition: no interval
        return GapClosed(Effect(1.0 if arm == asked.baseline else 0.0, NAN, NAN, NAN, 0), "")
    return _share(
        compared, str(asked.reference), arm, str(asked.baseline), "the drop is too uncertain for a share of it"
    )


def tuning_closed(compared: Comparison) -> GapClosed:
    """What tuning alone closes: (copied - reference) / (copied - baseline).

    Of the excess error of a large batch at the baseline's own rate, the share that goes when the rate is tuned.
    """
    asked = compared.asked
    copied = asked.named("copied")
    if copied is None or asked.reference is None or asked.baseline is None:
        return _none("the space has no arm with the baseline's rate copied")
    reason = "copying the baseline's rate costs nothing that can be told from zero"
    excess = compared.between(copied, asked.baseline)
    if math.isfinite(excess.low) and not excess.low > 0:
        return _none(reason)
    return _share(compared, copied, asked.reference, asked.baseline, reason)


def _share(compared: Comparison, top: str, arm: str, bottom: str, unbounded: str) -> GapClosed:
    """(top - arm) / (top - bottom). What does not average out over blocks is the selection of each of the three."""
    if any(name not in compared.errors for name in (top, arm, bottom)):
        return _none("not confirmed yet")
    of = compared.errors
    numerators, denominators = common_differences((of[top], of[arm]), (of[top], of[bottom]))
    v = {name: compared.variance(name) for name in (top, arm, bottom)}
    extra: FloatArray = np.array([[v[top] + v[arm], v[top]], [v[top], v[top] + v[bottom]]])
    found = fieller(numerators, denominators, extra)
    return GapClosed(found, "") if math.isfinite(found.low) else _none(unbounded)
