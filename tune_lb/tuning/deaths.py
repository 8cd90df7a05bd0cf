"""What a worker died of, from what Ray says and what the worker wrote last."""

from __future__ import annotations

import os
import re
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tune_lb.errors import is_library

EXIT: Final = "tune_lb: this process ends itself with exit code"
"""What a worker writes before it ends itself."""

_FULL: Final = re.compile(r"running low on memory|OutOfMemoryError|memory monitor", re.I)


LESS_MEMORY: Final = "fewer --max-concurrent, a smaller batch or microbatch"

_GPU_FULL: Final = re.compile(r"torch\.OutOfMemoryError|(CUDA|HIP) out of memory")

_LOST: Final = re.compile(r"its node has died|node was (preempted|drained|terminated)|NodeDiedError", re.I)

_KILLED: Final = "the worker was killed from outside"


class Death(NamedTuple):
    """What a worker died of.

    itself: by what ran in it, as it will again. outside: by a hand from outside, which says nothing of the job. lost: its node is.
    """

    cause: str
    itself: bool
    outside: bool = False
    lost: bool = False
    share_too_small: bool = False
    """Whether its share of a GPU was."""


def memory_kills(places: Sequence[Path] = (Path("/proc/vmstat"), Path("/sys/fs/cgroup/memory.events"))) -> int:
    """Return how many processes the system has killed on this machine, or in this container, since memory was full."""
    found = 0
    for place in places:
        if place.is_file():
            counts = dict(line.split() for line in place.read_text().splitlines() if len(line.split()) == 2)
            found += int(counts.get("oom_kill", 0))
    return found


def death_of(said: str, logs: Path | None, memory_was_full: bool = False) -> Death:
    """Return what a worker died of. said: Ray's error; logs: folder of the session's logs, if it is on this machine.

    memory_was_full: whether the system of this machine has killed anything for that lately.
    """
    if _LOST.search(said):
        return Death(
            "the node of the worker was lost (its machine ended, was taken away, or Ray on it)", False, True, True
        )
    if "temporarily unavailable" in said:
        return Death("the worker could not be reached any more (its node is gone, or the network)", False, True)
    if _GPU_FULL.search(said):
        return Death("the memory of the GPU was full", True, share_too_small=True)
    if _FULL.search(said):
        return Death(f"the worker died: the machine's memory was full, and Ray ended it ({LESS_MEMORY})", True)
    pids = re.findall(r"pid: ?(\d+)", said)
    words = _last_words(logs, pids[-1]) if logs is not None and pids else ""
    if found := re.search(r"\*\*\* (SIG\w+) received", words):
        return Death(f"the worker died of {found[1]}{_place(words)}", True)
    if found := re.search(rf"{EXIT} (-?\d+)(.*)", words) or re.search(r"exit code (\d+)()", said):
        return Death(f"the worker ended itself with exit code {found[1]}{found[2]}", True)
    if pids and words and memory_was_full:
        return Death(f"{_KILLED}: the machine's memory was full, and the system did it ({LESS_MEMORY})", True)
    if pids and words:
        return Death(f"{_KILLED} (SIGKILL)", False, True)
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
