"""Landscapes of a run trained here, and their points against the formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch
from torch import nn

from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tests.jobs import finished, job_of, work_on
from tune_lb.cli.landscape import chosen
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.observation.landscape import LANDSCAPE, Point, filter_normalised, grid, measured, paths, slices
from tune_lb.observation.stored_members import StoredMember, StoredMembers
from tune_lb.results.run_files import merge, read_members, write_space
from tune_lb.results.storage import Store
from tune_lb.space.checks import checked_designs
from tune_lb.space.description import description, space_hash
from tune_lb.space.loading import load_space
from tune_lb.testing.side_effects import assert_leaves_no_trace
from tune_lb.tuning.run_context import make_context

SPACE = """
from tune_lb.budgets import Epochs
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb.space.space import Arm, Space

SPACE = Space(
    question="?", data=Digits(num_train=120, num_validation=100), budget=Epochs(4), model=MLP(hidden=(12, 12)),
    arms=(Arm("small", batch_size=20, lr=0.1), Arm("large", batch_size=120, lr=0.1),
          Arm("wide", batch_size=60, lr=0.1, model=MLP(hidden=(13, 12))), Arm("lost", batch_size=60, lr=1e30)),
)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four arms: two of one network, one of another, one that diverged; two confirmed members of each."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "valleys.py").write_text(SPACE)
    space, store = load_space(str(folder / "valleys.py")).space, Store(folder / "runs" / "valleys")
    data, designs = space.data.load(0), checked_designs(space)
    context = make_context("valleys", store, space, designs, {0: data}, {design.name: "alone" for design in designs})
    for design in designs:
        trial = design.template
        finished(work_on(job_of(trial, (2000, 2001), "confirm", data.fingerprint()), on_device(data, "cpu"), context))
    asked = {"space": "valleys.py", "path": str(folder / "valleys.py"), "overrides": [], "options": {}}
    write_space(
        store,
        {
            "name": "valleys",
            "asked": asked,
            "hash": space_hash(space),
            "procedure": "blocks",
            "resolved": description(space),
        },
    )
    merge(store)
    return folder


@pytest.fixture(scope="module")
def archive(done: Path) -> StoredMembers:
    space = load_space(str(done / "valleys.py")).space
    return StoredMembers(Store(done / "runs" / "valleys"), space, "cpu")


@pytest.fixture(scope="module")
def rows(archive: StoredMembers, done: Path) -> dict[tuple[str, int], dict[str, object]]:
    found = read_members(Store(done / "runs" / "valleys"))[0].to_pylist()
    return {(row["arm"], row["seed"]): row for row in found}


def test_the_ends_are_those_of_the_rows_to_the_last_bit(call: Called, done: Path, rows) -> None:  # noqa: F811
    code, out, err = call("landscape", "valleys", "small", "large", "--storage", str(done / "runs"), "--json")
    assert code == 0, err
    answer = json.loads(out)
    assert answer["ends_differ"] == []
    table = pd.read_parquet(answer["paths"]["table"])
    assert list(table["kind"].value_counts()) == [25, 25]
    assert (table["alpha"].min(), table["alpha"].max()) == (-1, 2)
    for kind in ("linear", "curved"):
        for alpha, arm in ((0, "small"), (1, "large")):
            point = table[(table["kind"] == kind) & (table["alpha"] == alpha)].iloc[0]
            for name in ("train_loss", "train_error", "test_loss", "test_error"):
                assert point[name] == rows[arm, 2000][name], (kind, arm, name)
    assert Path(answer["paths"]["figure"]).read_bytes()[:4] == b"\x89PNG"
    assert (answer["a_arm"], answer["b_seed"]) == ("small", 2000)
    assert table["train_loss"].nunique() == 48


@pytest.mark.parametrize("words", [("--points", "4"), ("--plane", "--points", "3")])
def test_around_one_member_the_middle_is_its_row(call: Called, done: Path, rows, words) -> None:  # noqa: F811
    code, out, err = call(
        "landscape", "valleys", "small", *words, "--storage", str(done / "runs"), "--json", "--no-figure"
    )
    assert code == 0, err
    answer = json.loads(out)
    table = pd.read_parquet(answer["paths"]["table"])
    assert answer["ends_differ"] == []
    assert len(table) == (9 if "--plane" in words else 5)
    middle = table[(table["alpha"] == 0) & (table["beta"].fillna(0) == 0)]
    assert len(middle) == 1
    assert middle["test_loss"].iloc[0] == rows["small", 2000]["test_loss"]
    assert table["b_arm"].isna().all()


def test_points_of_paths_are_those_of_the_formulas(archive: StoredMembers, rows) -> None:
    a, b = (archive.member(rows[arm, 2000]) for arm in ("small", "large"))
    for point in paths(a, b, [-1.0, 0.0, 0.25, 1.0, 2.0]):
        t = point.alpha
        share = (1 - t, t) if point.kind == "linear" else (math.cos(t * math.pi / 2), math.sin(t * math.pi / 2))
        for name, value in point.params.items():
            torch.testing.assert_close(value, share[0] * a.params[name] + share[1] * b.params[name])
            if t in (0, 1):
                assert torch.equal(value, (a if t == 0 else b).params[name])
    assert [p.kind for p in paths(a, b, [0.5])] == ["linear", "curved"]


