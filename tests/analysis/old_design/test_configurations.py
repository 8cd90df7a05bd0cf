from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis.member_columns import agreed, metric_values, remedy_columns
from analysis.old_design.results import OldResults
from analysis.old_design.table_columns import OLD_ARMS
from analysis.table_columns import describe, described
from tests.analysis.old_design.fabrication import ARMS, Procedure, fabricate


def test_one_row_per_trial_and_one_selected_per_arm_and_split(results: OldResults) -> None:
    table = results.configurations
    assert len(table) == results.members["trial_id"].nunique()
    assert (table[table["is_selected"]].groupby(["arm", "split_seed"]).size() == 1).all()
    assert (table.loc[table["is_selected"], "stage"] == "confirm").all()


def test_a_confirmed_trial_shows_its_confirm_members_only(results: OldResults) -> None:
    row = results.configurations.query("arm == 'sam' and split_seed == 0 and is_selected").iloc[0]
    own = results.members[results.members["trial_id"] == row["trial_id"]]
    confirm, before = own[own["stage"] == "confirm"], own[own["stage"] != "confirm"]
    low, high = stats.t.interval(0.95, 7, confirm["test_error"].mean(), stats.sem(confirm["test_error"]))
    assert (row["n"], row["n_search"], row["n_confirm"]) == (8, 3, 8)
    assert (row["test_error"], row["test_error_std"]) == pytest.approx(
        (confirm["test_error"].mean(), confirm["test_error"].std())
    )
    assert (row["test_error_low"], row["test_error_high"]) == pytest.approx((low, high))
    assert row["selection_validation_error"] == pytest.approx(before["validation_error"].mean())
    assert row["total_wall_s"] == pytest.approx(own["wall_s"].sum())


def test_a_trial_that_was_only_searched_shows_its_search_members(results: OldResults) -> None:
    row = results.configurations.query("stage == 'search'").iloc[0]
    own = results.members[results.members["trial_id"] == row["trial_id"]]
    assert row["test_error"] == pytest.approx(own["test_error"].mean())
    assert np.isnan(row["lambda_max"])


def test_metrics_come_with_their_protocol(results: OldResults) -> None:
    row = results.configurations.query("is_selected").iloc[0]
    assert row["lambda_max.batch_norm"] == "recomputed"
    assert row["lambda_max.residual"] == pytest.approx(1e-4)
    assert metric_values(results.members, results.frames.roles) == ["lambda_max", "keskar.full_1e-3"]
    assert remedy_columns(results.members, results.frames.roles, ["sam"]) == ["sam.rho"]


def test_numbers_of_a_configuration_are_no_metrics_a11(results: OldResults) -> None:
    wide = results.members.assign(**{"model.width": 64, "data.num_train": 400.0})
    roles = {**results.frames.roles, "model.width": "setting", "data.num_train": "setting"}
    assert metric_values(wide, roles) == metric_values(results.members, results.frames.roles)


def test_agreed_values() -> None:
    assert agreed(pd.Series(["a", "a", None])) == "a"
    assert agreed(pd.Series(["a", "b"])) == "mixed"
    assert agreed(pd.Series([1.0, 3.0])) == 2.0
    assert agreed(pd.Series([True, False], dtype=object)) is False
    assert agreed(pd.Series([None, None], dtype=object)) is None


def test_diverged_trials_are_counted(results: OldResults) -> None:
    frames = fabricate(ARMS, Procedure())
    members = frames.members.copy()
    trial = members.loc[members["stage"] == "search", "trial_id"].iloc[0]
    members.loc[members["trial_id"] == trial, ["status", "test_error"]] = "diverged", np.nan
    row = OldResults(replace(frames, members=members)).configurations.set_index("trial_id").loc[trial]
    assert row["n_diverged"] == row["n"]
    assert row["test_error"] == pytest.approx(0.9)


def test_every_column_of_both_tables_is_described(stored: OldResults) -> None:
    for name in ("arms", "configurations"):
        table = described(getattr(stored, name), stored.frames.descriptions, name, OLD_ARMS)
        missing = [field.name for field in table.schema if not (field.metadata or {}).get(b"description")]
        assert missing == []


def test_descriptions_of_derived_columns() -> None:
    members = {"wall_s": "training time, s", "test_error": "error"}
    assert describe("total_wall_s", members) == "sum over all stages and seeds of: training time, s"
    assert describe("test_error_low", members).startswith("lower end of the 95 % interval of: error on the test set")
    assert describe("nothing", members) == ""
