"""Whether Ray still lives: when its head process is gone nothing works, and Ray says so only after a minute; when the raylet of
this machine is gone Ray ends this process, without a word that a user could do anything with.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from tune_lb.tuning.cluster import Session

EVERY_S = 0.25
ANSWER_S = 5.0
HEAD_EVERY = 8
"""The head is asked at so many of the looks at the raylet: it may be on another machine."""

TIMES = 3
"""So many failures in a row mean that the head is gone. A raylet of this machine that refuses is, at once."""


@contextlib.contextmanager
def ray_watched(session: Session, gone: Callable[[], None]) -> Iterator[None]:
    """Look at the head process and at this machine's raylet for the time of the block; call gone, in a thread, when one is lost."""
    over = threading.Event()
    threading.Thread(target=_watch, args=(session, gone, over), daemon=True).start()
    try:
        yield
    finally:
        over.set()


def lives(session: Session) -> bool:
    """Say whether both are there."""
    return answers(session.head) and not refuses(session.raylet)


def answers(address: str) -> bool:
    """Say whether anything takes connections at an address, HOST:PORT."""
    return _problem(address) is None


def refuses(address: str) -> bool:
    """Say whether nothing listens at an address of this machine, HOST:PORT; False where it is ""."""
    return address != "" and isinstance(_problem(address), ConnectionRefusedError)


def _problem(address: str) -> OSError | None:
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=ANSWER_S):
            return None
    except OSError as error:
        return error


def _watch(session: Session, gone: Callable[[], None], over: threading.Event) -> None:
    failures = looks = 0
    while not over.wait(EVERY_S):
        looks += 1
        lost = refuses(session.raylet)
        if looks % HEAD_EVERY == 0:
            failures = 0 if answers(session.head) else failures + 1
        if (lost or failures >= TIMES) and not over.is_set():
            gone()
            return