def test_filters_of_a_direction_are_as_long_as_the_members(archive: StoredMembers, rows) -> None:
    params = archive.member(rows["small", 2000]).params | {"conv": torch.randn(4, 3, 2, 2)}
    direction = filter_normalised(params, 0, "first")
    for name, value in params.items():
        if value.dim() < 2:
            assert not direction[name].any()
            continue
        for filter_, own in zip(direction[name], value, strict=True):
            assert float(filter_.norm()) == pytest.approx(float(own.norm()), rel=1e-5)
    again, other = filter_normalised(params, 0, "first"), filter_normalised(params, 1, "first")
    assert torch.equal(again["conv"], direction["conv"])
    assert not torch.equal(other["conv"], direction["conv"])
    second = filter_normalised(params, 0, "second")
    assert abs(torch.cosine_similarity(second["conv"].flatten(), direction["conv"].flatten(), 0).item()) < 0.6


def test_rescaling_a_relu_network_leaves_its_slices_where_they_were(archive: StoredMembers, rows) -> None:
    # what filter normalisation is for; batch norm makes each layer's scale immaterial
    member = archive.member(rows["small", 2000])
    scaled = StoredMember(
        member.trial,
        member.module,
        {k: 10 * v if k == "1.weight" else v for k, v in member.params.items()},
        member.buffers,
        member.parts,
    )
    for one, ten in zip(slices(member, [0.5], [], 3), slices(scaled, [0.5], [], 3), strict=True):
        loss = measured(member, one, "recalibrate")["train_loss"]
        assert measured(scaled, ten, "recalibrate")["train_loss"] == pytest.approx(loss, rel=1e-3)


def test_policies_of_batch_norm_differ_and_each_is_what_it_says(archive: StoredMembers, rows) -> None:
    a, b = (archive.member(rows[arm, 2000]) for arm in ("small", "large"))
    point = next(paths(a, b, [0.5]))
    found = {mode: measured(a, point, mode) for mode in ("recalibrate", "interpolate", "batch")}
    net = a.module
    inputs, targets = a.parts.train.standardized(), a.parts.train.targets
    losses = {}
    for mode in ("interpolate", "batch"):
        values = {name: value.clone() for name, value in (point.params | point.buffers).items()}
        outputs = torch.func.functional_call(net.train(mode == "batch"), values, (inputs,))
        losses[mode] = float(nn.functional.cross_entropy(outputs, targets))
        assert found[mode]["train_loss"] == pytest.approx(losses[mode], rel=1e-5)
        assert found[mode]["train_error"] == pytest.approx(float((outputs.argmax(1) != targets).float().mean()))
    net.eval()
    # one chunk holds the train set: its statistics, up to the unbiased variance
    assert found["recalibrate"]["train_loss"] == pytest.approx(losses["batch"], rel=2e-2)
    assert abs(found["interpolate"]["train_loss"] - losses["batch"]) > 1e-3


def test_nothing_is_left_behind_and_overflow_is_null(archive: StoredMembers, rows) -> None:
    a = archive.member(rows["small", 2000])
    huge = {name: torch.full_like(value, 1e38) for name, value in a.params.items()}
    for mode in ("recalibrate", "interpolate", "batch"):
        row = assert_leaves_no_trace(
            lambda m=mode: measured(a, Point("slice", 1.0, None, huge, a.buffers), m), a.module
        )
        assert row["train_loss"] is None is row["test_error"]
    assert set(row) <= set(LANDSCAPE.names)


def test_grids_hold_the_ends() -> None:
    assert grid((-1, 2), 25)[8] == 0
    assert grid((-1, 2), 25)[16] == 1
    assert len(grid((-1, 2), 25)) == 25
    assert grid((-1, 2), 3) == [-1, 0, 0.5, 1, 2]
    assert grid((-1, 1), 2) == [-1, 0, 1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("valley", "small"), "did you mean 'valleys'"),
        (("valleys", "smal"), "did you mean 'small'"),
        (("valleys", "small", "0123456789abcdef.2000"), "no arm and no member"),
        (("valleys", "small", "wide"), "different networks: parameter 1.weight is (12, 64) and (13, 64)"),
        (("valleys", "lost"), "have not diverged"),
        (("valleys", "small", "large", "--plane"), "leave B out"),
        (("valleys", "small", "--points", "1"), "at least 2"),
    ],
)
def test_wrong_requests(call: Called, done: Path, words, text) -> None:  # noqa: F811
    code, _, err = call("landscape", *words, "--storage", str(done / "runs"))
    assert code == 2
    assert text in err
    assert "Traceback" not in err


def test_members_are_chosen_by_arm_or_by_name(archive: StoredMembers, rows) -> None:
    stored = archive.stored(list(rows.values()))
    named = rows["large", 2001]
    assert [row["seed"] for row in chosen(stored, ["small", "small"], "r")] == [2000, 2001]
    assert chosen(stored, [f"{named['trial_id']}.2001", "small"], "r") == [named, rows["small", 2000]]
    with pytest.raises(RequestError, match="different members"):
        chosen(stored, [f"{named['trial_id']}.2001"] * 2, "r")
    with pytest.raises(RequestError, match="no stored weights"):
        chosen([], ["small"], "r")


def test_an_end_that_is_not_its_row_is_told(call: Called, done: Path, rows, tmp_path: Path) -> None:  # noqa: F811
    store = Store(done / "runs" / "valleys").child("weights")
    name = f"{rows['large', 2001]['trial_id']}.2001.safetensors"
    kept = store.read(name)
    tensors = safetensors.torch.load(kept)
    store.write(name, safetensors.torch.save({k: v * 1.01 if v.dim() == 2 else v for k, v in tensors.items()}))
    try:
        member = name.removesuffix(".safetensors")
        words = ("small", member, "--points", "3", "--no-figure", "--storage", str(done / "runs"), "--json")
        code, out, _ = call("landscape", "valleys", *words)
    finally:
        store.write(name, kept)
    assert code == 0
    assert len(json.loads(out)["ends_differ"]) == 2
    assert "large seed 2001" in json.loads(out)["ends_differ"][0]
