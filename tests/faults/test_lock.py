"""One search at a time on a run: refused while the other lives, free when it is dead, on disks and on object stores."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.killing import REPOSITORY
from tests.results.test_storage import memory_store
from tune_lb.results import lock
from tune_lb.results.lock import FILE, Holder, LockedError, ask_to_stop, held, holder
from tune_lb.results.storage import Store

HOLD = """
import sys, time
from tune_lb.results.lock import held
from tune_lb.results.storage import Store
with held(Store(sys.argv[1]), print):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture(params=["disk", "object store"])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setattr(lock, "SETTLE_S", {True: 0.01, False: 0.01})
    monkeypatch.setattr(lock, "BEAT_S", 0.05)
    return Store(tmp_path / "runs" / "tiny") if request.param == "disk" else memory_store()


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run on the disk."""
    words = [sys.executable, "-c", HOLD, str(tmp_path / "runs" / "tiny")]
    process = subprocess.Popen(
        words, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def elsewhere(store: Store, **changes: object) -> Holder:
    """Write the lock of a holder on a machine that cannot be looked at."""
    found = dataclasses.replace(Holder("far", "m", 7, 1, "2026-01-02T03:04:05+00:00", "t"), **changes)  # type: ignore[arg-type]
    store.write(FILE, json.dumps(dataclasses.asdict(found)).encode())
    return found


def test_held_for_the_time_of_the_block_and_nothing_is_left(store: Store) -> None:
    assert holder(store) is None
    with held(store, print):
        found = holder(store)
        assert found is not None
        assert (found.pid, found.is_here) == (os.getpid(), True)
        with (
            pytest.raises(LockedError, match=f"is being searched by process {os.getpid()} on .* UTC: wait"),
            held(store, print),
        ):
            raise AssertionError
    assert holder(store) is None
    assert not store.exists("")
    assert not Path(store.root).parent.exists()


def test_a_living_process_holds_it_and_a_killed_one_does_not(tmp_path: Path, other: subprocess.Popen[str]) -> None:
    store = Store(tmp_path / "runs" / "tiny")
    with pytest.raises(LockedError) as caught, held(store, print):
        raise AssertionError
    (message,) = caught.value.problems
    assert f"process {other.pid} on" in message
    assert "`python -m tune_lb stop tiny`" in message
    # stopped it lives, however old its last beat is
    other.send_signal(signal.SIGSTOP)
    os.utime(store.root + "/" + FILE, (0, 0))
    assert holder(store) is not None
    other.kill()
    # not waited for: what is left of it waits to be taken away
    end = time.monotonic() + 10
    while holder(store) is not None and time.monotonic() < end:
        time.sleep(0.01)
    with held(store, print):
        pass


def test_on_another_machine_it_is_dead_when_its_beats_have_stopped(tmp_path: Path) -> None:
    store = Store(tmp_path)
    elsewhere(store)
    with (
        pytest.raises(
            LockedError, match=r"process 7 on far, since 2026-01-02 03:04:05 UTC \(if that is dead, .* 60 s after"
        ),
        held(store, print),
    ):
        raise AssertionError
    old = time.time() - lock.DEAD_S - 5
    os.utime(tmp_path / FILE, (old, old))
    with held(store, print):
        assert holder(store) != elsewhere


@pytest.mark.parametrize("contents", [b"", b"{", b"[]", b'{"pid": 1}'])
def test_a_damaged_lock_holds_nothing(store: Store, contents: bytes) -> None:
    store.write(FILE, contents)
    with held(store, print):
        assert holder(store) is not None


def test_of_two_that_begin_together_the_one_that_was_overwritten_gives_way(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock.time, "sleep", lambda seconds: elsewhere(store))
    with pytest.raises(LockedError, match="process 7 on far"), held(store, print):
        raise AssertionError
    assert json.loads(store.read(FILE))["pid"] == 7


def test_it_is_renewed_and_comes_back_when_the_folder_is_removed(store: Store) -> None:
    with held(store, print):
        store.delete_contents()
        end = time.monotonic() + 10
        while not store.exists(FILE) and time.monotonic() < end:
            time.sleep(0.01)
        assert holder(store) is not None


@pytest.mark.parametrize("kind", ["taken", "asked to stop"])
def test_who_has_lost_the_run_is_told(store: Store, kind: str) -> None:
    told: list[str] = []
    event = threading.Event()

    def lost(reason: str) -> None:
        told.append(reason)
        event.set()

    with held(store, lost):
        if kind == "taken":
            elsewhere(store)
        else:
            ask_to_stop(store)
        assert event.wait(10)
    assert [bool(reason) for reason in told] == [kind == "taken"]
    # who took it keeps it
    assert store.exists(FILE) == (kind == "taken")


def test_fresh_leaves_the_lock(tmp_path: Path) -> None:
    store = Store(tmp_path / "runs" / "tiny")
    for name in ("trials/a", "space.json", FILE):
        store.write(name, b"x")
    store.delete_contents(keep=(FILE,))
    assert [path.name for path in (tmp_path / "runs" / "tiny").iterdir()] == [FILE]
