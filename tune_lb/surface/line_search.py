"""The line search of More and Thuente, as MINPACK-2's dcsrch does it: what L-BFGS-B takes its steps by."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

SUFFICIENT_DECREASE = 1e-3
CURVATURE = 0.9
INTERVAL = 0.1
MAX_EVALUATIONS = 20
"""The constants of L-BFGS-B 3.0 (lnsrlb)."""


class Probe(NamedTuple):
    """A step along the line with the function's value and slope there."""

    step: float
    value: float
    slope: float

    def tilted(self, slope: float) -> Probe:
        """Return the same probe of the function minus slope * step."""
        return Probe(self.step, self.value - slope * self.step, self.slope - slope)


def more_thuente(
    line: Callable[[float], tuple[float, float]], value: float, slope: float, longest: float, max_evaluations: int
) -> float | None:
    """Return a step in (0, longest] with sufficient decrease and a small slope, tried from 1; None if there is none.

    At most 20 probes, or max_evaluations where that is fewer.

    line: step -> (value, slope); value, slope: those at 0, slope < 0. Accepts where f(a) <= f(0) + 1e-3 a f'(0) and
    |f'(a)| <= 0.9 |f'(0)|, and where bounds or rounding leave nothing better. The last step tried is the one returned.
    Source: More and Thuente, 1994, as in MINPACK-2 (dcsrch, dcstep).
    """
    tilt = SUFFICIENT_DECREASE * slope
    best = other = Probe(0.0, value, slope)
    bracketed, first_stage = False, True
    width, width_before = longest, 2 * longest
    step = min(1.0, longest)
    low, high = 0.0, 5 * step
    for _ in range(min(MAX_EVALUATIONS, max_evaluations)):
        if not math.isfinite(step):
            return None
        probe = Probe(step, *line(step))
        enough = probe.value <= value + step * tilt
        if first_stage and enough and probe.slope >= 0:
            first_stage = False
        stuck = bracketed and (step <= low or step >= high or high - low <= INTERVAL * high)
        at_end = step == longest and enough and probe.slope <= tilt
        at_start = step == 0 and (not enough or probe.slope >= tilt)
        if stuck or at_end or at_start or (enough and abs(probe.slope) <= CURVATURE * -slope):
            return step
        # Until a lower value with enough decrease is found, the interval is updated by f(a) - f(0) - tilt * a.
        tilted = tilt if first_stage and probe.value <= best.value and not enough else 0.0
        try:
            best, other, step, bracketed = _update(
                best.tilted(tilted), other.tilted(tilted), probe.tilted(tilted), bracketed, low, high
            )
        except ZeroDivisionError:
            return None
        best, other = best.tilted(-tilted), other.tilted(-tilted)
        if bracketed:
            if abs(other.step - best.step) >= 0.66 * width_before:
                step = best.step + 0.5 * (other.step - best.step)
            width_before, width = width, abs(other.step - best.step)
            low, high = min(best.step, other.step), max(best.step, other.step)
        else:
            low, high = step + 1.1 * (step - best.step), step + 4 * (step - best.step)
        step = min(max(step, 0.0), longest)
        if bracketed and (step <= low or step >= high or high - low <= INTERVAL * high):
            step = best.step
    return None


def _update(
    best: Probe, other: Probe, probe: Probe, bracketed: bool, low: float, high: float
) -> tuple[Probe, Probe, float, bool]:
    """Return the new (best, other) interval, the next step to try and whether a minimum is bracketed (dcstep)."""
    opposite = (probe.slope > 0 > best.slope) or (probe.slope < 0 < best.slope)
    forward = probe.step > best.step
    if probe.value > best.value:
        cubic = _cubic(best, probe, -1 if probe.step < best.step else 1)
        rise = (best.value - probe.value) / (probe.step - best.step)
        quadratic = best.step + best.slope / (rise + best.slope) / 2 * (probe.step - best.step)
        closer = abs(cubic - best.step) <= abs(quadratic - best.step)
        return best, probe, cubic if closer else cubic + (quadratic - cubic) / 2, True
    if opposite:
        cubic, secant = _cubic(probe, best, -1 if forward else 1), _secant(best, probe)
        return probe, best, cubic if abs(cubic - probe.step) > abs(secant - probe.step) else secant, True
    if abs(probe.slope) < abs(best.slope):
        cubic, secant = _cubic(probe, best, -1 if forward else 1, beyond=high if forward else low), _secant(best, probe)
        cubic_closer = abs(cubic - probe.step) < abs(secant - probe.step)
        if bracketed:
            step, limit = cubic if cubic_closer else secant, probe.step + 0.66 * (other.step - probe.step)
            return probe, other, min(limit, step) if forward else max(limit, step), True
        cubic_farther = abs(cubic - probe.step) > abs(secant - probe.step)
        return probe, other, min(max(cubic if cubic_farther else secant, low), high), False
    if bracketed:
        return probe, other, _cubic(probe, other, -1 if probe.step > other.step else 1), True
    return probe, other, high if forward else low, False


def _secant(a: Probe, b: Probe) -> float:
    return b.step + b.slope / (b.slope - a.slope) * (a.step - b.step)


def _cubic(a: Probe, b: Probe, sign: int, beyond: float | None = None) -> float:
    """Return the minimum of the cubic through both values and slopes; `beyond` where it has none ahead."""
    theta = 3 * (a.value - b.value) / (b.step - a.step) + a.slope + b.slope
    s = max(abs(theta), abs(a.slope), abs(b.slope))
    under = (theta / s) ** 2 - (a.slope / s) * (b.slope / s)
    gamma = sign * s * math.sqrt(max(0.0, under))
    ratio = (gamma - a.slope + theta) / ((gamma - a.slope) + gamma + b.slope)
    if beyond is not None and not (ratio < 0 and gamma != 0):
        return beyond
    return a.step + ratio * (b.step - a.step)
