"""Every arm against the reference: these recipes, and the whole procedure that found them; what is claimed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.asked import OUTSIDE_ROLES, Asked
from analysis.blocks import arrays
from analysis.test_sets import TestSets
from tune_lb.inference.effects import ALPHA, NAN, Effect, differences, holm, paired_t, quantile
from tune_lb.inference.looks import looks, obrien_fleming
from tune_lb.inference.procedure import Answer, Confirmed, answers
from tune_lb.inference.selection_variance import FREEDOM

TINY = float(np.nextafter(0.0, 1.0))


@dataclass(frozen=True)
class Comparison:
    """What the tables compare by.

    confirmed: the arms' members. errors: arm -> (S, m) test errors. variances: arm -> V. on_these: arm -> answer against the
    reference on the test examples of this run. on_new: the same with the sampling error of the examples added.
    """

    asked: Asked
    confirmed: pd.DataFrame
    errors: Mapping[str, FloatArray]
    variances: Mapping[str, float]
    test_sets: TestSets
    on_these: Mapping[str, Answer]
    on_new: Mapping[str, Answer]

    @cached_property
    def train_errors(self) -> dict[str, FloatArray]:
        """Arm -> (S, m) train errors."""
        return arrays(self.confirmed, "train_error")

    @cached_property
    def train_losses(self) -> dict[str, FloatArray]:
        """Arm -> (S, m) train losses."""
        return arrays(self.confirmed, "train_loss")

    @property
    def family(self) -> list[str]:
        """The arms of which something can be claimed, among those that are confirmed."""
        return [name for name in self.on_these if self.asked.arm(name).role not in OUTSIDE_ROLES]

    def variance(self, *names: str) -> float:
        """Sum of V over arms."""
        return float(sum(self.variances.get(name, math.nan) for name in names))

    def between(self, first: str | None, second: str | None, *, procedure: bool = True) -> Effect:
        """First minus second, by itself: of the whole procedure, or of these recipes; unknown where one is not confirmed."""
        if first not in self.errors or second not in self.errors:
            return Effect(NAN, NAN, NAN, NAN, 0)
        extra = self.variance(str(first), str(second)) if procedure else 0.0
        return paired_t(differences(self.errors[str(first)], self.errors[str(second)]), extra, extra_freedom=FREEDOM)


def compare(confirmed: pd.DataFrame, asked: Asked, variances: Mapping[str, float], test_sets: TestSets) -> Comparison:
    """Every arm against the reference, once on these test examples and once for new ones."""
    errors = arrays(confirmed, "test_error")
    reference = str(asked.reference)
    outside = {arm.name for arm in asked.arms if arm.role in OUTSIDE_ROLES and arm.role != "placebo"}
    placebos = {arm.name for arm in asked.arms if arm.role == "placebo"}
    found: list[dict[str, Answer]] = [{}, {}]
    if reference in errors:
        arms = {
            name: Confirmed(errors[name], variances.get(name, math.nan), test_sets.variance(name, reference))
            for name in asked.order(list(errors))
            if name != reference
        }
        of_reference = Confirmed(errors[reference], variances.get(reference, math.nan))
        these = {name: dataclasses.replace(arm, examples=0.0) for name, arm in arms.items()}
        found = [answers(of_reference, of, outside=outside, placebos=placebos) for of in (these, arms)]
        if asked.design is not None and asked.design.early:
            found = [at_looks(of, asked.design.confirm_blocks, placebos) for of in found]
    if placebos and not placebos <= set(errors):
        found = [{name: _waiting(answer) for name, answer in of.items()} for of in found]
    return Comparison(asked, confirmed, errors, variances, test_sets, *found)


def at_looks(found: Mapping[str, Answer], max_blocks: int, placebos: Collection[str]) -> dict[str, Answer]:
    """Answers of arms that could stop early: p-values and intervals at the level of the look after which each stopped.

    An arm is told from the reference where p is below the level of O'Brien and Fleming (1979) at its number of blocks, by Holm over
    the family; the interval is at that level, and ends at 0, open, where Holm rejects what Bonferroni alone would not.
    """
    at = looks(max_blocks)
    levels = dict(zip(at, map(float, obrien_fleming(at)), strict=True))
    family = [name for name, answer in found.items() if math.isfinite(answer.p_holm)]
    own = {name: levels[next((look for look in at if look >= found[name].blocks), at[-1])] for name in family}
    scaled = np.array([min(1.0, found[name].procedure.p * ALPHA / own[name]) for name in family])
    floor = max((abs(found[name].recipes.estimate) for name in placebos if name in found), default=0.0)
    result = dict(found)
    for name, p in zip(family, holm(scaled), strict=True):
        answer, size = found[name], len(family)
        effect = answer.procedure
        # an interval that ends at 0 has its other end where it was
        half = max(effect.high - effect.estimate, effect.estimate - effect.low)
        half *= quantile(effect.freedom, size, own[name]) / quantile(effect.freedom, size)
        # as in paired_t: never shorter than that of the recipes, which at a smaller level can be the wider one
        recipes = answer.recipes
        half = max(half, quantile(recipes.freedom, size, own[name]) / quantile(recipes.freedom) * recipes.half_width)
        low, high = effect.estimate - half, effect.estimate + half
        if p < ALPHA and low <= 0 <= high:
            low, high = (low, -TINY) if effect.estimate < 0 else (TINY, high)
        told, above = bool(p < ALPHA), abs(effect.estimate) > floor
        reason = "" if told and above else "not above the placebo" if told else "not told from 0"
        changed = effect._replace(low=low, high=high)
        result[name] = dataclasses.replace(answer, procedure=changed, p_holm=float(p), claim=not reason, reason=reason)
    return result


def placebos(compared: Comparison) -> list[str]:
    """The confirmed placebos."""
    return [name for name in compared.on_these if compared.asked.arm(name).role == "placebo"]


def _waiting(answer: Answer) -> Answer:
    """No claim without the noise floor."""
    return (
        dataclasses.replace(answer, claim=False, reason="the placebo is not confirmed yet") if answer.claim else answer
    )
