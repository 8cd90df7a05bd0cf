"""A1: an arm is trained on its own data: loaded once, with a fingerprint of its own, and compared where that means something."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from tests.jobs import finished
from tests.space.test_space import space
from tune_lb.data.dataset import DataSet, DataSource, Part
from tune_lb.data.device import OnDevice
from tune_lb.errors import RequestError
from tune_lb.results.run_files import read_examples, read_members, read_space, read_targets
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_predictions
from tune_lb.search.planner import Search
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs, space_problems
from tune_lb.space.data_sets import all_sources, source_name
from tune_lb.tuning.preparation import Prepared, prepare
from tune_lb.tuning.replay import replayed_run
from tune_lb.tuning.request import Request
from tune_lb.tuning.running_job import RunningJob

LOADED: list[tuple[int, int]] = []


@dataclass(frozen=True)
class Counted(DataSource):
    """Ten values an example; `own_test` cuts the test part behind the train part, as data without a publisher's test part are."""

    num_train: int = 48
    own_test: bool = False

    def load(self, split_seed: int) -> DataSet:
        LOADED.append((self.num_train, split_seed))
        rng = np.random.default_rng(split_seed)
        targets = np.arange(400) % 3
        inputs = (np.eye(3, 10)[targets] * 3 + rng.normal(size=(400, 10))).astype(np.float32)
        start = self.num_train if self.own_test else 300
        parts = [slice(0, self.num_train), slice(200, 250), slice(start, start + 60)]
        return DataSet("counted", 3, *[Part(inputs[part], targets[part]) for part in parts])


def prepared(folder, *arms, **settings) -> Prepared:
    LOADED.clear()
    own = {
        "data": Counted(),
        "num_samples": 2,
        "candidates": 1,
        "confirm_blocks": 1,
        "block_seeds": 1,
        "batch_size": 24,
    }
    asked = space(*arms, **(own | {"baseline": None, "reference": None} | settings))
    return prepare(Request(asked, "run", Store(folder)))


def trained(found: Prepared) -> list[dict[str, object]]:
    """Work off the whole search, as workers do."""
    context = found.context
    search = Search(found.request.space, found.facts)
    on_device = OnDevice("cpu")
    while (job := search.take()) is not None:
        search.observe(finished(RunningJob(job, lambda trial: on_device.parts(context.data_of(trial)), context)))
    return list(read_members(context.store)[0].to_pylist())


def test_an_arm_is_trained_on_its_own_data(tmp_path):
    found = prepared(tmp_path, Arm("all"), Arm("few", data=Counted(num_train=24)))
    assert LOADED == [(48, 0), (24, 0), (48, 2000), (24, 2000)], "each split once"
    updates = {arm.arm: arm.updates_per_member for arm in found.estimate.arms}
    assert updates == {"all": 40, "few": 20}, "20 epochs of 2 and of 1 update"
    rows = trained(found)
    assert {(row["arm"], row["updates"], row["examples"], row["data.num_train"]) for row in rows} == {
        ("all", 40, 960, 48),
        ("few", 20, 480, 24),
    }
    alone = trained(prepared(tmp_path / "alone", Arm("few"), data=Counted(num_train=24)))
    own = {row["trial_id"]: row["test_error"] for row in rows if row["arm"] == "few"}
    assert own == {row["trial_id"]: row["test_error"] for row in alone}, "as in a run of these data alone, ids included"


def test_one_data_set_leaves_files_and_description_as_they_are(tmp_path):
    found = prepared(tmp_path, Arm("all"), Arm("same", data=Counted()))
    assert not found.context.other_data
    assert LOADED == [(48, 0), (48, 2000)]
    known = read_space(found.context.store)
    assert "other_data" not in known
    assert not any("own_test_part" in arm for arm in known["arms"])
    assert [path.name for path in (tmp_path / "predictions").iterdir()] == ["targets.parquet"]


