"""Ray's processes on this machine: SIGTERM does not reach them, and none outlives its search.

Who ends a program by SIGTERM often sends it to all of its processes at once: batch systems, containers, `kill -- -GROUP`. Ray's own
would be gone first, and Ray ends a program whose raylet is gone on the spot (_Exit), whatever that still had to say. They are
therefore started with SIGTERM blocked, as Ray itself blocks SIGINT for them: the program alone takes it, and ends them.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import signal
from collections.abc import Iterator
from typing import Any

import ray

from tune_lb.tuning.signals import interrupts_ignored, sigterm_kept

LEFT_OUT = {"no_monitor": True, "include_log_monitor": False}
"""Parameters of Ray's own start with which there is neither its autoscaler nor its monitor of logs."""


@contextlib.contextmanager
def sigterm_blocked() -> Iterator[None]:
    """Block SIGTERM in this thread for the time of the block, and so in what it starts; this process takes it in other threads."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    take_over = getattr(ray._private.utils, "set_sigterm_handler", None)
    # Ray would take SIGTERM over, and end this process by it
    ray._private.utils.set_sigterm_handler = lambda handler: None
    try:
        with sigterm_kept():
            yield
    finally:
        ray._private.utils.set_sigterm_handler = take_over
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def few_processes() -> Iterator[None]:
    """Let Ray start for the time of the block without what a search on one machine makes no use of.

    That is the autoscaler, the monitor of logs, and the server of the dashboard: three processes with 270 MB, which take a second
    and a half of a processor while workers import, half a second of waiting at the start and one at the end. Ray has no option for
    them; where a version of it is built otherwise, it starts with all.
    """
    # loaded with ray
    parameter, node = ray._private.parameter, ray._private.node
    parameters, server = getattr(parameter, "RayParams", None), getattr(node.Node, "start_api_server", None)
    if parameters is None or server is None or not {*LEFT_OUT} <= {*inspect.signature(parameters).parameters}:
        yield
        return
    parameter.RayParams = functools.partial(parameters, **LEFT_OUT)
    node.Node.start_api_server = _no_server
    try:
        yield
    finally:
        parameter.RayParams, node.Node.start_api_server = parameters, server


def _no_server(node: Any, **_: Any) -> None:
    node._webui_url = ""


def take_sigterm() -> None:
    """Take SIGTERM in a worker again: it ends the worker, and whatever a network starts there can be ended by it."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def end_ray() -> None:
    """Shut Ray down with every process that it started on this machine; a second Ctrl-C does not cut it short."""
    # Ray brings its own, which can be imported once Ray is
    import psutil  # type: ignore[import-untyped]

    node = getattr(ray._private.worker, "_global_node", None)
    own = []
    if node is not None:
        for _, process in node.live_processes():
            with contextlib.suppress(psutil.Error):
                found = psutil.Process(process.pid)
                own += [found, *found.children(recursive=True)]
        # Ray would send them SIGTERM first and wait a second for each
        kill = node.kill_all_processes
        node.kill_all_processes = lambda **how: kill(**how | {"allow_graceful": False})
    # half shut down, without its raylet and still connected, Ray would end this process
    with interrupts_ignored():
        ray.shutdown()
        for process in own:
            with contextlib.suppress(psutil.Error):
                process.kill()
