"""A search from the command to the answer: what is printed, what is stored, and that pandas reads it."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from tests.searching import Searches
from tune_lb.results.columns import MEMBERS

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

DTYPES = {"float": "float64", "int": ("int64", "float64"), "str": ("str", "object"), "bool": ("bool", "object")}
"""pandas' types; whole numbers with nulls among them are floats there."""


def test_a_search_prints_the_answer_and_nothing_on_stderr(whole: tuple[Searches, str, str]) -> None:
    searches, out, err = whole
    assert err == ""
    assert "Does any of it help?" in out
    for arm in ("small (baseline)", "large (reference)", "noisy"):
        assert arm in out
    assert str(searches.folder / "runs" / "tiny" / "results") in out
    assert out.rstrip().splitlines()[-1].startswith("next: ")


def test_the_results_are_one_row_per_member_with_typed_columns(whole: tuple[Searches, str, str]) -> None:
    searches = whole[0]
    members = pd.read_parquet(searches.folder / "runs" / "tiny" / "results")
    assert not members.duplicated(["trial_id", "seed"]).any()
    assert sorted(members["witness"]) == sorted(searches.trained())
    for column in MEMBERS:
        assert str(members[column.name].dtype) in DTYPES[column.type] or members[column.name].isna().all(), column.name
    assert str(members["gradient_noise.alpha"].dtype) == "float64"
    assert members["gradient_noise.alpha"].notna().equals(members["arm"] == "noisy")
    searched = members[members["stage"] == "search"].groupby("arm")["trial_id"].nunique()
    confirmed = members[members["stage"] == "confirm"].groupby("arm")
    assert searched.to_dict() == dict.fromkeys(("small", "large", "noisy"), 2)
    assert confirmed["configuration_id"].nunique().eq(1).all()
    assert confirmed["seed"].agg(list).map(sorted).tolist() == [[2000, 2001, 102_000, 102_001]] * 3
    assert confirmed["split_seed"].agg(set).tolist() == [{2000, 2001}] * 3


def test_history_and_predictions_belong_to_the_members(whole: tuple[Searches, str, str]) -> None:
    run = whole[0].folder / "runs" / "tiny"
    members = pd.read_parquet(run / "results").set_index(["trial_id", "seed"])
    history = pd.read_parquet(run / "history").set_index(["trial_id", "seed"])
    assert set(history.index) == set(members.index)
    assert history["value"].notna().all()
    predictions = pd.read_parquet(run / "predictions" / "predictions.parquet").set_index(["trial_id", "seed"])
    targets = pd.read_parquet(run / "predictions" / "targets.parquet").set_index("split_seed")["targets"]
    confirmed = members.index[members["stage"] == "confirm"]
    assert set(confirmed) <= set(predictions.index)
    for key, row in predictions.loc[confirmed].iterrows():
        own = targets[members.loc[key, "split_seed"]]
        wrong = [a != b for a, b in zip(row["predictions"], own, strict=True)]
        assert sum(wrong) / len(wrong) == pytest.approx(members.loc[key, "test_error"])


def test_report_status_and_best_read_what_the_search_stored(whole: tuple[Searches, str, str]) -> None:
    searches = whole[0]
    known = json.loads((searches.folder / "runs" / "tiny" / "space.json").read_text())
    assert set(known["selected"]) == {"small", "large", "noisy"}
    code, out, err = searches.run("report", "tiny", "--json")
    assert code == 0, err
    arms = {row["arm"]: row for row in json.loads(out)["rows"]}
    members = pd.read_parquet(searches.folder / "runs" / "tiny" / "results")
    for arm, configuration in known["selected"].items():
        own = members[(members["stage"] == "confirm") & (members["configuration_id"] == configuration)]
        assert arms[arm]["n"] == len(own) == 4
    code, out, err = searches.run("best", "tiny", "noisy")
    assert (code, err) == (0, "")
    compile(out, "recipe.py", "exec")
    selected = members[members["configuration_id"] == known["selected"]["noisy"]].iloc[0]
    assert repr(float(selected["gradient_noise.alpha"])) in out
