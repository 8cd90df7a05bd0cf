from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis.decomposition import decompose, under_trained
from analysis.old_design.comparisons import binomial_sampling_error, contrast, seed_std
from analysis.old_design.intervals import fieller
from analysis.old_design.results import OldResults
from analysis.summary import summary
from tests.analysis.old_design.fabrication import ARMS, Arm, Procedure, fabricate


def arms(results: OldResults) -> pd.DataFrame:
    return results.arms.set_index("arm")


def test_means_are_over_splits_of_means_over_seeds(results: OldResults) -> None:
    confirm = results.members.query("stage == 'confirm' and arm == 'sam'")
    expected = confirm.groupby("split_seed")["test_error"].mean().mean()
    row = arms(results).loc["sam"]
    assert row["test_error"] == pytest.approx(expected)
    assert (row["n"], row["num_splits"], row["num_trials"]) == (24, 3, 18)


def test_std_is_pooled_within_splits() -> None:
    values = np.array([[0.01, 0.03, np.nan], [0.10, 0.12, 0.14]])
    assert seed_std(values) == pytest.approx(np.sqrt((2 * 0.01**2 + 2 * 0.02**2) / 3))


def test_difference_is_to_the_reference_and_drop_to_the_baseline(results: OldResults) -> None:
    table = arms(results)
    sam, reference, baseline = (table.loc[name] for name in ("sam", "large_batch", "small_batch"))
    assert sam["difference"] == pytest.approx(sam["test_error"] - reference["test_error"])
    assert sam["large_batch_drop"] == pytest.approx(sam["test_error"] - baseline["test_error"])
    assert np.isnan(reference["difference"])
    assert np.isnan(baseline["large_batch_drop"])


def test_gap_closed_is_the_share_of_the_drop_with_fiellers_interval(results: OldResults) -> None:
    table = arms(results)
    row = table.loc["sam"]
    share = 1 - row["large_batch_drop"] / table.loc["large_batch", "large_batch_drop"]
    assert row["gap_closed"] == pytest.approx(share)
    assert row["gap_closed_low"] < share < row["gap_closed_high"]
    one = contrast(results.resamples, "large_batch", "sam")
    two = contrast(results.resamples, "large_batch", "small_batch")
    assert one is not None
    assert two is not None
    covariance = np.cov(one.within, two.within)
    covariance += np.array(
        [
            [u @ v for v in (one.split_residuals, two.split_residuals)]
            for u in (one.split_residuals, two.split_residuals)
        ]
    )
    expected = fieller(one.estimate, two.estimate, covariance)
    assert (row["gap_closed_low"], row["gap_closed_high"]) == pytest.approx(tuple(expected))


def test_the_baseline_closes_all_of_the_drop_and_the_reference_nothing(results: OldResults) -> None:
    rows = {row["arm"]: row for row in summary(results)["rows"]}
    shown = {arm: (rows[arm]["gap_closed"], rows[arm]["cells"]["gap closed"]) for arm in ("small_batch", "large_batch")}
    assert shown == {"small_batch": (1.0, "100 %"), "large_batch": (0.0, "0 %")}


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"small_batch": replace(ARMS["small_batch"], error=0.0505)}, "no drop to close"),
        ({"small_batch": replace(ARMS["small_batch"], error=0.044)}, "standard errors of the test set"),
    ],
)
def test_without_a_drop_gap_closed_is_null_with_the_reason(changed: dict[str, Arm], words: str) -> None:
    procedure = Procedure(num_test=200, seed_std=0.001, trial_std=0.0, curvature=0.01)
    table = arms(OldResults(fabricate({**ARMS, **changed}, procedure)))
    assert np.isnan(table.loc["sam", "gap_closed"])
    assert words in table.loc["sam", "gap_closed_reason"]


@pytest.mark.parametrize(
    ("procedure", "word"), [(Procedure(scheduler="asha"), "asha"), (Procedure(sampler="tpe"), "tpe")]
)
def test_schedulers_and_tpe_end_claims_and_shares(procedure: Procedure, word: str) -> None:
    row = arms(OldResults(fabricate(ARMS, procedure))).loc["sam"]
    assert np.isnan([row["gap_closed"], row["difference_low"], row["p"]]).all()
    assert word in row["gap_closed_reason"]
    assert not row["claim"]
    assert row["difference_seed_low"] < row["difference"] < row["difference_seed_high"]


