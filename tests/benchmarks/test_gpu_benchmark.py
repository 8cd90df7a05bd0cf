"""benchmarks/gpu.py runs whole on a CPU as a stand-in: every part has rows, a failure is one, and measurements are processes."""

from __future__ import annotations

import importlib
from pathlib import Path

import pandas as pd
import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("gpu")


def found(folder):
    return pd.read_parquet(folder / "gpu.parquet")


@pytest.mark.parametrize("part", ["updates", "networks/C1", "remedies", "sharpness", "share", "microbatches"])
def test_every_part_runs_as_a_stand_in(program, tmp_path, part, request):
    flags = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [each.allow_tf32 for each in flags]
    request.addfinalizer(lambda: [setattr(each, "allow_tf32", was) for each, was in zip(flags, before, strict=True)])
    assert program.main(["--stand-in", "--out", str(tmp_path), "--only", part]) == 0
    rows = found(tmp_path)
    assert set(rows["part"]) == {part.partition("/")[0]}
    failed = rows[rows["error"].fillna("") != ""]
    # peers are an extra, compiling is for real devices
    assert all(said.startswith(("left out", "ModuleNotFoundError")) for said in failed["error"])
    expected = {
        "updates": {"alone", "together", "ordinary", "stack by hand", "batches alone"},
        "networks/C1": {"alone", "ordinary", "DataLoader", "roof", "roof, channels last"},
        "remedies": {"plain", "sam", "ghost_batch_norm", "gradient_noise"},
        "sharpness": {"float64", "tune_lb", "power iteration"},
        "share": {"alone"},
        "microbatches": {"auto"},
    }[part]
    assert expected <= set(rows.loc[rows["error"].fillna("") == "", "way"])
    errors = rows[(rows["way"] == "tune_lb") & (rows["unit"] == "relative error")]["value"]
    assert (errors < 1e-3).all()
    assert len(errors) == (4 if part == "sharpness" else 0)


def test_a_measurement_without_time_ends_with_a_row_that_says_so(program):
    rows = importlib.import_module("gpu_rows")
    given = rows.Given("cpu", small=True, rest_s=-1.0)
    with pytest.raises(rows.OutOfTime), given.trying("what", "outer"):
        raise AssertionError
    assert [row["error"] for row in given.rows] == ["left out, and what follows: no time"]


@pytest.mark.slow
def test_measurements_are_processes_that_wait_for_their_turn(program, tmp_path):
    arguments = ["--stand-in", "--processes", "--minutes", "3", "--out", str(tmp_path)]
    assert program.main([*arguments, "--only", "updates", "share"]) == 0
    rows = found(tmp_path)
    assert {"alone", "together"} <= set(rows["way"])
    assert "share" in set(rows["part"])
    assert (tmp_path / "gpu.log").exists()


@pytest.mark.slow
def test_a_process_that_dies_or_hangs_is_a_row(program, tmp_path, monkeypatch):
    stand_in = tmp_path / "measurement.py"
    stand_in.write_text(
        "import sys, time\n"
        "name = sys.argv[sys.argv.index('--measurement') + 1]\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        'print(\'{"what": "w", "way": "before", "value": 1.0, "unit": "s"}\', flush=True)\n'
        "sys.exit('a reason') if name == 'dies' else time.sleep(60)\n"
    )
    monkeypatch.setattr(program, "__file__", str(stand_in))
    monkeypatch.setitem(program.LIMITS_S, "share", 1.0)
    chosen = {name: ("share", None) for name in ("dies", "hangs")}
    given = program.argparse.Namespace(minutes=1.0, stand_in=True)
    table = program.Table(tmp_path / "gpu.parquet", {"device": "none", "versions": "none"})
    program.in_processes(chosen, given, table)
    said = {row["measurement"]: row["error"] for row in table.rows if row.get("error")}
    assert said == {"dies": "exit 1: a reason", "hangs": "did not end within 0 s"}
    assert [row["way"] for row in table.rows if row["measurement"] == "dies"] == ["before", "dies"]


def test_without_a_device_it_says_what_to_do(program, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert program.main(["--out", str(tmp_path)]) == 2
    assert "--stand-in runs everything on the CPU" in capsys.readouterr().err


def test_measurements_come_in_the_order_in_which_they_are_asked_for(program):
    known = dict.fromkeys(("a/1", "a/2", "b"), ("", None)) | {"a/1": ("a", None)}
    assert list(program.asked_for(known, ["b", "a/2", "a"])) == ["b", "a/2", "a/1"]
    assert list(program.asked_for(known, None)) == ["a/1", "a/2", "b"]


def test_the_report_says_what_was_measured_and_what_was_not(program):
    rows = pd.read_parquet(BENCHMARKS / "gpu" / "h100.parquet")
    text = importlib.import_module("gpu_report").tables(rows)
    assert "| quickstart | 20 | graph of compiled_together |  | 0.075 | 0.0325 | 0.00892 | 0.0176 |" in text
    assert "| tests | tests | did not end within 88 s | 1 |" in text
