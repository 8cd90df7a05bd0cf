"""Differences, their two intervals and the claims, against values computed apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray
from scipy import stats

from analysis.results import Results
from analysis.sentences import sentences
from tests.analysis.fabrication import ARMS, Arm, Procedure, fabricate
from tune_lb.inference.looks import looks, obrien_fleming


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(fabricate())


def row(results: Results, arm: str) -> pd.Series:
    found: pd.Series = results.arms.set_index("arm").loc[arm]
    return found


def by_block(results: Results, arm: str, column: str = "test_error") -> pd.Series:
    """Means over seeds of an arm's confirm members, by hand."""
    own = results.members.query(f"stage == 'confirm' and arm == '{arm}'")
    means: pd.Series = own.groupby("block")[column].mean()
    return means


def t_interval(d: NDArray[np.float64], extra: float = 0.0, alpha: float = 0.05) -> tuple[float, float]:
    own = d.var(ddof=1) / len(d)
    # with few blocks the interval of the recipes can be the wider one: the procedure's is then that
    half = max(
        stats.t.ppf(1 - alpha / 2, f) * np.sqrt(own + e) for f, e in ((freedom(d, extra), extra), (len(d) - 1, 0))
    )
    return d.mean() - half, d.mean() + half


def freedom(d: NDArray[np.float64], extra: float) -> float:
    """Satterthwaite's, with 10 for the variance of the selections."""
    own = d.var(ddof=1) / len(d)
    return float((own + extra) ** 2 / (own**2 / (len(d) - 1) + extra**2 / 10))


def test_these_recipes_have_students_t_interval_of_paired_blocks(results: Results) -> None:
    d = (by_block(results, "sam") - by_block(results, "large_batch")).to_numpy()
    found = row(results, "sam")
    assert (found["difference_recipe_low"], found["difference_recipe_high"]) == pytest.approx(t_interval(d))
    assert found["difference"] == pytest.approx(d.mean())
    assert found["p_recipe"] == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert (found["n"], found["num_blocks"], found["paired_blocks"]) == (20, 10, 10)


def test_the_procedure_adds_the_variance_of_both_selections_and_is_simultaneous(results: Results) -> None:
    d = (by_block(results, "sam") - by_block(results, "large_batch")).to_numpy()
    found = row(results, "sam")
    extra = found["selection_std"] ** 2 + row(results, "large_batch")["selection_std"] ** 2
    assert extra > 0
    # sam and null are the family
    expected = t_interval(d, extra, alpha=0.05 / 2)
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(expected)
    p = 2 * stats.t.sf(abs(d.mean()) / np.sqrt(d.var(ddof=1) / 10 + extra), freedom(d, extra))
    # far out in the tail more degrees of freedom count for more than a larger error: the recipes' p is then the larger one
    p = max(p, stats.ttest_1samp(d, 0).pvalue)
    assert found["p"] == pytest.approx(p)
    assert found["p_holm"] == pytest.approx(2 * p)


def test_no_variance_is_below_half_the_mean(results: Results) -> None:
    raw = np.array([decision.variance for decision in results.decisions.values()])
    searched = [row(results, arm)["selection_std"] ** 2 for arm in results.decisions]
    assert searched == pytest.approx(np.maximum(raw, raw.mean() / 2).tolist())
    baseline = row(results, "small_batch")["selection_std"]
    assert row(results, "large_batch_copied")["selection_std"] == pytest.approx(baseline)


def test_a_null_remedy_differs_by_exactly_zero_and_is_not_claimed(results: Results) -> None:
    found = row(results, "null")
    assert (found["difference"], found["difference_recipe_low"], found["difference_recipe_high"]) == (0, 0, 0)
    assert found["difference_low"] < 0 < found["difference_high"]
    assert not found["claim"]


def test_the_drop_and_its_parts_add_up(results: Results) -> None:
    found = row(results, "large_batch")
    d = (by_block(results, "large_batch") - by_block(results, "small_batch")).to_numpy()
    assert found["large_batch_drop"] == pytest.approx(d.mean())
    assert found["drop_train_error"] + found["drop_generalization_gap"] == pytest.approx(d.mean())
    extra = found["selection_std"] ** 2 + row(results, "small_batch")["selection_std"] ** 2
    assert (found["large_batch_drop_low"], found["large_batch_drop_high"]) == pytest.approx(t_interval(d, extra))