def test_claims_need_holm_and_the_noise_floor(results: OldResults) -> None:
    table = arms(results)
    assert table.loc["sam", "claim"]
    assert not table.loc["null", "claim"]
    assert table.loc[["small_batch", "large_batch", "placebo", "large_batch_copied"], "claim"].isna().all()
    tested = table[table["claim"].notna()]
    assert tested.loc["sam", "p_holm"] == pytest.approx(2 * tested.loc["sam", "p"])


def test_a_difference_below_the_placebos_is_not_claimed() -> None:
    changed = {"placebo": Arm(0.01, "placebo"), "sam": replace(ARMS["sam"], error=0.035)}
    row = arms(OldResults(fabricate({**ARMS, **changed}, Procedure(seed_std=0.001)))).loc["sam"]
    assert row["p_holm"] < 0.05
    assert not row["claim"]
    assert "noise floor" in row["claim_reason"]


def test_drop_is_train_part_plus_gap_part() -> None:
    changed = {"large_batch": replace(ARMS["large_batch"], train_error=0.02)}
    table = arms(OldResults(fabricate({**ARMS, **changed}, Procedure())))
    row = table.loc["large_batch"]
    assert row["drop_train_error"] == pytest.approx(0.019)
    assert row["drop_train_error"] + row["drop_generalization_gap"] == pytest.approx(row["large_batch_drop"])
    assert row["under_trained"]
    assert decompose(0.05, 0.02, 0.03, 0.001) == pytest.approx((0.02, 0.019, 0.001))


@pytest.mark.parametrize(
    ("error", "loss", "expected"),
    [(0.006, 1e-3, True), (0.004, 1e-3, False), (0.0, 4e-3, True), (0.0, float("nan"), False)],
)
def test_under_trained_by_error_or_by_loss(error: float, loss: float, expected: bool) -> None:
    assert under_trained(error, loss, 1e-3) is expected


def test_diverged_members_count_at_chance() -> None:
    frames = fabricate(ARMS, Procedure())
    members = frames.members.copy()
    lost = members.index[(members["arm"] == "sam") & (members["stage"] == "confirm")][:2]
    others = members.loc[(members["arm"] == "sam") & (members["stage"] == "confirm"), "test_error"].drop(lost)
    members.loc[lost, "status"] = "diverged"
    members.loc[lost, ["test_error", "train_error", "generalization_gap"]] = np.nan
    row = arms(OldResults(replace(frames, members=members))).loc["sam"]
    assert (row["n"], row["n_diverged"]) == (8, 2)
    assert row["test_error"] == pytest.approx((others.sum() + 2 * 0.9) / 8)
    assert row["drop_train_error"] + row["drop_generalization_gap"] == pytest.approx(row["large_batch_drop"])


def test_failed_members_count_nowhere() -> None:
    frames = fabricate(ARMS, Procedure())
    members = frames.members.copy()
    lost = members.index[(members["arm"] == "sam") & (members["stage"] == "confirm")][:3]
    members.loc[lost, "status"] = "out_of_memory"
    row = arms(OldResults(replace(frames, members=members))).loc["sam"]
    assert (row["n"], row["n_failed"]) == (5, 3)


def test_one_confirm_seed_has_a_difference_and_no_interval() -> None:
    table = arms(OldResults(fabricate(ARMS, Procedure(confirm_seeds=1))))
    row = table.loc["sam"]
    assert row["difference"] == pytest.approx(row["test_error"] - table.loc["large_batch", "test_error"])
    assert np.isnan(row[["difference_low", "p", "gap_closed"]].astype(float)).all()
    assert not row["claim"]
    assert "2 confirm seeds" in row["claim_reason"]


def test_compute_matched_reference_is_compared() -> None:
    longer = Arm(0.045, "compute_matched")
    changed = {"sam": replace(ARMS["sam"], matched_by="longer"), "longer": longer}
    table = arms(OldResults(fabricate({**ARMS, **changed}, Procedure())))
    expected = table.loc["sam", "test_error"] - table.loc["longer", "test_error"]
    assert table.loc["sam", "matched_difference"] == pytest.approx(expected)
    assert table.loc["sam", "matched_difference_low"] < expected < table.loc["sam", "matched_difference_high"]


def test_what_tuning_alone_closes(results: OldResults) -> None:
    table = arms(results)["test_error"]
    expected = (table["large_batch_copied"] - table["large_batch"]) / (
        table["large_batch_copied"] - table["small_batch"]
    )
    assert results.tuning_closed.value == pytest.approx(expected)
    assert results.tuning_closed.interval.low < expected < results.tuning_closed.interval.high


def test_binomial_sampling_error_by_hand() -> None:
    assert binomial_sampling_error(0.5, 0.5, 200) == pytest.approx(0.05)
