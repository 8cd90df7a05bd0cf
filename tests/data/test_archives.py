"""Archives from elsewhere: what leads out of the folder, links, and what would fill the disk is refused before it is written."""

from __future__ import annotations

import gzip
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tune_lb.data import archives
from tune_lb.data.archives import unpack_into
from tune_lb.data.npz import read_arrays
from tune_lb.errors import RequestError

OUT = ["../taken", "a/../../taken", "/tmp/tune_lb_taken", "C:\\taken", "..\\taken", "\\\\host\\share"]


def zipped(path: Path, name: str, content: bytes = b"x", mode: int = 0o644) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("first", b"first")
        entry = zipfile.ZipInfo(name)
        # ZipInfo makes slashes of this system's own separator
        entry.filename = name
        entry.external_attr = mode << 16
        archive.writestr(entry, content, zipfile.ZIP_DEFLATED)


def tarred(path: Path, name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE) -> None:
    with tarfile.open(path, "w:gz") as archive:
        for own, data, of in (("first", b"first", tarfile.REGTYPE), (name, content, kind)):
            entry = tarfile.TarInfo(own)
            entry.type, entry.linkname = of, "/etc/passwd"
            entry.size = len(data) if of == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(data) if of == tarfile.REGTYPE else None)


@pytest.mark.parametrize("name", OUT)
@pytest.mark.parametrize("pack", [zipped, tarred])
def test_names_that_lead_out_are_refused(pack: Callable[[Path, str], None], name: str, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "folder"
    folder.mkdir(parents=True)
    pack(tmp_path / "archive", name)
    with pytest.raises(RequestError, match=r"archive is refused: .* leads out of the folder; nothing of it is used"):
        unpack_into(tmp_path / "archive", folder)
    assert list(folder.iterdir()) == [], "not what came before it either"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive", "deep", "folder"]
    assert not Path("/tmp/tune_lb_taken").exists()


def test_links_and_devices_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE):
        tarred(tmp_path / "archive", "link", kind=kind)
        with pytest.raises(RequestError, match="'link' is a link or a device"):
            unpack_into(tmp_path / "archive", folder)
    zipped(tmp_path / "archive", "link", b"/etc/passwd", stat.S_IFLNK | 0o777)
    with pytest.raises(RequestError, match="'link' is a link"):
        unpack_into(tmp_path / "archive", folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("pack", ["zip", "tar", "gz"])
def test_what_would_fill_the_disk_is_refused(pack: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FLOOR_BYTES", 100_000)
    bomb, folder = bytes(3_000_000), tmp_path / "folder"
    folder.mkdir()
    path = tmp_path / ("archive.tar.gz" if pack == "tar" else f"archive.{pack}")
    if pack == "gz":
        path.write_bytes(gzip.compress(bomb))
    else:
        {"zip": zipped, "tar": tarred}[pack](path, "zeros", bomb)
    assert path.stat().st_size < 10_000
    with pytest.raises(RequestError, match=r"is refused: .*50 times"):
        unpack_into(path, folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


def test_a_zip_that_says_less_than_it_holds_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FLOOR_BYTES", 100_000)
    path, folder = tmp_path / "archive.zip", tmp_path / "folder"
    folder.mkdir()
    zipped(path, "zeros", bytes(3_000_000))
    true, said = (3_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(true, said))
    with pytest.raises(RequestError, match=r"damaged|refused"):
        unpack_into(path, folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) < 1_000_000


@pytest.mark.parametrize("pack", [zipped, tarred])
def test_what_is_honest_is_unpacked(pack: Callable[[Path, str, bytes], None], tmp_path: Path) -> None:
    content = np.random.default_rng(0).bytes(5000)
    pack(tmp_path / "archive", "a/deep/file.bin", content)
    (tmp_path / "folder").mkdir()
    unpack_into(tmp_path / "archive", tmp_path / "folder")
    assert (tmp_path / "folder" / "a" / "deep" / "file.bin").read_bytes() == content
    assert (tmp_path / "folder" / "first").read_bytes() == b"first"


def test_an_array_that_is_a_bomb_or_lies_of_its_size_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "data.npz"
    np.savez_compressed(path, images=np.zeros((3000, 8, 8), np.uint8), labels=np.zeros(3000, np.int64))
    assert len(read_arrays(path)["labels"]) == 3000
    monkeypatch.setattr(archives, "FLOOR_BYTES", 10_000)
    with pytest.raises(
        RequestError, match=r"data.npz is refused: its [\d,]+ bytes would become [\d,]+, more than 50 times"
    ):
        read_arrays(path)
    monkeypatch.undo()
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"descr": "<f8", "fortran_order": False, "shape": (10**12, 10**6)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", content.getvalue() + bytes(64))
    with pytest.raises(RequestError, match=r"images.npy is said to be 8,000,000,000,000,000,000 bytes"):
        read_arrays(path)