def test_the_share_of_the_drop_is_a_ratio_of_means_and_its_ends_solve_fiellers_equation() -> None:
    results = Results(fabricate(ARMS, Procedure(num_test=100_000, own_test_split=True)))
    small, large, sam = (by_block(results, arm).to_numpy() for arm in ("small_batch", "large_batch", "sam"))
    found = row(results, "sam")
    assert found["gap_closed"] == pytest.approx((large - sam).mean() / (large - small).mean())
    v = {arm: row(results, arm)["selection_std"] ** 2 for arm in ("small_batch", "large_batch", "sam")}
    for r in (found["gap_closed_low"], found["gap_closed_high"]):
        d = (large - sam) - r * (large - small)
        variance = d.var(ddof=1) / 10 + (1 - r) ** 2 * v["large_batch"] + v["sam"] + r**2 * v["small_batch"]
        assert abs(d.mean()) == pytest.approx(stats.t.ppf(0.975, 9) * np.sqrt(variance))


def test_members_that_are_missing_leave_their_pair_out() -> None:
    frames = fabricate()
    members = frames.members
    lost = (members["arm"] == "sam") & (members["seed"] == 2003)
    gone = (members["arm"] == "sam") & (members["block"] == 5) & (members["stage"] == "confirm")
    results = Results(replace(frames, members=members[~lost & ~gone]))
    pairs = []
    for block in range(10):
        seeds = [2000 + block + 100_000 * j for j in range(2)]
        kept = [s for s in seeds if s != 2003 and block != 5]
        if kept:
            rows = members[(members["stage"] == "confirm") & members["seed"].isin(kept)]
            of = rows.groupby("arm")["test_error"].mean()
            pairs.append(of["sam"] - of["large_batch"])
    found = row(results, "sam")
    assert found["difference"] == pytest.approx(np.mean(pairs))
    assert (found["difference_recipe_low"], found["difference_recipe_high"]) == pytest.approx(
        t_interval(np.array(pairs))
    )
    assert (found["n"], found["paired_blocks"]) == (17, 9)


def test_a_diverged_member_counts_at_chance_and_a_failed_one_nowhere() -> None:
    frames = fabricate()
    members = frames.members.copy()
    confirm = (members["arm"] == "sam") & (members["stage"] == "confirm")
    members.loc[confirm & (members["seed"] == 2000), ["status", "test_error"]] = "diverged", np.nan
    members.loc[confirm & (members["seed"] == 2001), "status"] = "failed"
    results = Results(replace(frames, members=members))
    found = row(results, "sam")
    assert (found["n"], found["n_diverged"], found["n_failed"]) == (19, 1, 1)
    other = members.loc[confirm & (members["seed"] == 102_000), "test_error"].iloc[0]
    blocks = results.comparison.errors["sam"]
    assert np.nanmean(blocks[0]) == pytest.approx((0.9 + other) / 2)
    said = sentences(results)
    assert "Members without a result: 1 failed; they count nowhere." in said
    assert "Diverged confirm members count at chance error: 1 of sam." in said


def test_a_diverged_candidate_is_not_decided_for() -> None:
    frames = fabricate()
    members = frames.members.copy()
    chosen = frames.space["selected"]["sam"]
    decide = (members["configuration_id"] == chosen) & (members["stage"] == "decide")
    members.loc[decide, ["status", "validation_loss", "validation_soft_error"]] = "diverged", np.nan, np.nan
    decision = Results(replace(frames, members=members)).decisions["sam"]
    assert decision.standing is not None
    assert np.isinf(decision.standing.loss[decision.candidates.index(chosen)])
    assert decision.candidates[decision.standing.choice] != chosen


def test_with_one_block_nothing_is_claimed_and_the_report_says_so() -> None:
    results = Results(fabricate(ARMS, Procedure(confirm_blocks=1)))
    found = row(results, "sam")
    assert np.isnan(found["difference_low"])
    assert not found["claim"]
    assert found["claim_reason"] == "one confirm block: an interval takes 2"
    assert any(line.startswith("One confirm block") for line in sentences(results))


