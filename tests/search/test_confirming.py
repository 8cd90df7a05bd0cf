"""Confirmed until it is known: looks, arms that stop, and the reference that goes on as long as any arm does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from tune_lb.search.confirming import Confirming, blocks_wanted
from tune_lb.space.until import Until

RNG = np.random.default_rng(3)
NOISE = RNG.normal(size=(60, 2))
REFERENCE = Confirming(np.full((60, 2), 0.05), 0.0)


def arm(spread, *, blocks=60, mean=0.05, selection=0.0):
    """Return an arm of which the mean of each block scatters by spread / sqrt 2 about the reference's."""
    return Confirming(mean + spread * NOISE[:blocks], selection)


def half_width(errors, number, size, extra=0.0):
    """The procedure's interval, from SciPy: differences to a reference that is constant."""
    means = (errors[:number] - 0.05).mean(1)
    return stats.t.ppf(1 - 0.025 / size, number - 1) * math.sqrt(means.var(ddof=1) / number + extra)


def test_an_arm_stops_at_the_first_look_with_the_width_and_the_reference_with_the_last_arm():
    until = Until(half_width=0.2, max_blocks=60)
    arms = {"large": REFERENCE, "quiet": arm(0.001), "loud": arm(0.0062), "louder": arm(0.05)}
    found = blocks_wanted(until, "large", arms, family=("quiet", "loud", "louder"))
    looks = [10, 14, 18, 22, 26, 30, 34, 38, 42, 46, 50, 54, 58, 60]
    expected = next(n for n in looks if half_width(arms["loud"].errors, n, 3) <= 0.002)
    assert 14 <= expected <= 42, "else this shows nothing"
    assert found == {"quiet": 10, "loud": expected, "louder": 60, "large": 60}
    without = blocks_wanted(until, "large", {k: a for k, a in arms.items() if k != "louder"}, ("quiet", "loud"))
    assert without["large"] == without["loud"]


@pytest.mark.parametrize("there", [0, 9, 10, 13, 14, 25])
def test_the_next_look_is_wanted_when_the_one_before_is_there(there):
    arms = {"large": REFERENCE, "loud": arm(0.05, blocks=there)}
    expected = next(n for n in (10, 14, 18, 22, 26) if n > there)
    assert blocks_wanted(Until(), "large", arms, ("loud",)) == {"large": expected, "loud": expected}


def test_what_is_wanted_never_falls_while_blocks_come_in():
    found = []
    for there in range(61):
        arms = {"large": REFERENCE, "loud": arm(0.0062, blocks=there), "other": arm(0.002, blocks=there // 2)}
        found.append(blocks_wanted(Until(), "large", arms, ("loud", "other")))
    for name in ("large", "loud", "other"):
        numbers = [entry[name] for entry in found]
        assert numbers == sorted(numbers)
        assert numbers[-1] < 60


def test_a_width_that_no_block_reaches_is_not_waited_for():
    # t(inf, .975) sqrt(2 * 0.0009^2) = 0.25 points, above the 0.2 that are wanted
    arms = {"large": Confirming(REFERENCE.errors, 0.0009**2), "a": arm(0.01, selection=0.0009**2)}
    assert blocks_wanted(Until(), "large", arms, ("a",))["a"] == 10
    assert blocks_wanted(Until(half_width=0.26, max_blocks=30), "large", arms, ("a",))["a"] == 30


def test_nothing_is_decided_before_the_variance_of_every_selection_is_known():
    arms = {"large": REFERENCE, "quiet": arm(0.0001), "searched": None}
    assert set(blocks_wanted(Until(), "large", arms, ("quiet", "searched")).values()) == {10}


def test_early_an_arm_stops_at_the_levels_of_obrien_and_fleming_over_the_family():
    until = Until(half_width=0.01)
    far = {"large": REFERENCE, "far": arm(0.01, mean=0.045)}
    found = blocks_wanted(dataclasses.replace(until, early=True), "large", far, ("far",))["far"]
    assert 14 < found < 60
    means = (far["far"].errors[:found] - 0.05).mean(1)
    # O'Brien and Fleming with many looks are about a Brownian motion's bound at the end, 2.1 to 2.25 sqrt(60 / blocks)
    bounds = 2 * stats.norm.sf(np.array([2.25, 2.05]) * math.sqrt(60 / found))
    assert stats.ttest_1samp(means, 0.0).pvalue < bounds[1]
    before = (far["far"].errors[: found - 4] - 0.05).mean(1)
    assert stats.ttest_1samp(before, 0.0).pvalue > 2 * stats.norm.sf(2.25 * math.sqrt(60 / (found - 4)))
    assert blocks_wanted(until, "large", far, ("far",))["far"] == 60
    null = {"large": REFERENCE, "null": arm(0.01)}
    assert blocks_wanted(dataclasses.replace(until, early=True), "large", null, ("null",))["null"] == 60
    many = [f"a{i}" for i in range(200)]
    more = far | dict.fromkeys(many, arm(0.0001))
    assert blocks_wanted(dataclasses.replace(until, early=True), "large", more, ("far", *many))["far"] > found, (
        "it is one of many"
    )


def test_members_that_failed_are_left_out_of_their_pairs():
    errors = 0.05 + 0.0062 * NOISE
    errors[3, 1] = math.nan
    errors[5] = math.nan
    found = blocks_wanted(Until(), "large", {"large": REFERENCE, "a": Confirming(errors, 0.0)}, ("a",))["a"]
    means = np.nanmean(np.delete(errors[:found], 5, axis=0) - 0.05, axis=1)
    assert stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / math.sqrt(len(means)) <= 0.002


@pytest.mark.parametrize(
    ("until", "problem"),
    [
        (Until(half_width=0.0), "half_width = 0.0: must be above 0"),
        (Until(max_blocks=1), "max_blocks = 1: must be at least 2"),
        (Until(early=1), "early = 1: must be True or False, not 1"),
    ],
)
def test_bad_input_is_one_line(until, problem):
    (line,) = until.problems()
    assert line.endswith(problem)
