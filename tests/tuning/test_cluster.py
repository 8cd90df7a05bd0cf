"""A search on a Ray cluster of several nodes, all on this machine."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from tests.killing import REPOSITORY
from tests.object_store import ObjectStore, free_port
from tests.searching import TIMEOUT_S, Searches, assert_as_if_nothing_had_been
from tune_lb.errors import RequestError
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store
from tune_lb.tuning import cluster

AWAY_S = 60.0
"""Longest time for which an object store stays away, beside the 12 s for which it always does."""

pytestmark = [pytest.mark.ray, pytest.mark.timeout(1800)]

FEW = ("--num-samples", "1", "--confirm-blocks", "1", "--block-seeds", "1")
START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats")


def start_node(searches: Searches, *words: str, **environment: str) -> None:
    started = subprocess.run(
        [*START, *words],
        cwd=searches.folder / "elsewhere",
        env=searches.environment(**environment),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert started.returncode == 0, started.stdout + started.stderr


@pytest.fixture
def address(searches: Searches) -> Iterator[str]:
    """Two nodes of one processor each. They start elsewhere, without the user's modules on their path."""
    elsewhere = searches.folder / "elsewhere"
    elsewhere.mkdir()
    # both nodes and the driver must agree, whatever this machine's Ray would choose: a token for this cluster alone
    searches.more = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    # Ray's sockets need a short path; one of its own, so that no other cluster of this machine is met
    sockets = tempfile.mkdtemp(prefix="ray")
    address = f"127.0.0.1:{free_port()}"
    head = ["--head", f"--port={address.split(':')[1]}", "--node-ip-address=127.0.0.1", f"--temp-dir={sockets}"]
    start_node(searches, *head, "--include-dashboard=false")
    start_node(searches, f"--address={address}", "--node-ip-address=127.0.0.1")
    yield address
    searches.kill_all()
    shutil.rmtree(sockets, ignore_errors=True)


@pytest.fixture
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """A server whose address and credentials everything that is started later has. To be asked for before a cluster."""
    pytest.importorskip("moto.server", reason="needs moto (pip install 'moto[s3]' flask flask-cors)")
    server = ObjectStore()
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    yield server
    server.stop()


def until_stored(searches: Searches, process: subprocess.Popen[str], number: int) -> None:
    """Wait until so many members are trained to the end, or the program ends."""
    wait_while(lambda: len(searches.trained()) < number, [process])
    assert process.poll() is None, process.communicate()


def wait_while(condition: Callable[[], bool], processes: Sequence[subprocess.Popen[str]]) -> None:
    """Wait while it holds and all of these run."""
    end = time.monotonic() + TIMEOUT_S
    while condition() and all(process.poll() is None for process in processes):
        assert time.monotonic() < end
        time.sleep(0.1)


