"""A search with lists of parts: what docs/own.md shows, from the command to rows, report, recipe and Optuna's study."""

from __future__ import annotations

import contextlib
import io
import json
import os
from collections import Counter

import optuna
import pandas as pd
import pytest

from tests.docs.blocks import ROOT, block_with
from tune_lb import points_of
from tune_lb.__main__ import main

pytestmark = [pytest.mark.ray, pytest.mark.timeout(600)]

SMALL = (
    "num_samples=8",
    "candidates=2",
    "decide_blocks=1",
    "confirm_blocks=2",
    "epochs=2",
    "crossings=none",
    "placebo=False",
)
"""What is shown, smaller: two epochs. A warmup that is as long is fixed to one."""
SEARCH = ("search", "one_of.py", *SMALL, "warmup.epochs=1.0", "--sampler", "tpe", "--name", "shown")
FIELDS = {"sam": "sam.rho", "ghost_batch_norm": "ghost_batch_norm.ghost_batch_size"}


class Shown:
    """A folder in which what the document shows was searched."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "one_of.py").write_text(block_with(ROOT / "docs/own.md", '"optimizers"').text)

    def call(self, *words):
        """Run a command in this process: what it printed."""
        out, before = io.StringIO(), os.getcwd()
        os.chdir(self.folder)
        try:
            with contextlib.redirect_stdout(out):
                code = main(list(words))
        finally:
            os.chdir(before)
        assert code == 0, out.getvalue()
        return out.getvalue()

    @property
    def members(self):
        return pd.read_parquet(self.folder / "runs" / "shown" / "results")


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    made = Shown(tmp_path_factory.mktemp("shown"))
    made.plan = made.call(*SEARCH)
    return made


def test_rows_have_what_was_drawn_and_nulls_in_what_was_not(shown):
    own = shown.members[shown.members["arm"] == "one_of"]
    searched = own[own["stage"] == "search"]
    assert len(searched) == 8 == searched["trial_id"].nunique()
    assert set(searched["remedy"]) <= {"sam", "ghost_batch_norm", "none"}
    for row in own.to_dict("records"):
        there = {name for name in FIELDS.values() if not pd.isna(row[name])}
        assert there == ({FIELDS[row["remedy"]]} if row["remedy"] in FIELDS else set())
        active = {row["remedy"], row["remedy2"]} - {"none"}
        assert set(filter(None, row["remedies"].split(","))) == active
    others = shown.members[shown.members["arm"] == "large_batch"]
    assert others["remedy"].isna().all()
    optimizers = shown.members[shown.members["arm"] == "optimizers"]
    assert optimizers["trust_coefficient"].notna().equals(optimizers["optimizer"] == "LARS")


def test_every_arm_has_the_same_number_of_configurations(shown):
    searched = shown.members[shown.members["stage"] == "search"].groupby("arm")["configuration_id"].nunique()
    assert set(searched) == {8}


def test_the_plan_says_what_an_arm_is_costed_with(shown):
    text = " ".join(shown.plan.split())
    assert "arm 'one_of': its time is that with remedy = sam, remedy2 = " in text
    assert "which takes the most gradients per update" in text
    assert "arm 'optimizers': its time" not in text


def test_the_report_and_the_recipe_have_what_was_selected_alone(shown):
    best = json.loads(shown.call("report", "shown", "--json"))["best"]
    for arm, of in (("one_of", "remedy"), ("optimizers", "optimizer")):
        drawn = best[arm]["searched"][of]
        missing = {name for name, value in best[arm]["searched"].items() if value is None}
        names = {"sam": {"sam.rho"}, "ghost_batch_norm": {FIELDS["ghost_batch_norm"]}, "none": set()}
        names |= {"SGD": {"momentum"}, "Adam": set(), "LARS": {"trust_coefficient"}}
        every = {"remedy": set(FIELDS.values()), "optimizer": {"momentum", "trust_coefficient"}}[of]
        assert missing - {"warmup.epochs"} == every - names[drawn]
        code = shown.call("best", "shown", arm)
        compile(code, arm, "exec")
        said = {"SGD": "torch.optim.SGD", "Adam": "torch.optim.Adam(", "LARS": "LARS"}
        if arm == "optimizers":
            assert said[drawn] in code


def test_points_of_a_run_have_what_was_there(shown):
    found = [p for p in points_of(shown.folder / "runs" / "shown", best=8) if p["arm"] in ("one_of", "optimizers")]
    assert len(found) == 16
    own = {name: {field} for name, field in FIELDS.items()}
    own |= {"SGD": {"momentum"}, "LARS": {"trust_coefficient"}}
    for point in found:
        drawn, more = (point["remedy"], {"remedy2"}) if "remedy" in point else (point["optimizer"], set())
        which = "remedy" if "remedy" in point else "optimizer"
        assert point.keys() == {"arm", "eta_over_b", which} | more | own.get(drawn, set())


def test_optunas_study_has_the_params_that_were_there(shown):
    shown.call("export", "shown", "--to", "optuna")
    file = next(shown.folder.rglob("studies.log"))
    backend = optuna.storages.journal.JournalFileBackend(str(file))
    study = optuna.load_study(study_name="shown.one_of", storage=optuna.storages.JournalStorage(backend))
    assert len(study.trials) == 8
    for trial in study.trials:
        own = {FIELDS[trial.params["remedy"]]} if trial.params["remedy"] in FIELDS else set()
        assert trial.params.keys() == {"eta_over_b", "remedy", "remedy2"} | own
    study.sampler = optuna.samplers.TPESampler(seed=0)
    trial = study.ask()
    assert trial.suggest_categorical("remedy", ["sam", "ghost_batch_norm", "none"]) in {
        "sam",
        "ghost_batch_norm",
        "none",
    }


def test_more_configurations_extend_the_arms_and_train_nothing_again(shown):
    before = shown.members
    shown.call(*(word.replace("num_samples=8", "num_samples=10") for word in SEARCH))
    after = shown.members
    keys = ["trial_id", "seed"]
    kept = before.merge(after, on=keys, suffixes=("", "_after"))
    assert len(kept) == len(before)
    assert (kept["wall_s"] == kept["wall_s_after"]).all(), "none was trained a second time"
    searched = after[after["stage"] == "search"]
    assert Counter(searched["arm"])["one_of"] == 10
    again = shown.call("status", "shown", "--json")
    assert json.loads(again)
