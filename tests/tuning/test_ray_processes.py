"""What is started while SIGTERM is blocked does not take it; the program itself does."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import ray

from tune_lb.tuning.cluster import ray_session
from tune_lb.tuning.ray_processes import few_processes, sigterm_blocked, take_sigterm
from tune_lb.tuning.signals import sigterm_interrupts

LOOK = "import signal; print(signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, []))"


def blocked_in_a_child() -> bool:
    return subprocess.run([sys.executable, "-I", "-S", "-c", LOOK], capture_output=True, check=True).stdout == b"True\n"


def test_children_do_not_take_it_and_this_process_does() -> None:
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():  # noqa: PT012
        taken_by = signal.getsignal(signal.SIGTERM)
        with sigterm_blocked():
            # as ray.init does
            ray._private.utils.set_sigterm_handler(signal.SIG_DFL)
            assert blocked_in_a_child()
            assert signal.getsignal(signal.SIGTERM) is taken_by
        assert not blocked_in_a_child()
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
        raise AssertionError("it was not taken")


def test_a_worker_takes_it_again() -> None:
    with sigterm_blocked():
        take_sigterm()
        assert not blocked_in_a_child()
    assert not blocked_in_a_child()


def test_what_ray_starts_besides_is_put_back_and_left_as_it_is_where_it_is_built_otherwise(monkeypatch) -> None:
    parameter, node = ray._private.parameter, ray._private.node.Node
    before = parameter.RayParams, node.start_api_server
    with pytest.raises(KeyError), few_processes():  # noqa: PT012
        assert parameter.RayParams().no_monitor
        assert parameter.RayParams is not before[0]
        assert node.start_api_server is not before[1]
        raise KeyError
    assert (parameter.RayParams, node.start_api_server) == before
    monkeypatch.setattr(parameter, "RayParams", lambda num_cpus: None)
    other = parameter.RayParams
    with few_processes():
        assert (parameter.RayParams, node.start_api_server) == (other, before[1])


@pytest.mark.ray
def test_a_search_on_this_machine_has_the_processes_that_it_needs_and_no_others() -> None:
    import psutil  # Ray's own, which can be imported once Ray is

    with ray_session(None, 1):
        of_ray = set()
        for process in psutil.Process().children():
            with contextlib.suppress(psutil.Error):  # one of an earlier test may have ended
                of_ray |= {Path(part).name for part in process.cmdline()[:3]}
        assert {"gcs_server", "raylet"} <= of_ray
        assert not {"monitor.py", "log_monitor.py", "dashboard.py"} & of_ray
        assert ray.get(ray.remote(lambda: 3).remote()) == 3
    assert not ray.is_initialized()