def test_without_a_decide_stage_the_selection_is_not_known_and_nothing_is_claimed() -> None:
    results = Results(fabricate(ARMS, Procedure(candidates=1)))
    found = row(results, "sam")
    assert np.isfinite(found["difference_recipe_low"])
    assert np.isnan(found["difference_low"])
    assert found["claim_reason"] == "the variance of its selection is not known"
    assert any("no stage decided between candidates" in line for line in sentences(results))


def test_arms_that_search_nothing_are_their_own_procedure() -> None:
    frames = fabricate({"small": Arm(0.03, "baseline", 20), "large": Arm(0.05, "reference")}, Procedure(num_samples=1))
    space = {**frames.space, "arms": [{**arm, "dimensions": {}} for arm in frames.space["arms"]]}
    found = row(Results(replace(frames, space=space)), "small")
    assert found["selection_std"] == 0
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(
        (found["difference_recipe_low"], found["difference_recipe_high"])
    )


def test_nothing_is_claimed_before_the_placebo_is_confirmed() -> None:
    frames = fabricate()
    waiting = (frames.members["arm"] == "placebo") & (frames.members["stage"] == "confirm")
    found = row(Results(replace(frames, members=frames.members[~waiting])), "sam")
    assert not found["claim"]
    assert found["claim_reason"] == "the placebo is not confirmed yet"


def test_the_configuration_that_space_json_names_counts() -> None:
    """An extended search that decided anew: the members of the earlier recipe are no results."""
    frames = fabricate()
    other = frames.members[(frames.members["arm"] == "sam") & (frames.members["stage"] == "confirm")].assign(
        configuration_id="sam_99", trial_id="sam_99", test_error=0.5
    )
    members = pd.concat([frames.members, other, other.assign(trial_id="again", seed=other["seed"] + 1_000_000)])
    both = replace(frames, members=members)
    assert row(Results(both), "sam")["test_error"] < 0.1
    unknown = replace(both, space={**frames.space, "selected": {}})
    assert row(Results(unknown), "sam")["test_error"] == pytest.approx(0.5)


def test_arms_that_could_stop_early_are_told_at_the_level_of_their_look() -> None:
    """Ten of at most 60 blocks: the level is far below 5 %, and the interval is as much wider."""
    frames = fabricate()
    until = {"half_width": 0.2, "max_blocks": 60, "early": True}
    plain, early = Results(frames), Results(replace(frames, space={**frames.space, "confirm_blocks": until}))
    level = obrien_fleming(looks(60))[0]
    d = (by_block(plain, "sam") - by_block(plain, "large_batch")).to_numpy()
    extra = row(plain, "sam")["selection_std"] ** 2 + row(plain, "large_batch")["selection_std"] ** 2
    found = row(early, "sam")
    assert (found["difference_low"], found["difference_high"]) == pytest.approx(t_interval(d, extra, alpha=level / 2))
    assert found["p_holm"] == pytest.approx(min(1.0, 2 * row(plain, "sam")["p"] * 0.05 / level))
    assert found["claim"] == (found["difference_high"] < 0)
    assert row(early, "null")["p_holm"] == 1


@pytest.mark.slow
def test_null_remedies_are_seldom_claimed_and_real_ones_are_found() -> None:
    """40 runs of four null remedies with searches of their own, and a real one of 0.8 points."""
    nulls = {f"null_{k}": Arm(0.05) for k in range(4)}
    arms = {"large_batch": Arm(0.05, "reference"), "placebo": Arm(0.05, "placebo"), **nulls, "real": Arm(0.042)}
    procedure = Procedure(confirm_blocks=12, arm_block_std=0.003, loss_noise=0.1)
    wrong, found, covered = 0, 0, []
    for seed in range(40):
        results = Results(fabricate(arms, procedure, seed))
        table = results.arms.set_index("arm")
        wrong += bool(table.loc[list(nulls), "claim"].any())
        found += bool(table.loc["real", "claim"])
        for name in nulls:
            covered.append(table.loc[name, "difference_low"] <= 0 <= table.loc[name, "difference_high"])
    # 5 % of 40 are 2; more than 5 has probability .01
    assert wrong <= 5
    assert found >= 30
    assert np.mean(covered) >= 0.95
