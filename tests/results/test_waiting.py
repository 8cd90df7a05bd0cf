"""A storage that does not answer for a while: an S3 server on this machine, stopped and started again."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.object_store import ObjectStore
from tune_lb.results import waiting
from tune_lb.results.locations import StorageError
from tune_lb.results.storage import Store
from tune_lb.results.waiting import passes, storage_waited_for


@pytest.fixture(scope="module")
def server() -> Iterator[ObjectStore]:
    pytest.importorskip("moto.server", reason="needs moto (pip install 'moto[s3]' flask flask-cors)")
    found = ObjectStore()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in found.environment().items():
            patch.setenv(name, value)
        yield found
    found.stop()


@pytest.mark.slow
def test_an_object_store_that_comes_back_is_waited_for(server: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Endpoint and credentials are the environment's."""
    monkeypatch.setattr(waiting, "PAUSE_S", 0.1)
    store, said = Store("s3://bucket/runs/mine"), list[str]()
    store.write("a", b"first")
    server.stop()

    def say(line: str) -> None:
        if not said:
            server.start()
        said.append(line)

    with storage_waited_for(say):
        store.write("b", b"second")
    assert (store.read("a"), store.read("b"), store.list()) == (b"first", b"second", ["a", "b"])
    assert [line.partition(" (")[0] for line in said] == [
        "storage: s3://bucket/runs/mine does not answer",
        said[-1],
    ]
    assert "waiting for up to 10 min" in said[0]
    assert said[1].startswith("storage: it answers again after ")


def test_what_a_server_refuses_for_good_is_not_waited_for(server: ObjectStore) -> None:
    said: list[str] = []
    with storage_waited_for(said.append), pytest.raises(StorageError, match="NO_SUCH_BUCKET"):
        Store("s3://nobody/runs").write("a", b"")
    assert said == [], "the first wait is said before it begins"


class Fails:
    """A storage as far as waiting is concerned."""

    location, is_local = "s3://x", False

    def __init__(self, times: int, cause: OSError) -> None:
        self.left, self.cause = times, cause

    @waiting.waited
    def read(self) -> str:
        self.left -= 1
        if self.left >= 0:
            raise StorageError("storage: cannot read") from self.cause
        return "read"


REFUSED = OSError("AWS Error NETWORK_CONNECTION during HeadObject operation: curlCode: 7, Could not connect to server")


def test_it_is_tried_until_it_works_and_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAUSE_S", 0.0)
    said: list[str] = []
    with storage_waited_for(said.append):
        assert Fails(5, REFUSED).read() == "read"
        assert len(said) == 2
        assert Fails(1, REFUSED).read() == "read"
    assert len(said) == 4, "a second outage is said too"
    with pytest.raises(StorageError):
        Fails(1, REFUSED).read()


def test_it_is_not_waited_for_longer_than_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "PAUSE_S", 0.01)
    monkeypatch.setenv("TUNE_LB_STORAGE_WAIT", "0.05")
    with storage_waited_for(), pytest.raises(StorageError):
        Fails(10**6, REFUSED).read()
    monkeypatch.setenv("TUNE_LB_STORAGE_WAIT", "0")
    with storage_waited_for(), pytest.raises(StorageError):
        Fails(1, REFUSED).read()


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("AWS Error SLOW_DOWN during PutObject operation: reduce your request rate", True),
        ("AWS Error UNKNOWN (HTTP status 503) during HeadObject operation: No response body.", True),
        ("google::cloud::Status(UNAVAILABLE: error)", True),
        ("AWS Error ACCESS_DENIED during PutObject operation: no", False),
        ("AWS Error NO_SUCH_BUCKET during CreateMultipartUpload operation: it does not exist", False),
        ("AWS Error UNKNOWN (HTTP status 403) during HeadBucket operation: No response body.", False),
    ],
)
def test_what_passes(said: str, expected: bool) -> None:
    assert passes(OSError(said)) is expected
