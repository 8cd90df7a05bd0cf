import math

import numpy as np
import pytest
from scipy import stats

from tune_lb.inference.effects import holm
from tune_lb.inference.procedure import Confirmed, answers

RNG = np.random.default_rng(11)
REFERENCE = RNG.normal(0.06, 0.004, (12, 2))


def arm(effect, spread=0.002, **kwargs):
    return Confirmed(REFERENCE + effect + RNG.normal(0, spread, REFERENCE.shape), **kwargs)


def test_both_answers_by_hand():
    reference = Confirmed(REFERENCE, selection=1e-6)
    given = {"sam": arm(-0.003, selection=2e-6, examples=5e-7), "noise": arm(0.0), "longer": arm(-0.01)}
    found = answers(reference, given, outside=["longer"])
    d = (given["sam"].errors - REFERENCE).mean(axis=1)
    own, extra = d.var(ddof=1) / 12, 3.5e-6
    # of the added variance 3e-6 are of the two selections, with 10 degrees of freedom, 5e-7 of the examples
    error, freedom = math.sqrt(own + extra), (own + extra) ** 2 / (own**2 / 11 + 3e-6**2 / 10)
    assert found["sam"].recipes[:4] == pytest.approx(
        (d.mean(), *stats.ttest_1samp(d, 0).confidence_interval(), stats.ttest_1samp(d, 0).pvalue)
    )
    assert found["sam"].procedure.half_width == pytest.approx(stats.t.ppf(1 - 0.025 / 2, freedom) * error)
    p = 2 * stats.t.sf(abs(d.mean()) / error, freedom)
    assert found["sam"].procedure.p == pytest.approx(p)
    assert found["sam"].p_holm == pytest.approx(holm(np.array([p, found["noise"].procedure.p]))[0])
    assert found["longer"].reason == "a reference"
    assert math.isnan(found["longer"].p_holm)
    longer = (given["longer"].errors - REFERENCE).mean(axis=1)
    own = longer.var(ddof=1) / 12
    freedom = (own + 1e-6) ** 2 / (own**2 / 11 + 1e-12 / 10)
    assert found["longer"].procedure.half_width == pytest.approx(stats.t.ppf(0.975, freedom) * math.sqrt(own + 1e-6))


def test_a_claim_survives_holm_and_exceeds_the_placebo():
    given = {"good": arm(-0.02), "null": arm(0.0), "small": arm(-0.004)}
    plain = answers(Confirmed(REFERENCE), given)
    assert [plain[name].claim for name in given] == [True, False, True]
    assert plain["null"].reason == "not told from 0"
    held = answers(Confirmed(REFERENCE), given | {"placebo": arm(0.006)}, placebos=["placebo"])
    assert held["small"].reason == "not above the placebo"
    assert held["good"].claim
    assert held["placebo"].reason == "a placebo"
    assert held["small"].p_holm == plain["small"].p_holm


def test_interval_and_p_agree_in_every_family():
    """Where Holm rejects and Bonferroni would not, the interval ends at 0; it never loses its other end."""
    cut = 0
    for _ in range(300):
        effects = RNG.choice([0.0, 0.001, -0.0012, 0.004], 4)
        found = answers(Confirmed(REFERENCE), {str(i): arm(e) for i, e in enumerate(effects)})
        for answer in found.values():
            assert answer.procedure.excludes_zero == (answer.p_holm < 0.05) == answer.claim
            assert answer.procedure.low <= answer.procedure.estimate <= answer.procedure.high
            cut += 0 < abs(answer.procedure.low) < 1e-300 or 0 < abs(answer.procedure.high) < 1e-300
    assert cut > 0


EXACT = np.round(REFERENCE * 1024) / 1024
"""Errors whose differences are exact in floating point."""


@pytest.mark.parametrize(
    ("errors", "reason"),
    [
        (np.vstack([EXACT[:1] - 1 / 64, np.full((11, 2), math.nan)]), "1 blocks: a spread takes 2"),
        (np.full((12, 2), math.nan), "0 blocks: a spread takes 2"),
        (EXACT - 1 / 64, "no spread between blocks"),
        (EXACT, "not told from 0"),
    ],
    ids=["one block", "missing", "equal differences", "the same recipe"],
)
def test_degenerate_arms_are_not_claimed(errors, reason):
    found = answers(Confirmed(EXACT), {"arm": Confirmed(errors)})["arm"]
    assert (found.claim, found.reason) == (False, reason)


def test_an_unknown_selection_is_claimed_nothing_of():
    found = answers(Confirmed(REFERENCE), {"arm": arm(-0.02, selection=math.nan)})["arm"]
    assert found.reason == "the variance of its selection is not known"
    assert found.recipes.excludes_zero
    assert math.isnan(found.procedure.low)


def test_a_family_may_be_empty():
    assert answers(Confirmed(REFERENCE), {}) == {}
