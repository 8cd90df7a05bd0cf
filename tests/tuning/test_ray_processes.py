"""What is started while SIGTERM is blocked does not take it; the program itself does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest
import ray

from tune_lb.tuning.ray_processes import sigterm_blocked, take_sigterm
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
