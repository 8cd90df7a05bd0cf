"""Getting a built-in data set: files that are resumed and checked, unpacked aside, and moved into place when whole."""

from __future__ import annotations

import hashlib
import http.client
import shutil
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from tune_lb.data.archives import unpack_into
from tune_lb.data.catalogue import Entry, RemoteFile
from tune_lb.errors import RequestError

CHUNK_BYTES = 1 << 18
TIMEOUT_S = 30.0
RANGE_NOT_SATISFIABLE = 416

Progress = Callable[[RemoteFile, int, int], None]
"""(file, bytes there, bytes in all) -> None; called after every chunk."""


def download(of: Entry, root: Path, progress: Progress) -> None:
    """Get the files of a data set and unpack them under root; what is half done by an earlier call is gone on with.

    Raises RequestError where there is no public file, the network fails, a checksum differs, or the disk is full.
    """
    if not of.downloads:
        raise RequestError(f"{of.name} cannot be downloaded: {of.how or 'it is embedded, no files are needed'}")
    try:
        archives = [fetch(file, root, progress) for file in of.downloads]
        unpack(of, archives, root)
    except OSError as error:
        raise RequestError(f"{of.name} could not be written under {root}: {error}") from error


def fetch(file: RemoteFile, root: Path, progress: Progress) -> Path:
    """Return a file, whole and with the right checksum, downloading only the bytes that are not there yet.

    Bytes gather in a hidden file `.NAME.part` beside the target, which keeps them when the network fails.
    """
    target = root / file.path
    part = target.with_name(f".{target.name}.part")
    if target.exists() and md5_of(target) == file.md5:
        progress(file, target.stat().st_size, target.stat().st_size)
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    failures = []
    for url in file.urls:
        try:
            _gather(url, part, file, progress)
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            failures.append(f"{url}: {error}")
            continue
        if md5_of(part) == file.md5:
            part.rename(target)
            return target
        part.unlink()
        failures.append(f"{url}: the file that came has another checksum than was published (md5 {file.md5}): deleted")
    kept = f" The {part.stat().st_size:,} bytes that came are kept: the same command goes on." if part.exists() else ""
    raise RequestError(
        f"{target.name} could not be downloaded: {'; '.join(failures)}.{kept} Without a network, put the file at {target} and "
        "give the same command"
    )


def unpack(of: Entry, archives: list[Path], root: Path) -> None:
    """Unpack archives in a hidden folder, then move what is wanted into place, in the place of what was there.

    A data set is therefore whole or not there, whenever this is interrupted.
    """
    aside = root / f".{of.name}.unpacking"
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    try:
        for archive in archives:
            unpack_into(archive, aside)
        for inner in sorted(aside.rglob("*.tar.gz")):
            unpack_into(inner, aside)
        for inside, place in of.unpacked:
            target = root / place
            target.parent.mkdir(parents=True, exist_ok=True)
            if target.is_dir():
                shutil.rmtree(target)
            (aside / inside).replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def md5_of(path: Path) -> str:
    """Return the checksum of a file."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _gather(url: str, part: Path, file: RemoteFile, progress: Progress) -> None:
    """Add to the part what is missing; begin anew where the server cannot continue."""
    there = part.stat().st_size if part.exists() else 0
    try:
        response = _opened(url, there)
    except urllib.error.HTTPError as error:
        if error.code != RANGE_NOT_SATISFIABLE:
            raise
        if md5_of(part) == file.md5:
            return
        there, response = 0, _opened(url, 0)
    with response:
        if there and response.status != http.HTTPStatus.PARTIAL_CONTENT:
            there = 0
        total = there + int(response.headers.get("Content-Length") or 0)
        with part.open("ab" if there else "wb") as out:
            while chunk := response.read(CHUNK_BYTES):
                out.write(chunk)
                there += len(chunk)
                progress(file, there, total or file.num_bytes)
    if there < total:
        raise ConnectionError(f"the connection ended after {there:,} of {total:,} bytes")


def _opened(url: str, start: int) -> http.client.HTTPResponse:
    headers = {"User-Agent": "tune_lb", **({"Range": f"bytes={start}-"} if start else {})}
    response: http.client.HTTPResponse = urllib.request.urlopen(
        urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S
    )
    return response