def test_an_override_of_the_data_is_trained_on(tmp_path):
    asked = space(Arm("a"), Arm("b"), data=Counted(), baseline=None, reference=None).overridden(
        [("data.num_train", 24)]
    )
    found = prepare(Request(asked, "run", Store(tmp_path)))
    assert found.context.data[0].input_shape == (10,)
    assert len(found.context.data[0].train.targets) == 24
    assert read_space(found.context.store)["data"]["num_train"] == 24


def test_data_are_searched_over_a_list(tmp_path):
    found = prepared(tmp_path, Arm("few", data=Counted(num_train=over([12, 24, 48]))), num_samples=6, batch_size=12)
    rows = trained(found)
    assert LOADED[:3] == [(48, 0), (12, 0), (24, 0)]
    assert len(LOADED) == len(set(LOADED))
    assert {(row["data.num_train"], row["examples"]) for row in rows} <= {(12, 240), (24, 480), (48, 960)}
    assert len({row["data.num_train"] for row in rows}) > 1
    known = read_space(found.context.store)
    assert {own["num_train"] for own in known["other_data"].values()} == {12, 24}
    state = replayed_run(found.context.store, found.request.space, known)
    assert state.finished, "what the files say is the whole search"


def test_sources_are_searched_over_a_list(tmp_path):
    found = prepared(tmp_path, Arm("any", data=over([Counted(), Counted(num_train=12)])), num_samples=4, batch_size=12)
    assert {row["examples"] for row in trained(found)} == {960, 240}


def test_data_over_a_range_are_refused():
    asked = space(Arm("x", data=Counted(num_train=over(10, 40, integer=True))), baseline=None, reference=None)
    (problem,) = space_problems(asked)
    assert problem.startswith("arm 'x'.data.num_train: data are searched over a list")


def test_a_derived_arm_may_take_data_that_its_own_lists_do_not_hold():
    asked = space(
        Arm("small", batch_size=4, data=Counted(num_train=12)), Arm("large", data=Counted(num_train=over([24, 48])))
    )
    sizes = {source.num_train for source in all_sources(asked, checked_designs(asked)).values()}
    assert sizes == {12, 24, 48}


def test_another_test_part_is_said_in_the_plan_and_not_compared_example_by_example(tmp_path):
    arms = (Arm("all"), Arm("few", data=Counted(num_train=24, own_test=True)))
    found = prepared(tmp_path, *arms)
    (note,) = [line for line in found.estimate.notes if "test part" in line]
    assert note.startswith("arm few: the test part is not that of the other arms' data")
    known = read_space(found.context.store)
    assert {arm["name"]: arm.get("own_test_part", False) for arm in known["arms"]} == {"all": False, "few": True}
    name = source_name(Counted(num_train=24, own_test=True))
    (own,) = read_targets(found.context.store, name).values()
    assert decode_predictions(own, 3).tolist() == (np.arange(24, 84) % 3).tolist()
    assert read_examples(found.context.store, name)[2000].tolist() == list(range(60)), (
        "a part of its own is numbered by itself"
    )
    assert not any("test part" in line for line in prepared(tmp_path / "same", *arms[:1]).estimate.notes)


def test_data_of_an_arm_that_do_not_fit_its_batch_are_refused(tmp_path):
    with pytest.raises(RequestError, match="arm 'few': batch_size = 24 is larger than the train set") as error:
        prepared(tmp_path, Arm("all"), Arm("few", data=Counted(num_train=12)))
    assert len(error.value.problems) == 1


def test_a_searched_batch_size_is_described_and_searched(tmp_path):
    found = prepared(tmp_path, Arm("any", batch_size=over([12, 24])), num_samples=4)
    (arm,) = read_space(found.context.store)["arms"]
    assert arm["batch_size"] is None
    assert arm["dimensions"]["batch_size"] == {"values": [12, 24]}
    rows = trained(found)
    assert {row["batch_size"] for row in rows} == {12, 24}
    assert all(row["updates"] == 960 // row["batch_size"] for row in rows)
