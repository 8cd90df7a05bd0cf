"""Every arm against the reference: these recipes, and the whole procedure that found them; what is claimed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from analysis.arrays import FloatArray
from analysis.asked import OUTSIDE_ROLES, Asked
from analysis.blocks import arrays
from analysis.test_sets import TestSets
from tune_lb.inference.effects import NAN, Effect, differences, paired_t
from tune_lb.inference.procedure import Answer, Confirmed, answers
from tune_lb.inference.selection_variance import FREEDOM


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
    if placebos and not placebos <= set(errors):
        found = [{name: _waiting(answer) for name, answer in of.items()} for of in found]
    return Comparison(asked, confirmed, errors, variances, test_sets, *found)


def placebos(compared: Comparison) -> list[str]:
    """The confirmed placebos."""
    return [name for name in compared.on_these if compared.asked.arm(name).role == "placebo"]


def _waiting(answer: Answer) -> Answer:
    """No claim without the noise floor."""
    return (
        dataclasses.replace(answer, claim=False, reason="the placebo is not confirmed yet") if answer.claim else answer
    )
