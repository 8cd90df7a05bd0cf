"""The cache of prepared data: made once for a machine, whole or not at all, and shared by its processes."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np

from tune_lb.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator


FORMAT = 1
"""Of what is in the cache: a change makes everything anew."""
SPARE = 1.02


def cache_root() -> Path:
    """Return the folder of prepared data: TUNE_LB_CACHE, else tune_lb in XDG_CACHE_HOME, which is ~/.cache by default."""
    given = os.environ.get("TUNE_LB_CACHE")
    place = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "tune_lb"
    return place.expanduser().resolve()


def key_of(*facts: object, files: Iterable[Path] = ()) -> str:
    """Return a name for what is made of files, as they are: their paths, sizes and times of change, and facts."""
    digest = hashlib.sha256(repr((FORMAT, *facts)).encode())
    for path in files:
        state = path.stat()
        digest.update(f"{path}\0{state.st_size}\0{state.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:24]


def made_once(key: str, make: Callable[[Path], None], num_bytes: int, what: str) -> Path:
    """Return the folder of a key, which `make` fills where it is not there yet; other processes wait for it meanwhile.

    It is made aside and renamed, so it is whole or not there; what a killed process left is deleted. num_bytes: about what is
    written. what: what messages call it. Raises RequestError where the folder cannot be written or has too little space.
    """
    root = cache_root()
    place, aside = root / key, root / f".{key}.making"
    if place.is_dir():
        return place
    try:
        root.mkdir(parents=True, exist_ok=True)
        with (root / f".{key}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if place.is_dir():
                return place
            shutil.rmtree(aside, ignore_errors=True)
            free = shutil.disk_usage(root).free
            if free < SPARE * num_bytes:
                raise RequestError(
                    f"{what} needs {num_bytes / 1e9:.1f} GB in {root}, where {free / 1e9:.1f} GB are free: free some space, or set "
                    "TUNE_LB_CACHE to another folder"
                )
            aside.mkdir()
            try:
                make(aside)
                aside.rename(place)
            finally:
                shutil.rmtree(aside, ignore_errors=True)
    except OSError as error:
        raise RequestError(
            f"{what} cannot be written to {root}: {error}. Set TUNE_LB_CACHE to another folder"
        ) from error
    return place


@contextmanager
def npy_file(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> Iterator[IO[bytes]]:
    """Open a .npy file for an array, to which its rows are then written, one block after another."""
    with path.open("wb") as file:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_2_0(file, header)
        yield file
