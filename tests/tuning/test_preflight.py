"""What a node must have before it trains: what it reports is compared, and the storage and the data are looked for there."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tune_lb
from tests.killing import REPOSITORY
from tune_lb.data.mapped import opened
from tune_lb.errors import RequestError
from tune_lb.results.storage import Store
from tune_lb.tuning import cluster, preflight
from tune_lb.tuning.node_report import code_hash, node_report
from tune_lb.tuning.preflight import Asked, differences, look
from tune_lb.tuning.request import Request

OWN = {
    "Python": "3.11",
    "torch": "2.14.1",
    "ray": "2.60.0",
    "numpy": "2.4.6",
    "pyarrow": "26.0.1",
    "tune_lb": "aaa",
    "folder": "/here/tune_lb",
}


@pytest.mark.parametrize(
    ("other", "gpus", "said"),
    [
        ({}, 0, []),
        ({"folder": "/there/tune_lb"}, 0, []),
        ({"torch": "2.13.0"}, 0, ["torch 2.13.0, 2.14.1 here"]),
        ({"torch": ""}, 0, ["torch is not there, 2.14.1 here"]),
        ({"Python": "3.12", "numpy": "1.26.4"}, 0, ["Python 3.12, 3.11 here", "numpy 1.26.4, 2.4.6 here"]),
        ({"tune_lb": ""}, 0, ["tune_lb is not importable there"]),
        (
            {"tune_lb": "bbb", "folder": "/old/tune_lb"},
            0,
            ["its code of tune_lb in /old/tune_lb (bbb) is not that of /here/tune_lb (aaa) here"],
        ),
        ({"GPUs": "4"}, 4, []),
        ({"GPUs": "8"}, 4, []),
        ({"GPUs": "0"}, 2, ["Ray was promised 2 GPUs and torch can use 0"]),
    ],
)
def test_a_node_is_compared_with_this_one(other: dict[str, str], gpus: float, said: list[str]) -> None:
    found = differences(OWN, OWN | other, gpus)
    assert len(found) == len(said)
    for line, begin in zip(found, said, strict=True):
        assert line.startswith(begin)


def test_a_report_needs_no_tune_lb(tmp_path: Path) -> None:
    """A node may lack it, or have another."""
    text = Path(sys.modules[node_report.__module__].__file__ or "").read_text()
    (tmp_path / "alone.py").write_text(text + "\nprint(node_report(False))\n")
    done = subprocess.run(
        [sys.executable, "-S", "-I", "alone.py"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith(f"{{'Python': '{sys.version_info[0]}.{sys.version_info[1]}'")
    assert "'torch': ''" in done.stdout
    assert "'tune_lb': ''" in done.stdout
    own = node_report(False)
    assert own["folder"] == str(REPOSITORY / "tune_lb") == str(Path(tune_lb.__file__).parent)
    assert own["tune_lb"] == code_hash(own["folder"])


def test_the_hash_of_code_is_of_names_and_texts(tmp_path: Path) -> None:
    (tmp_path / "part").mkdir()
    (tmp_path / "a.py").write_bytes(b"x = 1\r\n")
    (tmp_path / "part" / "b.py").write_bytes(b"y = 2\n")
    (tmp_path / "notes.txt").write_text("not code")
    expected = hashlib.sha256(b"a.py\0006\0x = 1\npart/b.py\0006\0y = 2\n").hexdigest()[:12]
    assert code_hash(str(tmp_path)) == expected
    (tmp_path / "a.py").rename(tmp_path / "c.py")
    assert code_hash(str(tmp_path)) != expected


def test_a_node_is_asked_for_storage_data_and_modules(tmp_path: Path) -> None:
    run = Store(tmp_path / "runs" / "mine")
    request = Request(None, "mine", run, imports=("json", "not_there_p"))  # type: ignore[arg-type]
    np.save(tmp_path / "x.npy", np.zeros((4, 2)))
    files = [opened(tmp_path / "x.npy").file or "", str(tmp_path / "gone.npy")]
    with preflight._marked(run) as token:
        there = look(Asked(run, token, request, files), "0")
        assert run.exists(f"{token}-0"), "it writes what the others look for"
        elsewhere = look(Asked(Store(tmp_path / "other"), token, Request(None, "m", run), []), "1")  # type: ignore[arg-type]
    assert not (tmp_path / "runs").exists(), "nothing is left"
    assert not (tmp_path / "other").exists(), "where the storage is not shared nothing is written"
    assert [line.partition(":")[0] for line in there] == [
        f"it does not see {tmp_path}/gone.npy, a file of the data",
        "not_there_p is not importable there",
    ]
    assert elsewhere == [
        f"it does not see {tmp_path}/other; give --storage a folder that all nodes share, or a URI (s3://bucket/runs)"
    ]


def test_auto_is_the_cluster_that_was_started_here_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray itself waits ten minutes for one that is gone."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    cluster.check_answers("auto")
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "ray_current_cluster").write_text("127.0.0.1:9")
    with pytest.raises(RequestError, match=r"no Ray cluster answers at 'auto', which is 127\.0\.0\.1:9: .*refused"):
        cluster.check_answers("auto")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:7")
    with pytest.raises(RequestError, match=r"which is 127\.0\.0\.1:7"):
        cluster.check_answers("auto")
    with pytest.raises(RequestError, match="ray job submit"):
        cluster.check_answers("ray://127.0.0.1:10001")