def test_two_searches_go_on_when_a_node_and_the_object_store_are_lost(
    searches: Searches, object_store: ObjectStore, address: str
) -> None:
    """The second takes the processor that the first leaves. Workers, commands and Ray Tune write to the store, which stops."""
    node = [f"--address={address}", "--node-ip-address=127.0.0.1"]
    before = searches.named("raylet")
    start_node(searches, *node)
    (to_lose,) = searches.named("raylet") - before
    words = ("search", "spaces/tiny.py", "--address", address, "--storage", "s3://bucket/runs")
    searches.hold.touch()  # or one of the two ends before the other has begun, or before the store is away
    process = searches.start(*words, "epochs=60", "--max-concurrent", "2")
    beside = searches.start(*words, "--name", "beside", "--max-concurrent", "1", *FEW)
    wait_while(lambda: len(set(searches.nodes().values())) < 3, (process, beside))
    stores = [Store(f"s3://bucket/runs/{name}") for name in ("tiny", "beside")]
    assert all(store.child("trials").list() for store in stores), "stored before they are measured"
    os.kill(to_lose, signal.SIGKILL)
    object_store.stop()
    searches.hold.unlink()
    time.sleep(12)
    # a command that has nothing to write says nothing: the store stays away until the first one has
    lines: list[str] = []
    reader = threading.Thread(target=lambda: lines.extend(iter(process.stdout.readline, "")), daemon=True)
    reader.start()
    end = time.monotonic() + AWAY_S
    while not any(" does not answer (" in line for line in lines) and time.monotonic() < end:
        time.sleep(0.1)
    object_store.start()
    trained: list[str] = []
    lost: list[int] = []
    reader.join(TIMEOUT_S)
    first = ("".join(lines), process.stderr.read(), process.wait(TIMEOUT_S))
    process.stdout.close()
    process.stderr.close()
    ends = [first, (*beside.communicate(timeout=TIMEOUT_S), beside.returncode)]
    for store, (out, err, code) in zip(stores, ends, strict=True):
        assert (code, err) == (0, ""), out
        members = read_members(store)[0].to_pandas()
        assert set(members["status"]) == {"completed"}, "what was lost with a node is no failure of a member"
        assert set(members["arm"]) == {"small", "large", "noisy"}
        assert not members.duplicated(["trial_id", "seed"]).any()
        assert not store.child("ray").list()
        measured = members["witness.reason"].isna()
        # who was at its metric when its node was lost is stored and not trained again
        reasons = {reason.partition(" (")[0] for reason in members.loc[~measured, "witness.reason"]}
        assert reasons <= {"the worker died while it measured"}
        lost.append(int((~measured).sum()))
        trained += list(members.loc[measured, "witness"])
        if out is first[0]:
            assert "storage: s3://bucket/runs/tiny" in out
            assert " does not answer (" in out
            assert "storage: it answers again after " in out
    nodes = searches.nodes()
    assert set(trained) <= set(nodes)
    assert sum(lost) in (1, 2), "one worker was on the node, with a member or a block of two seeds"
    assert len(set(nodes.values())) == 3, "members were trained on all nodes"
    assert not list((searches.folder / "elsewhere").iterdir())

    # more than any node has
    code, out, err = searches.run(
        "search", "spaces/tiny.py", "--address", address, "--cpus-per-trial", "2", "--name", "b"
    )
    assert code == 2
    assert "a trial asks for 2 CPUs and 0 GPUs; no node has them" in err
    assert not list((searches.folder / "runs" / "b").glob("trials/*"))

    # without the token that is asked for
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "HOME": str(searches.folder)}
    code, _, err = searches.run("search", "spaces/tiny.py", "--address", address, **own)
    assert code == 2
    assert f"the Ray cluster at '{address}' refuses this process" in err
    assert "Traceback" not in err

    # one more node, with other code
    other = searches.folder / "other" / "tune_lb"
    shutil.copytree(REPOSITORY / "tune_lb", other, ignore=shutil.ignore_patterns("__pycache__"))
    with (other / "errors.py").open("a") as file:
        file.write("\n# changed\n")
    start_node(searches, *node, PYTHONPATH=str(other.parent))
    code, out, err = searches.run("search", "spaces/tiny.py", "--address", address, "--name", "c")
    assert code == 2, out
    lines = err.splitlines()
    assert len(lines) == 1, err
    assert re.match(r"error: node \S+ \([0-9a-f]{8}\): its code of tune_lb in ", lines[0]), err
    assert f" in {other} (" in lines[0]
    assert lines[0].endswith("install the same on every node")
    assert not (searches.folder / "runs" / "c").exists()


@pytest.mark.parametrize("kind", ["nobody", "no Ray"])
def test_an_address_where_no_cluster_answers_is_said_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """B6: in place of Ray's log lines for ten minutes."""
    monkeypatch.setattr(cluster, "HEALTH_S", 2.0)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if kind == "no Ray":
            other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(RequestError) as caught:
            cluster.check_answers(address)
    (line,) = caught.value.problems
    assert address in line
    assert "leave --address out" in line


@pytest.mark.soak
def test_a_node_on_which_every_worker_dies_gets_no_more_jobs(searches: Searches, address: str) -> None:
    start_node(searches, f"--address={address}", "--node-ip-address=127.0.0.1", TUNE_LB_TEST_SICK="1")
    # work enough for the sick node to get three jobs
    words = (
        "search",
        "spaces/tiny.py",
        "--address",
        address,
        "epochs=200",
        "--confirm-blocks",
        "8",
        "--block-seeds",
        "4",
    )
    code, out, err = searches.run(*words)
    assert (code, err) == (0, ""), out
    results, nodes = searches.results("tiny"), searches.nodes()
    assert set(results["status"]) == {"completed"}, "what failed on a node is no failure of a member"
    assert not results.index.duplicated().any()
    assert len(set(nodes.values())) == 2
    lines = [line for line in out.splitlines() if "gets no more jobs of this search" in line]
    assert len(lines) == 1, out
    assert "3 in a row failed there" in lines[0]
    assert lines[0].split()[1] not in {name[:8] for name in nodes.values()}


@pytest.mark.soak
def test_a_second_search_takes_what_is_free_and_says_what_it_waits_for(
    searches: Searches, whole: tuple[Searches, str, str], address: str
) -> None:
    """Two nodes of one processor: the first search has both, the second waits for them and goes on when they are given back."""
    words = ("search", "spaces/tiny.py", "--sampler", "tpe", "--address", address)
    first = searches.start(*words, "--name", "first", "epochs=400")
    until_stored(searches, first, 2)
    code, out, err = searches.run(*words)
    assert (code, err) == (0, ""), out
    (line, *_) = [line for line in out.splitlines() if "wait for 1 CPU each" in line] or [out]
    assert re.match(
        r"2 worker\(s\) wait for 1 CPU each, none works yet: of the cluster \S+ of 2 CPUs are free", line
    ), out
    assert_as_if_nothing_had_been(searches, whole[0])
    out, err = first.communicate(timeout=TIMEOUT_S)
    assert (first.returncode, err) == (0, ""), out
    members = searches.results("first")
    assert set(members["status"]) == {"completed"}
    assert len(members) == len(searches.results("tiny"))
    assert not members.index.duplicated().any()
