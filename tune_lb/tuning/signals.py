"""Interruption: what a batch system or an operator sends (SIGTERM) is taken like Ctrl-C (SIGINT).

Both raise KeyboardInterrupt in the main thread. `tuner.search` then stops Ray's workers and merges what is stored; the
command says how to go on and ends with exit code 130 (cli/search.py).
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_CAME = threading.Event()


@contextlib.contextmanager
def sigterm_interrupts() -> Iterator[None]:
    """Raise KeyboardInterrupt in the main thread on SIGTERM; elsewhere than in the main thread, change nothing."""
    with sigterm_kept():
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _interrupt)
        yield


@contextlib.contextmanager
def sigterm_kept() -> Iterator[None]:
    """Put back at the end what SIGTERM did before: ray.init() takes it over."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        # None: set by something that is not Python, which cannot be put back
        if before is not None and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def interrupts_ignored() -> Iterator[None]:
    """Take no Ctrl-C and no SIGTERM for the time of the block, a short one; elsewhere than in the main thread, change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # functions, as what is ignored by the system is handed on to processes that are started
    before = {number: signal.signal(number, _ignore) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def interrupted() -> bool:
    """Say whether a SIGTERM came."""
    return _CAME.is_set()


def _interrupt(number: int, frame: FrameType | None) -> None:
    _CAME.set()
    raise KeyboardInterrupt


def _ignore(number: int, frame: FrameType | None) -> None:
    pass
