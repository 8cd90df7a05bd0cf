"""A real search whose results go to an S3 server on this machine, which is stopped in the middle and started again."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.object_store import ObjectStore
from tests.searching import TIMEOUT_S, Searches
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store

pytestmark = [
    # in CI the same is done to two searches on a cluster: tests/tuning/test_cluster.py
    pytest.mark.soak,
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc"),
]


def test_a_server_that_is_stopped_and_started_again_is_waited_for(
    searches: Searches, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("moto.server", reason="needs moto (pip install 'moto[s3]' flask flask-cors)")
    server = ObjectStore()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    marker = searches.folder / "marker"
    words = ("search", "spaces/tiny.py", "--max-concurrent", "1", "--storage", "s3://bucket/runs")
    process = searches.start(*words, TUNE_LB_PAUSE="report@.search.:4", TUNE_LB_PAUSE_MARKER=str(marker))
    end = time.monotonic() + TIMEOUT_S
    while not marker.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert marker.exists()
    server.stop()
    time.sleep(12)
    server.start()
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, ""), out
    assert "storage: s3://bucket/runs/tiny" in out
    assert " does not answer (" in out
    assert "storage: it answers again after " in out
    members = read_members(Store("s3://bucket/runs/tiny"))[0].to_pandas()
    assert set(members["status"]) == {"completed"}
    assert set(members["arm"]) == {"small", "large", "noisy"}
    assert sorted(searches.trained()) == sorted(members["witness"]), "each member once"
    for secret in ("somebody", "secret/with/slashes"):
        assert secret not in out
        assert secret.encode() not in Store("s3://bucket/runs/tiny").read("space.json")
    server.stop()
