"""Downloads: resumed, checked, and moved into place whole or not at all."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torchvision.datasets as published

from tune_lb.data.catalogue import ENTRIES, Entry, RemoteFile, entry
from tune_lb.data.download import download, fetch
from tune_lb.errors import RequestError

CONTENT = np.random.default_rng(0).bytes(1_000_000)


class Handler(BaseHTTPRequestHandler):
    """Serves one file with ranges; may cut the connection, and may not know ranges."""

    cut_after: int | None = None
    ranges = True
    content = CONTENT
    asked: ClassVar[list[str | None]] = []

    def do_GET(self) -> None:
        kind = type(self)
        kind.asked.append(self.headers.get("Range"))
        start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-")) if "Range" in self.headers else 0
        if not kind.ranges:
            start = 0
        if start >= len(kind.content):
            self.send_error(416)
            return
        rest = kind.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(rest)))
        self.end_headers()
        self.wfile.write(rest[: kind.cut_after])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[ThreadingHTTPServer]:
    Handler.cut_after, Handler.ranges, Handler.content, Handler.asked = None, True, CONTENT, []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def remote(server, content=CONTENT, path="sets/file.bin"):
    url = f"http://127.0.0.1:{server.server_address[1]}/file.bin"
    return RemoteFile(path, (url,), hashlib.md5(content).hexdigest(), len(content))


def nothing(*_):
    pass


def test_a_file_comes_whole_with_its_progress_and_only_once(server, tmp_path):
    seen = []
    path = fetch(remote(server), tmp_path, lambda file, there, total: seen.append((there, total)))
    assert path == tmp_path / "sets" / "file.bin"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (1_000_000, 1_000_000)
    assert [there for there, _ in seen] == sorted(there for there, _ in seen)
    fetch(remote(server), tmp_path, nothing)
    assert len(Handler.asked) == 1
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


@pytest.mark.parametrize("ranges", [True, False])
def test_what_came_before_the_connection_broke_is_kept(server, tmp_path, ranges):
    Handler.cut_after = 400_000
    with pytest.raises(RequestError) as raised:
        fetch(remote(server), tmp_path, nothing)
    (line,) = raised.value.problems
    assert "400,000" in line
    assert "goes on" in line
    assert not (tmp_path / "sets" / "file.bin").exists()
    Handler.cut_after, Handler.ranges = None, ranges
    assert fetch(remote(server), tmp_path, nothing).read_bytes() == CONTENT
    assert Handler.asked == [None, "bytes=400000-"]


def test_a_part_that_is_complete_is_taken_and_one_too_long_is_not(server, tmp_path):
    (tmp_path / "sets").mkdir()
    part = tmp_path / "sets" / ".file.bin.part"
    part.write_bytes(CONTENT)
    assert fetch(remote(server), tmp_path, nothing).read_bytes() == CONTENT
    (tmp_path / "sets" / "file.bin").unlink()
    part.write_bytes(CONTENT + b"more")
    assert fetch(remote(server), tmp_path, nothing).read_bytes() == CONTENT


def test_another_content_is_deleted_and_said(server, tmp_path):
    Handler.content = CONTENT[:-1] + b"?"
    with pytest.raises(RequestError, match="another checksum") as raised:
        fetch(remote(server), tmp_path, nothing)
    assert str(tmp_path / "sets" / "file.bin") in raised.value.problems[0]
    assert list((tmp_path / "sets").iterdir()) == []


def test_no_network_is_one_message_and_the_next_mirror_is_tried(server, tmp_path):
    server_file = remote(server)
    nowhere = "http://127.0.0.1:9/file.bin"
    both = server_file._replace(urls=(nowhere, *server_file.urls))
    assert fetch(both, tmp_path, nothing).read_bytes() == CONTENT
    with pytest.raises(RequestError) as raised:
        fetch(server_file._replace(urls=(nowhere,), path="other.bin"), tmp_path, nothing)
    (line,) = raised.value.problems
    assert all(word in line for word in (nowhere, "Without a network", str(tmp_path / "other.bin")))


def tarred(**files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(f"folder/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def test_an_archive_is_unpacked_in_the_place_of_what_was_damaged(server, tmp_path):
    Handler.content = tarred(a=b"1", b=b"22")
    file = remote(server, Handler.content, "archive.tar.gz")
    of = Entry("Set", "", "", {"x": ("place/folder",)}, (file,), (("folder", "place/folder"),))
    (tmp_path / "place" / "folder").mkdir(parents=True)
    (tmp_path / "place" / "folder" / "old").write_text("half")
    download(of, tmp_path, nothing)
    assert sorted((p.name, p.read_bytes()) for p in (tmp_path / "place" / "folder").iterdir()) == [
        ("a", b"1"),
        ("b", b"22"),
    ]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["archive.tar.gz", "place"]


def test_a_disk_error_is_a_message(server, tmp_path):
    (tmp_path / "sets").write_text("a file where a folder must be")
    of = Entry("Set", "", "", {}, (remote(server),), ())
    with pytest.raises(RequestError, match="Set could not be written under"):
        download(of, tmp_path, nothing)


def test_what_has_no_public_file_says_so():
    with pytest.raises(RequestError, match="LDC"):
        download(entry("TIMIT"), Path("nowhere"), nothing)


def test_addresses_and_checksums_are_torchvisions():
    for name in ("MNIST", "FashionMNIST"):
        kind = getattr(published, name)
        files = entry(name).downloads
        assert [(Path(file.path).name, file.md5) for file in files] == list(kind.resources)
        assert [file.urls for file in files] == [tuple(m + n for m in kind.mirrors) for n, _ in kind.resources]
    for name in ("CIFAR10", "CIFAR100"):
        kind, (file,) = getattr(published, name), entry(name).downloads
        assert (file.urls, file.md5, file.path) == ((kind.url,), kind.tgz_md5, kind.filename)
        assert entry(name).unpacked == ((kind.base_folder, kind.base_folder),)
    for found in ENTRIES:
        first = next(iter(found.forms.values()), ())
        places = [place for _, place in found.unpacked]
        assert not places or all(any(p.startswith(place) for place in places) for p in found.forms.get("folder", first))
