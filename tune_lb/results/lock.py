"""One search at a time on a run, on any storage: a file that says who searches, renewed while it does.

Object stores have no locks of their own, so a holder shows that it lives by writing lock.json anew every BEAT_S seconds. It
counts as dead when its process is gone, which is known on the machine that it ran on, or when the file is older than DEAD_S
by the storage's clock. Two that begin in the same moment both write, look again a little later, and the one that was
overwritten gives way; if both saw themselves, the next beat tells. Cost: a read and a write of 300 bytes every BEAT_S.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tune_lb.errors import PROGRAM, RequestError
from tune_lb.results.storage import Store

FILE: Final = "lock.json"
STOP: Final = "stop.json"
"""There for a holder on another machine that is asked to stop."""

BEAT_S: Final = 10.0
DEAD_S: Final = 60.0
"""Age of the file after which a holder that cannot be looked at counts as dead."""

SETTLE_S: Final = {True: 0.2, False: 1.0}
"""How long to wait before looking again, on this machine's disks and elsewhere."""


class LockedError(RequestError):
    """Another search works on the run."""


@dataclass(frozen=True)
class Holder:
    """Who searches a run. machine: its boot and process namespace. started: clock ticks of the process's start. since: UTC."""

    host: str
    machine: str
    pid: int
    started: int
    since: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since.replace('T', ' ').partition('+')[0]} UTC"

    @property
    def is_here(self) -> bool:
        """Whether its process can be looked at from this one."""
        return (self.host, self.machine) == (socket.gethostname(), _machine())


def holder(run: Store) -> Holder | None:
    """Return who searches a run; None where nobody does, or whoever did is dead."""
    found = _read(run)
    return None if found is None or _is_dead(run, found) else found


@contextlib.contextmanager
def held(run: Store, lost: Callable[[str], None]) -> Iterator[None]:
    """Hold a run for the time of the block. Raises LockedError, which says by whom it is held already.

    lost: told, from another thread, why the run is no longer this process's: another took it, or `tune-lb stop` asks for an end.
    """
    own = Holder(
        socket.gethostname(),
        _machine(),
        os.getpid(),
        _started(os.getpid()) or 0,
        datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        secrets.token_hex(8),
    )
    other = holder(run)
    if other is not None:
        raise _locked(run, other)
    made = run.missing_folders()
    _write(run, own)
    time.sleep(SETTLE_S[run.is_local])
    other = _read(run)
    if other is not None and other.token != own.token:
        raise _locked(run, other)
    run.delete(STOP)
    over = threading.Event()
    beats = threading.Thread(target=_beat, args=(run, own, lost, over), daemon=True)
    beats.start()
    try:
        yield
    finally:
        over.set()
        beats.join(BEAT_S)
        # what the storage refuses now was said before
        with contextlib.suppress(RequestError):
            last = _read(run)
            if last is not None and last.token == own.token:
                run.delete(FILE)
            run.delete_if_empty(made)


def ask_to_stop(run: Store) -> None:
    """Ask the holder of a run, wherever it is, to stop: it looks every BEAT_S."""
    run.write(STOP, json.dumps({"asked_by": f"{os.getpid()} on {socket.gethostname()}"}).encode())


def _beat(run: Store, own: Holder, lost: Callable[[str], None], over: threading.Event) -> None:
    while not over.wait(BEAT_S):
        # a storage that fails for a while is no reason to end: whoever stores results says what is wrong
        with contextlib.suppress(RequestError):
            found = _read(run)
            if found is not None and found.token != own.token:
                lost(f"{found} has taken over the run: this search was silent for more than {DEAD_S:.0f} s")
                return
            if run.exists(STOP):
                run.delete(STOP)
                lost("")
                return
            if not over.is_set():
                _write(run, own)


def _locked(run: Store, other: Holder) -> LockedError:
    name = run.location.rpartition("/")[2]
    dead = "" if other.is_here else f" (if that is dead, the run is free {DEAD_S:.0f} s after its last sign of life)"
    return LockedError(
        f"run {name!r} is being searched by {other}{dead}: wait for it, end it (Ctrl-C there, or `{PROGRAM} stop {name}`), "
        "or take another --name"
    )


def _read(run: Store) -> Holder | None:
    """Return what the file says; None where there is none, or it is of no use."""
    try:
        return Holder(**json.loads(run.read(FILE))) if run.exists(FILE) else None
    except (RequestError, ValueError, TypeError):
        return None


def _write(run: Store, own: Holder) -> None:
    run.write(FILE, json.dumps(asdict(own)).encode())


def _is_dead(run: Store, found: Holder) -> bool:
    if found.is_here:
        return _started(found.pid) != found.started
    changed, now = run.changed_at(FILE), run.check_writable()
    return changed is not None and now is not None and now - changed > DEAD_S


def _machine() -> str:
    """Return what tells this machine's processes, since it was started, from all others; containers have their own."""
    with contextlib.suppress(OSError):
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    return ""


def _started(pid: int) -> int | None:
    """Return when a process of this machine was started, in clock ticks; None where it is gone, or waits to be taken away."""
    try:
        # the name before it may hold anything
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
        with contextlib.suppress(PermissionError):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return None
        return 0
    return None if fields[0] in "ZX" else int(fields[19])
