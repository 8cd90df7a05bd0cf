"""Whoever reads a run says which file is damaged, in a line, and shows no number of it; no training goes on from it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import safetensors
import safetensors.torch

from analysis.loading import load
from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tests.faults.small_runs import search
from tests.faults.test_damaged_files import emptied, flipped, footer
from tests.tuning.test_running_job import a_trial, finished, history_of, work_of

CONFIRMED = "trials/*.confirm.*.members.parquet"


def damaged(run: Path, pattern: str, way: object = flipped) -> Path:
    path = sorted(run.glob(pattern))[0]
    way(path)  # type: ignore[operator]
    return path


@pytest.mark.parametrize("command", ["report", "status", "best"])
def test_a_command_names_damaged_members_and_shows_none_of_their_numbers(run: Path, call: Called, command: str) -> None:  # noqa: F811
    path = sorted(run.glob(CONFIRMED))[0]
    lost = pd.read_parquet(path)
    footer(path)
    code, out, err = call(command, "tiny")
    assert code == 0, err
    (line,) = [line for line in (out + err).splitlines() if path.name in line]
    assert line.startswith("left out: results: ")
    if command == "status":
        assert f"{12 - len(lost)} members" in out


def test_the_frames_name_them(run: Path) -> None:
    path = damaged(run, CONFIRMED, footer)
    lines = load(run).problems
    assert any(path.name in line and "checksum" in line for line in lines)
    assert len(load(run).members) == 11


@pytest.mark.parametrize("pattern", ["trials/*.confirm.*.history.parquet", "trials/*.confirm.*.predictions.parquet"])
def test_the_report_names_a_part_that_only_the_merged_file_lacks(run: Path, call: Called, pattern: str) -> None:  # noqa: F811
    path = damaged(run, pattern)
    kind = path.name.split(".")[3]
    emptied(run / kind / f"{kind}.parquet")
    code, out, _ = call("report", "tiny")
    assert code == 0
    assert any(path.name in line for line in out.splitlines())


def test_measure_sets_damaged_weights_aside_and_search_makes_them_again(run: Path, call: Called) -> None:  # noqa: F811
    path = damaged(run, "weights/*.safetensors")
    code, out, _ = call("measure", "tiny", "--metric", "margin")
    assert code == 3
    (line,) = [line for line in out.splitlines() if path.name in line]
    assert "the same `search` trains this member again" in line
    assert not path.exists()
    assert (run / "damaged" / "weights" / path.name).exists()
    assert len(search(run.parent.parent).trained) == 1
    assert path.exists()
    assert call("measure", "tiny", "--metric", "margin")[0] == 0


@pytest.mark.parametrize("command", ["report", "status", "best", "measure"])
def test_a_damaged_space_is_one_line_and_what_to_do(run: Path, call: Called, command: str) -> None:  # noqa: F811
    flipped(run / "space.json")
    code, _, err = call(command, "tiny")
    assert code == 2
    (line,) = err.splitlines()
    assert "space.json is damaged" in line
    assert "give the search command again" in line


def no_state(contents: bytes) -> bytes:
    """Return a checkpoint whose tensors are whole and whose metadata are of no use."""
    return safetensors.torch.save(safetensors.torch.load(contents), {"state": json.dumps({"wall_s": 1.0})})


@pytest.mark.parametrize(
    "damage",
    [
        lambda contents: contents[:-20] + bytes([contents[-20] ^ 1]) + contents[-19:],
        lambda contents: contents[:200],
        lambda contents: safetensors.torch.save(safetensors.torch.load(contents)),
        no_state,
        lambda contents: safetensors.torch.save({}, {"state": "{"}),
    ],
    ids=["a bit", "cut", "no metadata", "useless metadata", "other tensors"],
)
def test_a_damaged_checkpoint_is_set_aside_and_its_members_begin_anew(tmp_path: Path, damage) -> None:  # type: ignore[no-untyped-def]
    of = a_trial()
    finished(work_of(tmp_path / "whole", of))
    broken = work_of(tmp_path, of)
    broken.advance(0.0)
    path = tmp_path / "checkpoints" / broken.now.file
    path.write_bytes(damage(path.read_bytes()))
    again = work_of(tmp_path, of)
    again.advance(0.0)
    assert again.now.training.step == 3, "an epoch, from the start"
    assert (tmp_path / "damaged" / "checkpoints" / path.name).exists()
    finished(again)
    assert history_of(tmp_path) == history_of(tmp_path / "whole")
