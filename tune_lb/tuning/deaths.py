"""What a worker died of, from what Ray says and what the worker wrote last."""

from __future__ import annotations

import os
import re
import traceback
from pathlib import Path
from typing import Any, Final, NamedTuple

from tune_lb.errors import is_library

EXIT: Final = "tune_lb: this process ends itself with exit code"
"""What a worker writes before it ends itself."""

_FULL: Final = re.compile(r"running low on memory|OutOfMemoryError|memory monitor", re.I)


class Death(NamedTuple):
    """What a worker died of. itself: whether it ended by what ran in it, as it will again, and not by a hand from outside."""

    cause: str
    itself: bool


def death_of(said: str, logs: Path | None) -> Death:
    """Return what a worker died of. said: Ray's error; logs: folder of the session's logs, if it is on this machine."""
    if _FULL.search(said):
        advice = "fewer --max-concurrent, a smaller batch or microbatch"
        return Death(f"the worker died: the machine's memory was full, and Ray ended it ({advice})", True)
    pids = re.findall(r"pid: ?(\d+)", said)
    words = _last_words(logs, pids[-1]) if logs is not None and pids else ""
    if found := re.search(r"\*\*\* (SIG\w+) received", words):
        return Death(f"the worker died of {found[1]}{_place(words)}", True)
    if found := re.search(rf"{EXIT} (-?\d+)(.*)", words) or re.search(r"exit code (\d+)()", said):
        return Death(f"the worker ended itself with exit code {found[1]}{found[2]}", True)
    if pids and words:
        return Death("the worker was killed from outside (SIGKILL, as the system does where memory is full)", False)
    lines = [line for line in said.strip().splitlines() if line.strip()]
    return Death(f"the worker died: {' '.join(lines[-1].split())[:300]}" if lines else "the worker died", False)


def say_exits() -> None:
    """Let this process say that it ends itself, and where that is asked for, before os._exit ends it."""
    leave = os._exit

    def said(status: Any) -> None:
        place = next((f" ({f.filename}:{f.lineno})" for f in reversed(traceback.extract_stack()[:-1])), "")
        os.write(2, f"\n{EXIT} {status}{place}\n".encode())
        leave(status)

    os._exit = said  # type: ignore[assignment]


def _last_words(logs: Path, pid: str) -> str:
    """Return the end of what a worker wrote to its standard error; "" where that is not on this machine."""
    for path in logs.glob(f"worker-*-{pid}.err"):
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 20_000))
            return file.read().decode(errors="replace") or " "
    return ""


def _place(words: str) -> str:
    """Return where in the user's own code a process was, from the stack that it wrote last."""
    stack = re.findall(r'^  File "([^"]+)", line (\d+)', words.rpartition("most recent call first")[2], re.M)
    for file, line in stack:
        if not is_library(file):
            return f" ({file}:{line})"
    return ""
