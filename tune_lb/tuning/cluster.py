"""The cluster: Ray started on this machine, or found at an address, and what each of its nodes must have."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import ray

from tune_lb.errors import PROGRAM, RequestError
from tune_lb.tuning.ray_processes import end_ray, few_processes, sigterm_blocked
from tune_lb.tuning.resources import Node, usable_cpus
from tune_lb.tuning.signals import sigterm_kept

ANSWER_S = 5.0
"""Longest wait for a connection to the address of a cluster, in seconds."""

HEALTH_S = 30.0
"""Longest wait for what answers there to say that it is Ray."""

LONGEST_FOLDER = 40
"""Characters of the folder for temporary files with which Ray's sockets still have names that the system takes (107)."""

CURRENT = "ray_current_cluster"
"""File in Ray's temporary folder with the address of the cluster that was started last."""

WORKER_IMPORTS = ["tune_lb.tuning.worker_imports"]
"""What a worker of this machine imports when it starts (2 to 4 s), before it is asked for."""

ADVICE = "start one (ray start --head, or ray up deploy/cluster.yaml), or leave --address out"


class Session(NamedTuple):
    """Ray as it runs. head, raylet: HOST:PORT of its head process and of this machine's own; raylet "" where that is not known.

    folder: of its temporary files and logs; None where it is not here.
    """

    head: str
    raylet: str
    folder: str | None


@contextlib.contextmanager
def ray_session(address: str | None, cpus: float | None = None) -> Iterator[Session]:
    """Start Ray on this machine, or connect to the cluster at an address, for the time of the block. Raises RequestError.

    cpus: of this machine that workers are to have, at most all; None: all. Ray starts a worker for each at once.
    """
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    short = _short_folder() if address is None else None
    if address is None:
        own = usable_cpus() if cpus is None else min(usable_cpus(), math.ceil(cpus))
        options |= {"address": "local", "include_dashboard": False, "num_cpus": own}
        options |= {"_system_config": {"preload_python_modules": WORKER_IMPORTS}}
        options |= {} if short is None else {"_temp_dir": short}
    else:
        options |= {"address": address}
    for name in ("ray", "ray.tune", "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        with contextlib.ExitStack() as around:
            for manner in (sigterm_blocked, few_processes) if address is None else (sigterm_kept,):
                around.enter_context(manner())
            started = ray.init(**options)
    except ray.exceptions.AuthenticationError as error:
        raise RequestError(
            f"the Ray cluster at {address!r} refuses this process: {str(error).splitlines()[0]}; "
            "give it the cluster's own RAY_AUTH_MODE and token"
        ) from error
    # Ray raises a bare Exception where its processes do not start in time, as on a machine that has much else to do
    except Exception as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        said = (lines or [type(error).__name__])[0]
        if "Version mismatch" in said:
            raise RequestError(
                f"the Ray cluster at {address!r} has other versions: {' '.join(lines).partition(': ')[2]}; install the same here "
                "and on every node"
            ) from error
        if address is None:
            raise RequestError(
                f"Ray does not start on this machine: {said}; see what `{PROGRAM} doctor` finds"
            ) from error
        raise RequestError(f"no Ray cluster answers at {address!r}: {said}; {ADVICE}") from error
    _silence()
    folder = started.address_info["session_dir"]
    try:
        yield Session(started.address_info["gcs_address"], _raylet(), folder if os.path.isdir(folder) else None)
    finally:
        end_ray()
        if short is not None:
            shutil.rmtree(short, ignore_errors=True)


def _silence() -> None:
    """Keep what raylets say of workers that died from the terminal: the search says it in a line, and Ray has no option for it."""
    if hasattr(ray._private.worker, "print_to_stdstream"):
        ray._private.worker.print_to_stdstream = lambda *words, **more: None


def check_answers(address: str | None) -> None:
    """Raise RequestError where nothing answers at an address, or what does is not Ray: Ray itself waits for many minutes."""
    if str(address).startswith("ray://"):
        raise RequestError(
            f"--address {address}: a search is a process of the cluster, no client of it: start it on a node (ray job submit ... "
            "-- python -m tune_lb search ... --address auto), or join the cluster first (ray start --address HEAD:6379)"
        )
    found = _meant(address)
    host, _, port = (found or "").rpartition(":")
    if not host or not port.isdecimal():
        return  # Ray says at once what is wrong
    shown = repr(address) if found == address else f"{address!r}, which is {found}"
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            pass
    except (OSError, OverflowError) as error:
        said = f"nothing within {ANSWER_S:g} s" if isinstance(error, TimeoutError) else str(error)
        raise RequestError(f"no Ray cluster answers at {shown}: {said}; {ADVICE}") from error
    words = [sys.executable, "-m", "ray.scripts.scripts", "health-check", f"--address={found}"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=HEALTH_S, check=False)
    except subprocess.TimeoutExpired:
        done = None
    # one that asks for a token is there: ray.init says what it asks for
    if done is None or (done.returncode and "uthenticat" not in done.stderr):
        raise RequestError(f"what answers at {shown} is no Ray cluster, or one that is not well; {ADVICE}")


def resources_of_nodes() -> list[Node]:
    """Return what each node of the cluster has."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _raylet() -> str:
    """Return the address of this machine's raylet; "" where Ray does not give it."""
    here = ray.get_runtime_context().get_node_id()
    found = [node for node in ray.nodes() if node["NodeID"] == here and node.get("NodeManagerPort")]
    return f"{found[0]['NodeManagerAddress']}:{found[0]['NodeManagerPort']}" if found else ""


def _meant(address: str | None) -> str | None:
    """Return which address auto stands for: that of the environment, or of the cluster that was started here last, alive or not."""
    if address != "auto":
        return address
    named = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir(), "ray", CURRENT)
    kept = named.read_text().strip() if named.is_file() else ""
    return os.environ.get("RAY_ADDRESS") or kept or address


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
