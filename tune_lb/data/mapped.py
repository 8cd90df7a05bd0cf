"""Arrays that stay in their files: every process of a machine opens the same one, and keeps little of it in its memory."""

from __future__ import annotations

import mmap
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tune_lb.errors import RequestError

Array = npt.NDArray[Any]

RESIDENT_BYTES = 64 << 20
"""Of mapped files, what a process keeps mapped at most, about: pages above it are given back to the system, which caches them."""
LOOK_EVERY_S = 0.02
BLOCK_BYTES = 32 << 20
LARGE_BYTES = 512 << 20
"""Inputs above this size stay in files."""


class MappedArray(np.memmap):
    """A read-only array in a file. Pickled, it is its place in the file, which must be there where it is unpickled."""

    _place: tuple[str, str, int, tuple[int, ...]] | None = None

    @property
    def file(self) -> str | None:
        """The file that it travels as; None of a view, which travels with its values."""
        return self._place[0] if self._place is not None else None

    def __getitem__(self, index: Any) -> Any:
        """Return plain arrays: a part of the file, or rows copied from it."""
        return np.asarray(super().__getitem__(index))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Return the place; a view has none and is pickled with its values."""
        return (_opened, self._place) if self._place is not None else np.asarray(self).__reduce_ex__(protocol)

    def __reduce__(self) -> Any:
        """Return what __reduce_ex__ does."""
        return self.__reduce_ex__(4)


class Chosen:
    """Chosen rows of an array, which are gathered where an index or slice asks for them; numpy takes it as an array."""

    def __init__(self, array: Array, rows: Array) -> None:
        self.array, self.rows = array, rows
        self.shape, self.dtype, self.ndim = (len(rows), *array.shape[1:]), array.dtype, array.ndim
        self.nbytes = len(rows) * (array.nbytes // max(1, len(array)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Array:
        found: Array = self.array[self.rows[index]]
        return found

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        found = np.asarray(self.array[self.rows])
        return found if dtype is None else found.astype(dtype, copy=False)


def opened(path: Path, start: int = 0, stop: int | None = None) -> MappedArray:
    """Return rows start .. stop of a .npy file as an array that stays in the file. Raises RequestError where it is not there."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            offset = file.tell()
    except (OSError, ValueError) as error:
        raise RequestError(f"{path} cannot be read: {error}") from error
    if fortran and len(shape) > 1:
        raise RequestError(
            f"{path} holds its array column by column: write it again, numpy.save(path, ascontiguousarray(x))"
        )
    stop = shape[0] if stop is None else stop
    row = int(np.prod(shape[1:], dtype=np.int64)) * dtype.itemsize
    return _opened(str(path), dtype.str, offset + start * row, (stop - start, *shape[1:]))


def rows_of(array: Array, start: int, stop: int) -> Array:
    """Return rows start .. stop, in the file where the array is in one."""
    if not isinstance(array, MappedArray) or array._place is None:
        return array[start:stop]
    path, dtype, offset, shape = array._place
    return _opened(path, dtype, offset + start * (array.nbytes // max(1, len(array))), (stop - start, *shape[1:]))


def in_file(array: Array) -> Array:
    """Return a part of a file that somebody mapped (np.load(path, mmap_mode="r")) so that it travels as its place, if it can."""
    root: Any = array
    while isinstance(getattr(root, "base", None), np.memmap):
        root = root.base
    unfit = (
        isinstance(array, MappedArray)
        or not isinstance(root, np.memmap)
        or not array.flags.c_contiguous
        or not array.size
    )
    if unfit or root.filename is None or root.mode != "r":
        return array
    offset = root.offset + array.ctypes.data - root.ctypes.data
    return _opened(str(Path(root.filename).resolve()), array.dtype.str, offset, array.shape)


def blocks(inputs: Any) -> Iterator[Array]:
    """Yield the rows of an array in blocks that need little memory."""
    row = max(1, inputs.nbytes // max(1, len(inputs)))
    step = max(1, BLOCK_BYTES // row)
    for start in range(0, len(inputs), step):
        yield inputs[start : start + step]


def _opened(path: str, dtype: str, offset: int, shape: tuple[int, ...]) -> MappedArray:
    if not int(np.prod(shape, dtype=np.int64)):
        return np.zeros(shape, dtype).view(MappedArray)
    try:
        array = MappedArray(path, dtype=np.dtype(dtype), mode="r", offset=offset, shape=shape)
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{path} cannot be mapped on this machine: {error}. Data larger than memory lie in a file that every machine must see: "
            "set TUNE_LB_CACHE to a folder that they share"
        ) from error
    array._place = (path, dtype, offset, shape)
    _giver.watch(array._mmap)  # type: ignore[attr-defined]
    return array


class _Giver:
    """A thread that gives pages of mapped files back to the system when a process has many of them.

    A page that is read stays in the memory of the process, which then holds the whole data set after one epoch; another reading
    finds it in the system's cache. Files are read-only, so nothing is lost.
    """

    def __init__(self) -> None:
        self.maps: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()
        self.process = 0

    def watch(self, pages: mmap.mmap) -> None:
        if not hasattr(mmap.mmap, "madvise") or not Path("/proc/self/statm").is_file():
            return
        self.maps.add(pages)
        if self.process != os.getpid():
            # threads do not live on in a forked process
            self.process = os.getpid()
            threading.Thread(target=self._give_back, name="mapped files", daemon=True).start()

    def _give_back(self) -> None:
        others = _file_bytes()
        while True:
            time.sleep(LOOK_EVERY_S)
            held = _file_bytes()
            others = min(others, held)
            if held - others > RESIDENT_BYTES:
                for pages in list(self.maps):
                    pages.madvise(mmap.MADV_DONTNEED)
                others = _file_bytes()


def _file_bytes() -> int:
    """Return the bytes of files that are in the memory of this process, its libraries among them."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[2]) * mmap.PAGESIZE


_giver = _Giver()
