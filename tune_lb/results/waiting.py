"""Waiting for a storage that does not answer for a while: a search that trains goes on when it does, and says so.

Only object stores and other remote file systems are waited for, and only inside `storage_waited_for`: what begins, or only reads,
says at once what is wrong. What a server refuses for good (a name that is not there, a permission) is not waited for.
"""

from __future__ import annotations

import contextlib
import functools
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Concatenate, Final, ParamSpec, Protocol, TypeVar, cast

from tune_lb.results.locations import DamagedError, StorageError

LONGEST_S: Final = 600.0
"""How long a storage is waited for, in seconds; the variable TUNE_LB_STORAGE_WAIT sets another number, 0 none."""

PAUSE_S: Final = 3.0
"""Between two tries; pyarrow has tried for some seconds before each says no."""

PASSING: Final = re.compile(
    r"AWS Error (NETWORK_CONNECTION|SERVICE_UNAVAILABLE|INTERNAL_FAILURE|SLOW_DOWN|THROTTLING|REQUEST_TIMEOUT|REQUEST_EXPIRED)"
    r"|HTTP status (429|5\d\d)|curlCode: \d+|\bUNAVAILABLE\b|DEADLINE_EXCEEDED|timed? ?out"
    r"|connection (reset|refused|closed|aborted)",
    re.I,
)
"""What passes, in the words of pyarrow's file systems."""

P = ParamSpec("P")
R = TypeVar("R")


class _Place(Protocol):
    location: str

    @property
    def is_local(self) -> bool: ...


S = TypeVar("S", bound=_Place)


class _Waits:
    """Whether this process waits, and since when. One outage is said once, whoever meets it."""

    def __init__(self) -> None:
        self.longest_s = 0.0
        self.say: Callable[[str], None] = lambda line: None
        self.since: float | None = None
        self.lock = threading.Lock()

    def begun(self, place: str, reason: str) -> None:
        with self.lock:
            if self.since is not None:
                return
            self.since = time.monotonic()
        self.say(
            f"storage: {place} does not answer ({reason}); waiting for up to {self.longest_s / 60:.0f} min, nothing is lost until "
            "then"
        )

    def ended(self) -> None:
        with self.lock:
            since, self.since = self.since, None
        if since is not None:
            self.say(f"storage: it answers again after {time.monotonic() - since:.0f} s; the search goes on")


_waits = _Waits()


@contextlib.contextmanager
def storage_waited_for(say: Callable[[str], None] = lambda line: None) -> Iterator[None]:
    """Wait for a storage that fails for a while, for the time of the block. say: is told when that begins and ends."""
    start_to_wait(say)
    try:
        yield
    finally:
        _waits.longest_s, _waits.say, _waits.since = 0.0, lambda line: None, None


def start_to_wait(say: Callable[[str], None] = lambda line: None) -> None:
    """Wait so from now on, as workers do."""
    _waits.longest_s, _waits.say = float(os.environ.get("TUNE_LB_STORAGE_WAIT", LONGEST_S)), say


def waited(method: Callable[Concatenate[S, P], R]) -> Callable[Concatenate[S, P], R]:
    """Return a method of a storage that waits and tries again where what it failed of passes."""

    @functools.wraps(method)
    def patient(self: S, *arguments: P.args, **named: P.kwargs) -> R:
        if _waits.longest_s <= 0 or self.is_local:
            return method(self, *arguments, **named)
        end = time.monotonic() + _waits.longest_s
        while True:
            try:
                found = method(self, *arguments, **named)
            except StorageError as error:
                if isinstance(error, DamagedError) or not passes(error.__cause__):
                    raise
                if _waits.longest_s <= 0 or time.monotonic() > end:
                    raise
                _waits.begun(self.location, _short(error.__cause__))
                time.sleep(PAUSE_S)
            else:
                if _waits.since is not None:
                    _waits.ended()
                return found

    return cast("Callable[Concatenate[S, P], R]", patient)


def passes(error: BaseException | None) -> bool:
    """Say whether what a file system raised is of the kind that passes."""
    return isinstance(error, OSError) and PASSING.search(str(error)) is not None


def _short(error: Any) -> str:
    """Return the last words of what pyarrow says."""
    return str(error).rpartition("; Details: ")[2].rpartition(" operation: ")[2][:160]
