"""Whether Ray's head process still lives: when it is gone nothing else works, and Ray itself says so only after a minute."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

EVERY_S = 2.0
ANSWER_S = 5.0
TIMES = 3
"""So many failures in a row mean that it is gone."""


@contextlib.contextmanager
def head_watched(address: str, gone: Callable[[], None]) -> Iterator[None]:
    """Look at the head process at an address, HOST:PORT, for the time of the block; call gone, in a thread, when it is lost."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(address, gone, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def answers(address: str) -> bool:
    """Say whether anything takes connections at an address, HOST:PORT."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            return True
    except OSError:
        return False


def _watch(address: str, gone: Callable[[], None], over: threading.Event) -> None:
    failures = 0
    while not over.wait(EVERY_S):
        failures = 0 if answers(address) else failures + 1
        if failures >= TIMES and not over.is_set():
            gone()
            return
