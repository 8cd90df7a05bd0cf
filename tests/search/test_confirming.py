"""Confirmed until it is known: looks, arms that stop, and the reference that goes on as long as any arm does."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from scipy import stats

from analysis.decisions import unit_coordinate
from tests.search import test_planner as planner
from tune_lb.inference.decision import standing
from tune_lb.inference.selection_variance import Searched, selection_variance
from tune_lb.search.confirming import Confirming, blocks_wanted
from tune_lb.search.score import Score
from tune_lb.search.selection import coordinate, variance_of_selection
from tune_lb.settings.domain import over
from tune_lb.space.checks import space_problems
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
    # t(.975, 10) sqrt(2 * 0.0009^2) = 0.28 points, above the 0.2 that are wanted
    arms = {"large": Confirming(REFERENCE.errors, 0.0009**2), "a": arm(0.01, selection=0.0009**2)}
    assert blocks_wanted(Until(), "large", arms, ("a",))["a"] == 10
    assert blocks_wanted(Until(half_width=0.3, max_blocks=30), "large", arms, ("a",))["a"] == 30


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


# spread of the difference of one pair, by arm, in shares of test error
SPREAD = {"noisy": 0.0002, "sharp": 0.006}


def with_test_errors(arms_of):
    """Return scores as tests/search/test_planner.py has them, with test errors that scatter by arm."""

    def scored(configuration_id, key):
        spread = arms_of.get(key[0], 0.0)
        noise = np.random.default_rng([*map(ord, key[0]), key[1]]).normal()
        return planner.score(configuration_id, key)._replace(test_error=0.05 + spread * noise)

    return scored


def confirmed(of, **options):
    """Run a search to its end; members of an arm have its spread in the confirm stage."""
    known: dict[str, float] = {}
    search = planner.Search(of, planner.FACTS, **options)
    scored = with_test_errors(known)
    counts: dict[str, int] = {}
    while (job := search.take()) is not None:
        for member in job.members:
            if job.stage == "confirm":
                known[member.trial_id] = SPREAD.get(job.arm, 0.0)
                counts[job.arm] = counts.get(job.arm, 0) + 1
        search.observe({m.key: scored(m.configuration_id, m.key) for m in job.members})
    return search, counts


UNTIL = Until(half_width=0.2, max_blocks=34)


def test_a_search_confirms_until_its_differences_are_known():
    of = planner.compared(*planner.ARMS, confirm_blocks=UNTIL, candidates=1)
    search, counts = confirmed(of)
    assert search.finished
    blocks = {arm: number // 2 for arm, number in counts.items()}
    assert blocks["noisy"] == blocks["placebo"] == 10
    assert 10 < blocks["sharp"] <= 34
    assert blocks["large"] == blocks["sharp"], "the reference goes on as long as any arm does"
    progress = {arm.name: (arm.done, arm.total) for arm in search.progress()}
    assert all(done == total for done, total in progress.values())
    assert progress["sharp"][1] == 5 + 2 * blocks["sharp"]


def test_a_search_is_the_same_wherever_it_was_stopped():
    of = planner.compared(*planner.ARMS, confirm_blocks=UNTIL, candidates=1)
    search, _ = confirmed(of)
    whole = dict(search.scores)
    for share in (0.1, 0.5, 0.9):
        keys = list(whole)[: int(share * len(whole))]
        again = planner.Search(of, planner.FACTS)
        again.observe({key: whole[key] for key in keys})
        while (job := again.take()) is not None:
            assert all(m.key in whole for m in job.members)
            again.observe({m.key: whole[m.key] for m in job.members})
        assert again.finished
        assert again.scores == whole


def test_the_variance_of_selections_is_that_of_the_analysis():
    of = planner.compared(*planner.ARMS, confirm_blocks=UNTIL, decide_blocks=4)
    search, _ = confirmed(of)
    arm = search.arms["noisy"]
    kept = search.kept(arm)
    table = search.decide_scores(arm, kept)
    losses, softs = ([[getattr(s, name) for s in row] for row in table] for name in ("loss", "soft_error"))
    # no test error scatters in search and decide here, so the fit is flat and nothing moves
    assert search.variances["noisy"] == pytest.approx(0.0, abs=1e-12)
    domain = arm.dimensions["gradient_noise.alpha"]
    rng = np.random.default_rng(0)
    values = [{"gradient_noise.alpha": float(domain.at(u))} for u in rng.random(9)]
    points = np.array([(math.log10(v["gradient_noise.alpha"]) + 6) / 4 for v in values])
    test = rng.normal(0.05, 0.01, 9)
    searched = [(v, Score(0.5 + 0.1 * k, 0.1, 0.2, t)) for k, (v, t) in enumerate(zip(values, test, strict=True))]
    noisy = rng.normal(0.05, 0.01, (3, 4))
    table = [
        [Score(loss, 0.1, e, t) for loss, e, t in zip(*row, strict=True)]
        for row in zip(losses, softs, noisy, strict=True)
    ]
    found = variance_of_selection({"gradient_noise.alpha": domain}, searched, values[:3], table, "auto")
    expected = selection_variance(
        Searched(
            points=np.concatenate([points, np.repeat(points[:3], 4)])[:, None],
            block=np.array([-1] * 9 + [0, 1, 2, 3] * 3),
            candidate=np.array([0, 1, 2, *[-1] * 6, *np.repeat([0, 1, 2], 4)]),
            log_loss=np.log(np.concatenate([0.5 + 0.1 * np.arange(9), np.ravel(losses)])),
            soft_error=np.concatenate([np.full(9, 0.2), np.ravel(softs)]),
            test_error=np.concatenate([test, noisy.ravel()]),
        ),
        standing(np.array(losses), np.array(softs)),
    )
    assert expected > 0
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("domain", "value", "expected"),
    [
        (over(1e-6, 1e-2, log=True), 1e-3, 0.75),
        (over(1e-6, 1e-2, log=True), 0.0, 0.0),
        (over(2.0, 4.0), 3.5, 0.75),
        (over(2.0, 4.0), 9.0, 1.0),
        (over(2.0, 4.0), None, 0.5),
        (over(["a", "b", "c"]), "b", 0.5),
        (over([10, 20, 50]), 50, 1.0),
        (over([10, 20, 50]), None, 0.5),
        (over([10]), 10, 0.5),
    ],
)
def test_a_value_has_a_place_in_its_domain_as_in_the_analysis(domain, value, expected):
    assert coordinate(domain, value) == pytest.approx(expected)
    assert unit_coordinate(value, domain.as_json()) == pytest.approx(expected)


def test_an_arm_that_combines_others_is_confirmed_until_like_them():
    of = planner.compared(*planner.ARMS, planner.BOTH, confirm_blocks=UNTIL)
    search, counts = confirmed(of)
    assert search.finished
    assert counts["both"] >= 20
    assert math.isfinite(search.variances["both"])


def test_a_space_without_a_reference_cannot_be_confirmed_until():
    (line,) = space_problems(planner.compared(confirm_blocks=UNTIL, baseline=None, reference=None))
    assert line.startswith("space.confirm_blocks = Until(max_blocks=34)")
    assert "there is none" in line
    (line,) = space_problems(planner.compared(confirm_blocks=Until(half_width=-1.0)))
    assert line == "space.confirm_blocks.half_width = -1.0: must be above 0"
