"""The cluster: Ray started on this machine, or found at an address, and what each of its nodes must have."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tune_lb.errors import PROGRAM, RequestError
from tune_lb.results.storage import Store
from tune_lb.tuning.reach import lacking, missing_line
from tune_lb.tuning.request import Request
from tune_lb.tuning.resources import Node, usable_cpus
from tune_lb.tuning.signals import sigterm_kept

ANSWER_S = 5.0
"""Longest wait for a connection to the address of a cluster, in seconds."""

HEALTH_S = 12.0
"""Longest wait for what answers there to say that it is Ray."""

LONGEST_FOLDER = 40
"""Characters of the folder for temporary files with which Ray's sockets still have names that the system takes (107)."""

ADVICE = "start one (ray start --head, or ray up cluster.yaml), or leave --address out"


class Session(NamedTuple):
    """Ray as it runs. head: HOST:PORT of its head process. folder: of its temporary files and logs; None where it is not here."""

    head: str
    folder: str | None


@contextlib.contextmanager
def ray_session(address: str | None) -> Iterator[Session]:
    """Start Ray on this machine, or connect to the cluster at an address, for the time of the block. Raises RequestError."""
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    short = _short_folder() if address is None else None
    if address is None:
        options |= {"address": "local", "include_dashboard": False, "num_cpus": usable_cpus()}
        options |= {} if short is None else {"_temp_dir": short}
    else:
        options |= {"address": address}
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with sigterm_kept():
            started = ray.init(**options)
    except ray.exceptions.AuthenticationError as error:
        raise RequestError(
            f"the Ray cluster at {address!r} refuses this process: {str(error).splitlines()[0]}; "
            "give it the cluster's own RAY_AUTH_MODE and token"
        ) from error
    # Ray raises a bare Exception where its processes do not start in time, as on a machine that has much else to do
    except Exception as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        if address is None:
            raise RequestError(
                f"Ray does not start on this machine: {said}; see what `{PROGRAM} doctor` finds"
            ) from error
        raise RequestError(f"no Ray cluster answers at {address!r}: {said}; {ADVICE}") from error
    _silence()
    folder = started.address_info["session_dir"]
    try:
        yield Session(started.address_info["gcs_address"], folder if os.path.isdir(folder) else None)
    finally:
        ray.shutdown()
        if short is not None:
            shutil.rmtree(short, ignore_errors=True)


def _silence() -> None:
    """Keep what raylets say of workers that died from the terminal: the search says it in a line, and Ray has no option for it."""
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *words, **more: None


def check_answers(address: str | None) -> None:
    """Raise RequestError where nothing answers at an address, or what does is not Ray: Ray itself waits for many minutes."""
    host, _, port = (address or "").rpartition("://")[2].rpartition(":")
    if not host or not port.isdecimal():
        return  # auto and the like: Ray says at once what is wrong
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            pass
    except (OSError, OverflowError) as error:
        said = f"nothing within {ANSWER_S:g} s" if isinstance(error, TimeoutError) else str(error)
        raise RequestError(f"no Ray cluster answers at {address!r}: {said}; {ADVICE}") from error
    if "://" in str(address):
        return
    words = [sys.executable, "-m", "ray.scripts.scripts", "health-check", f"--address={address}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=HEALTH_S, check=False)
    except subprocess.TimeoutExpired:
        done = None
    # one that asks for a token is there: ray.init says what it asks for
    if done is None or (done.returncode and "uthenticat" not in done.stderr):
        raise RequestError(f"what answers at {address!r} is no Ray cluster, or one that is not well; {ADVICE}")


def resources_of_nodes() -> list[Node]:
    """Return what each node of the cluster has."""
    return [node["Resources"] for node in _nodes()]


def check_imports(request: Request) -> None:
    """Refuse nodes that cannot import what the user's modules import: every member would fail there."""
    found = _on_every_node(lacking, list(request.imports), dict(request.sources))
    problems = [missing_line(name, f"on node {node}") for node, missing in found.items() for name in missing]
    if problems:
        raise RequestError(problems)


def check_shared(run: Store) -> None:
    """Refuse storage that a node of the cluster does not see: what is trained there would be lost."""
    name = f"shared-{secrets.token_hex(6)}"
    run.write(name, b"")
    try:
        found = _on_every_node(Store.exists, run, name)
    finally:
        run.delete(name)
    problems = [
        f"storage: node {node} does not see {run.location}; "
        "give --storage a folder that all nodes share, or a URI (s3://bucket/runs)"
        for node, there in found.items()
        if not there
    ]
    if problems:
        raise RequestError(problems)


def _on_every_node(function: Callable[..., Any], *arguments: Any) -> dict[str, Any]:
    """Return what a function gives on each node, by address. Raises RequestError for nodes that cannot work."""
    remote = ray.remote(num_cpus=0)(function)
    found: dict[str, Any] = {}
    problems = []
    for node in _nodes():
        place = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        address = node["NodeManagerAddress"]
        try:
            answer = ray.get(remote.options(scheduling_strategy=place).remote(*arguments))
            found[f"{address} ({node['NodeID'][:8]})"] = answer
        except ray.exceptions.RayError as error:
            problems.append(f"node {address} cannot work: {str(error).strip().splitlines()[-1]}")
    if problems:
        raise RequestError(problems)
    return found


def _nodes() -> list[dict[str, Any]]:
    return [node for node in ray.nodes() if node["Alive"]]


def _short_folder() -> str | None:
    """Return a folder of our own where that for temporary files has too long a name for sockets; None where it is short."""
    if len(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir()) <= LONGEST_FOLDER:
        return None
    for place in ("/tmp", "/var/tmp", os.path.expanduser("~")):
        if len(place) <= LONGEST_FOLDER - 12 and os.access(place, os.W_OK):
            return tempfile.mkdtemp(prefix="lb", dir=place)
    raise RequestError(
        f"TMPDIR = {tempfile.gettempdir()} is longer than {LONGEST_FOLDER} characters, too long for the sockets that Ray makes "
        "in it: set TMPDIR to a shorter folder"
    )
