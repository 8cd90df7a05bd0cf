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
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.killing import REPOSITORY
from tests.searching import TIMEOUT_S, Searches

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


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


def raylets(searches: Searches) -> set[int]:
    return {pid for pid in searches.processes() if Path(f"/proc/{pid}/comm").read_text().strip() == "raylet"}


def test_a_search_goes_on_when_a_node_is_lost(searches: Searches, address: str) -> None:
    node = [f"--address={address}", "--node-ip-address=127.0.0.1"]
    before = raylets(searches)
    start_node(searches, *node)
    (to_lose,) = raylets(searches) - before
    process = searches.start("search", "spaces/tiny.py", "--address", address, "epochs=60")
    end = time.monotonic() + TIMEOUT_S
    while len(set(searches.nodes().values())) < 3 and process.poll() is None and time.monotonic() < end:
        time.sleep(0.05)
    os.kill(to_lose, signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, ""), out
    results, nodes = searches.results("tiny"), searches.nodes()
    assert set(results["status"]) == {"completed"}, "what was lost with a node is no failure of a member"
    assert set(results["witness"]) <= set(nodes)
    assert len(set(nodes.values())) == 3, "members were trained on all nodes"
    assert not results.index.duplicated().any()
    assert not (searches.folder / "runs" / "tiny" / "ray").exists()
    assert not list((searches.folder / "elsewhere").iterdir())

    # more than any node has
    code, out, err = searches.run(
        "search", "spaces/tiny.py", "--address", address, "--cpus-per-trial", "2", "--name", "b"
    )
    assert code == 2
    assert "a trial asks for 2 CPUs and 0 GPUs; no node has them" in err
    assert not list((searches.folder / "runs" / "b").glob("trials/*"))

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


def test_a_token_that_is_asked_for_and_not_there_is_said_in_a_line(searches: Searches, address: str) -> None:
    own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "", "HOME": str(searches.folder)}
    code, _, err = searches.run("search", "spaces/tiny.py", "--address", address, **own)
    assert code == 2
    assert f"the Ray cluster at '{address}' refuses this process" in err
    assert "Traceback" not in err


@pytest.mark.parametrize("kind", ["nobody", "no Ray"])
def test_an_address_where_no_cluster_answers_is_said_at_once(kind: str, searches: Searches) -> None:
    """B6: in place of Ray's log lines for ten minutes."""
    started = time.monotonic()
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if kind == "no Ray":
            other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        code, _, err = searches.run("search", "spaces/tiny.py", "--address", address)
    assert code == 2
    assert time.monotonic() - started < 60, "30 s on an idle machine"
    assert len(err.splitlines()) == 1
    assert address in err
    assert "leave --address out" in err


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
