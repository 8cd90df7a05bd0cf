"""What a run says of each arm: of its recipe, and of the whole procedure that found it; and what is claimed."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np

from tune_lb.inference.effects import ALPHA, Effect, FloatArray, differences, holm, paired_t
from tune_lb.inference.selection_variance import FREEDOM


@dataclass(frozen=True)
class Confirmed:
    """What the confirm stage has of one arm."""

    errors: FloatArray
    """(S, m) test errors, block and seed; nan: missing. A diverged member has the error of chance."""
    selection: float = 0.0
    """V_a, the variance of its selection; nan where unknown: then nothing is claimed of it."""
    examples: float = 0.0
    """Variance of its difference over test examples, for claims about new data; 0: about these examples."""


@dataclass(frozen=True)
class Answer:
    """What is known of one arm against the reference. Differences of test error; negative is better."""

    recipes: Effect
    """Of these recipes: paired Student t over blocks, by itself (not simultaneous)."""
    procedure: Effect
    """Of the whole procedure: interval simultaneous over the family (of its own outside of it); p not adjusted."""
    p_holm: float
    """Holm's p over the family; nan outside of the family."""
    claim: bool
    reason: str
    """Why nothing is claimed; empty for a claim."""
    blocks: int


def answers(
    reference: Confirmed,
    arms: Mapping[str, Confirmed],
    *,
    outside: Collection[str] = (),
    placebos: Collection[str] = (),
) -> dict[str, Answer]:
    """Return what is known of every arm against the reference, over the blocks that both have.

    recipes: mean D +- t(.975, S - 1) s_D / sqrt(S). procedure: mean D +- t(1 - .025 / K, f) sqrt(s_D^2 / S + V_a + V_ref + the
    variance over examples), f Satterthwaite's (`paired_t`), the last without an error of its own. The family is all arms but
    those `outside` (references: copied, scaled, trained longer) and the placebos, K of them; Holm on the procedure's p. claim:
    Holm's p < .05 and |mean D| above the largest |placebo|. Interval and p never disagree: where Holm rejects what Bonferroni
    alone would not, the interval ends at 0, open (compatible with Holm's procedure: Guilbaud, 2008; here two-sided), that is at
    the number next to 0.
    """
    family = [name for name in arms if name not in outside and name not in placebos]
    found: dict[str, tuple[Effect, Effect, int]] = {}
    for name, arm in arms.items():
        d = differences(arm.errors, reference.errors)
        size = max(1, len(family)) if name in family else 1
        selection = arm.selection + reference.selection
        extra = selection + arm.examples
        # thousands of examples tell their variance well: only that of the selections has few degrees of freedom
        freedom = FREEDOM * (extra / selection) ** 2 if selection > 0 else math.inf
        procedure = paired_t(d, extra, size, freedom)
        found[name] = (paired_t(d), procedure, d.size)
    adjusted = dict(zip(family, holm(np.array([found[name][1].p for name in family])), strict=True))
    floor = max((abs(found[name][1].estimate) for name in placebos if name in found), default=0.0)
    result = {}
    for name, (recipes, procedure, blocks) in found.items():
        p = float(adjusted.get(name, math.nan))
        reason = "" if name in family else "a placebo" if name in placebos else "a reference"
        reason = reason or _why_not(procedure, p, floor, blocks, arms[name].selection + reference.selection)
        result[name] = Answer(recipes, _compatible(procedure, p), p, not reason, reason, blocks)
    return result


def _why_not(effect: Effect, p: float, floor: float, blocks: int, selection: float) -> str:
    if blocks < 2:
        return f"{blocks} blocks: a spread takes 2"
    if not math.isfinite(selection):
        return "the variance of its selection is not known"
    if not math.isfinite(p):
        return "no spread between blocks"
    if not p < ALPHA:
        return "not told from 0"
    return "" if abs(effect.estimate) > floor else "not above the placebo"


def _compatible(effect: Effect, p_holm: float) -> Effect:
    if not p_holm < ALPHA or effect.excludes_zero:
        return effect
    if effect.estimate < 0:
        return effect._replace(high=float(np.nextafter(0.0, -1.0)))
    return effect._replace(low=float(np.nextafter(0.0, 1.0)))
