"""A search on a Ray cluster of two nodes, both on this machine, and the file from which `ray up` makes a real one."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.killing import REPOSITORY
from tests.searching import TIMEOUT_S, Searches

pytestmark = [pytest.mark.ray, pytest.mark.timeout(900)]

START = (sys.executable, "-m", "ray.scripts.scripts", "start", "--num-cpus=1", "--disable-usage-stats")


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
        return port


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
    for words in ([*head, "--include-dashboard=false"], [f"--address={address}", "--node-ip-address=127.0.0.1"]):
        started = subprocess.run(
            [*START, *words],
            cwd=elsewhere,
            env=searches.environment(),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
        )
        assert started.returncode == 0, started.stdout + started.stderr
    yield address
    searches.kill_all()
    shutil.rmtree(sockets, ignore_errors=True)


def test_a_search_on_two_nodes(searches: Searches, address: str) -> None:
    code, out, err = searches.run("search", "spaces/tiny.py", "--address", address, "epochs=60")
    assert (code, err) == (0, ""), out
    results, nodes = searches.results("tiny"), searches.nodes()
    assert set(results["status"]) == {"completed"}
    assert set(nodes) == set(results["witness"])
    assert len(set(nodes.values())) == 2, "members were trained on both nodes"
    assert len(searches.trained()) == len(results)
    assert not (searches.folder / "runs" / "tiny" / "ray").exists()
    assert not list((searches.folder / "elsewhere").iterdir())

    # more than any node has
    code, out, err = searches.run(
        "search", "spaces/tiny.py", "--address", address, "--cpus-per-trial", "2", "--name", "b"
    )
    assert code == 2
    assert "a trial asks for 2 CPUs and 0 GPUs; no node has them" in err
    assert not list((searches.folder / "runs" / "b").glob("trials/*"))


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


def test_the_cluster_file_passes_ray_s_own_validation() -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    config = yaml.safe_load((REPOSITORY / "cluster.yaml").read_text())
    validate_config(prepare_config(config))
    assert config["head_node_type"] in config["available_node_types"]
    commands = " ".join(config["setup_commands"])
    for target, source in config["file_mounts"].items():
        assert Path(target).name in commands
        assert source == "."
