"""Ray is looked at: who does not listen any more is gone."""

from __future__ import annotations

import socket
import threading

import pytest

from tune_lb.tuning import head_watch
from tune_lb.tuning.cluster import Session
from tune_lb.tuning.head_watch import lives, ray_watched, refuses


def listening() -> tuple[socket.socket, str]:
    found = socket.create_server(("127.0.0.1", 0))
    return found, f"127.0.0.1:{found.getsockname()[1]}"


@pytest.mark.parametrize("lost", ["head", "raylet"])
def test_the_end_of_either_is_told_once(lost: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_watch, "EVERY_S", 0.005)
    (head, head_address), (raylet, raylet_address) = listening(), listening()
    session, gone = Session(head_address, raylet_address, None), threading.Semaphore(0)
    with head, raylet, ray_watched(session, gone.release):
        assert not gone.acquire(timeout=0.2)
        assert lives(session)
        {"head": head, "raylet": raylet}[lost].close()
        assert gone.acquire(timeout=20)
        assert not lives(session)
        assert not gone.acquire(timeout=0.2)


def test_a_raylet_that_is_not_known_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_watch, "EVERY_S", 0.005)
    head, address = listening()
    gone = threading.Event()
    with head, ray_watched(Session(address, "", None), gone.set):
        assert not gone.wait(0.2)
    assert not refuses("")
