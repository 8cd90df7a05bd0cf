"""Unpacking archives that came from elsewhere: nothing is written outside of the folder, nor more than one can honestly hold.

An archive is refused whole, before anything of it is written, where a name leads out of the folder, where it holds links or
devices, or where what it says it holds is more than MOST_TIMES what it is, as in an archive made to fill the disk.
"""

from __future__ import annotations

import gzip
import tarfile
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Final, cast

from tune_lb.errors import RequestError

MOST_TIMES: Final = 50
"""Bytes that a byte of an archive of images may become: pictures become 1 to 7."""
FLOOR_BYTES: Final = 100_000_000
"""What any archive may become."""
CHUNK_BYTES: Final = 1 << 20


def unpack_into(archive: Path, folder: Path) -> None:
    """Unpack a .zip, .tar, .tar.gz or .gz file into a folder that is there. Raises RequestError for what is refused or damaged."""
    most = max(FLOOR_BYTES, MOST_TIMES * archive.stat().st_size)
    try:
        if zipfile.is_zipfile(archive):
            _zip(archive, folder, most)
        elif not (archive.suffix == ".gz" and Path(archive.stem).suffix != ".tar"):
            _tar(archive, folder, most)
        else:
            with gzip.open(archive) as packed:
                _copied(cast(IO[bytes], packed), folder / archive.name.removesuffix(".gz"), most, archive)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, gzip.BadGzipFile) as error:
        raise RequestError(f"{archive} is damaged or no archive: {error}. Get it again") from error


def refuse_bomb(path: Path, packed_bytes: int, unpacked_bytes: int) -> None:
    """Raise RequestError where an archive says that it holds more than it can honestly."""
    if unpacked_bytes > max(FLOOR_BYTES, MOST_TIMES * packed_bytes):
        raise RequestError(
            f"{path} is refused: its {packed_bytes:,} bytes would become {unpacked_bytes:,}, more than {MOST_TIMES} times as many, "
            "as in an archive made to fill a disk or the memory"
        )


def _zip(archive: Path, folder: Path, most: int) -> None:
    with zipfile.ZipFile(archive) as packed:
        entries = packed.infolist()
        _refuse_names(archive, (entry.filename for entry in entries))
        refuse_bomb(archive, archive.stat().st_size, sum(entry.file_size for entry in entries))
        for entry in entries:
            # the upper half of these bits is the mode on Unix, a link being 0o120000
            if entry.external_attr >> 16 & 0o170000 == 0o120000:
                raise _refused(archive, f"{entry.filename!r} is a link")
        left = most
        for entry in entries:
            inside = None if entry.is_dir() else packed.open(entry)
            left -= _written(inside, folder / entry.filename, left, archive)


def _tar(archive: Path, folder: Path, most: int) -> None:
    with tarfile.open(archive) as packed:
        # the entries of a compressed one are known when it was read once; a bomb is noticed on the way
        entries, total = [], 0
        for entry in packed:
            _refuse_names(archive, [entry.name])
            if not (entry.isfile() or entry.isdir()):
                raise _refused(archive, f"{entry.name!r} is a link or a device")
            total += entry.size
            refuse_bomb(archive, archive.stat().st_size, total)
            entries.append(entry)
        left = most
        for entry in entries:
            # none of a folder
            left -= _written(packed.extractfile(entry), folder / entry.name, left, archive)


def _written(inside: IO[bytes] | None, target: Path, most: int, archive: Path) -> int:
    """Write an entry, a folder where it has no inside; return its bytes, as _copied does."""
    if inside is None:
        target.mkdir(parents=True, exist_ok=True)
        return 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with inside:
        return _copied(inside, target, most, archive)


def _copied(inside: IO[bytes], target: Path, most: int, archive: Path) -> int:
    """Write a file; return its bytes. Raises RequestError beyond the most that there may be, whatever the archive said."""
    written = 0
    with target.open("wb") as file:
        while chunk := inside.read(CHUNK_BYTES):
            written += len(chunk)
            if written > most:
                raise _refused(archive, f"it holds more than {MOST_TIMES} times its own bytes")
            file.write(chunk)
    return written


def _refuse_names(archive: Path, names: Iterable[str]) -> None:
    for name in names:
        # both kinds of paths, wherever it is unpacked
        leads_out = any(
            path.is_absolute() or path.drive or ".." in path.parts
            for path in (PurePosixPath(name), PureWindowsPath(name))
        )
        if leads_out or "\0" in name:
            raise _refused(archive, f"{name!r} leads out of the folder")


def _refused(archive: Path, reason: str) -> RequestError:
    return RequestError(f"{archive} is refused: {reason}; nothing of it is used")
