"""Labelled examples in .npz files: `images` or `features`, `labels`, and `classes` where there are names."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from tune_lb.data.archives import refuse_bomb
from tune_lb.data.cache import key_of
from tune_lb.data.dataset import Array, Part
from tune_lb.data.mapped import BLOCK_BYTES, LARGE_BYTES
from tune_lb.errors import RequestError

LAYOUTS = ("auto", "channels_first", "channels_last")
INPUTS = ("images", "features")
ANSWERS = ("labels", "targets")
"""Classes; or what is of another kind: a class for each token (N, T), real numbers, several labels as 0 and 1 (N, K)."""


class Labelled(NamedTuple):
    """What files hold: examples, the names of classes if they have them, and whether inputs are images or features.

    part: its targets are as stored: of `labels` class numbers as int64, or strings; of `targets` int64 or float32, of any shape.
    """

    part: Part
    classes: tuple[str, ...]
    kind: str
    answers: str = "labels"
    """Name of the array: "labels" or "targets"."""


class Rows:
    """Inputs in files, one after another, read block by block: as inputs of the kind, images with their channels first."""

    def __init__(self, members: Sequence[tuple[Path, str]], kind: str, layout: str) -> None:
        self.members, self.kind, self.layout = list(members), kind, layout
        headers = [_header(path, name) for path, name in self.members]
        self.stored_shape, self.stored_dtype, _ = headers[0]
        num = sum(shape[0] for shape, _, _ in headers)
        example = self._act(np.zeros((1, *self.stored_shape[1:]), self.stored_dtype), self.members[0][0])
        self.shape: tuple[int, ...] = (num, *example.shape[1:])
        self.dtype = example.dtype
        self.nbytes = num * example.nbytes
        names = [name for _, name in self.members]
        self.key = key_of("rows", names, kind, layout, files=[_file(*member) for member in self.members])

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Return the number of dimensions."""
        return len(self.shape)

    def blocks(self) -> Iterator[Array]:
        """Yield the rows in blocks. Raises RequestError, naming the file, where it is damaged or truncated."""
        row = max(1, int(np.prod(self.stored_shape[1:], dtype=np.int64)) * self.stored_dtype.itemsize)
        for path, name in self.members:
            try:
                with _member(path, name) as file:
                    shape, dtype = _read_header(file)[:2]
                    for start in range(0, shape[0], max(1, BLOCK_BYTES // row)):
                        num = min(max(1, BLOCK_BYTES // row), shape[0] - start)
                        content = file.read(num * row)
                        block = np.frombuffer(content, dtype).reshape(num, *shape[1:])
                        yield self._act(block, path)
                    file.read(1)  # the end of a member of an archive: its checksum is compared there
            except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
                raise _damaged(path, error) from error

    def _act(self, block: Array, path: Path) -> Array:
        return as_inputs(as_images(block, self.layout, path) if self.kind == "images" else block, self.kind)


def _file(path: Path, name: str) -> Path:
    return path / f"{name}.npy" if path.is_dir() else path


@contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    """Open an array of an archive, or of a folder of .npy files, at its header."""
    if path.is_dir():
        with (path / f"{name}.npy").open("rb") as file:
            yield file
        return
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as inside:
        yield inside


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    return shape, dtype, fortran and len(shape) > 1


def _header(path: Path, name: str) -> tuple[tuple[int, ...], np.dtype[Any], bool]:
    """Return shape, type and order of an array without reading it."""
    try:
        with _member(path, name) as file:
            return _read_header(file)
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def _are_large(members: Sequence[tuple[Path, str]]) -> bool:
    """Say whether arrays are to stay in their files: too large together, and stored row by row in one shape."""
    headers = [_header(path, name) for path, name in members]
    num_bytes = sum(int(np.prod(shape, dtype=np.int64)) * dtype.itemsize for shape, dtype, _ in headers)
    alike = len({(shape[1:], dtype) for shape, dtype, _ in headers}) == 1 and not any(order for _, _, order in headers)
    return alike and num_bytes > LARGE_BYTES


def read_arrays(path: Path, only: Collection[str] | None = None) -> dict[str, Array]:
    """Return the arrays of a file, or only some; raise RequestError, naming it, where it is missing, damaged or truncated.

    A folder of .npy files is as one file, its arrays by their names.
    """
    try:
        if path.is_dir():
            names = [name for name in names_of(path) if only is None or name in only]
            return {name: np.load(path / f"{name}.npy", allow_pickle=False) for name in names}
        _refuse_bombs(path)
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files if only is None or name in only}
    except FileNotFoundError as error:
        raise RequestError(f"{path} is not there") from error
    except (OSError, EOFError, ValueError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise _damaged(path, error) from error


def _refuse_bombs(path: Path) -> None:
    """Refuse an archive of which little would become much, or an array that is said to be larger than what is there of it."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        refuse_bomb(path, path.stat().st_size, sum(entry.file_size for entry in entries))
        for entry in entries:
            with archive.open(entry) as inside:
                try:
                    shape, dtype, _ = _read_header(inside)
                    size = int(np.prod(shape, dtype=object)) * dtype.itemsize
                except ValueError:
                    continue  # no array of plain values: what reads it says so
                if not dtype.hasobject and size > entry.file_size:
                    raise ValueError(
                        f"{entry.filename} is said to be {size:,} bytes, of which {entry.file_size:,} are there"
                    )


def names_of(path: Path) -> list[str]:
    """Return the names of a file's arrays; raise RequestError, naming it, where it is damaged or truncated."""
    if path.is_dir():
        return sorted(file.stem for file in path.glob("[!.]*.npy"))
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return list(archive.files)
    except (OSError, EOFError, ValueError, zipfile.BadZipFile) as error:
        raise _damaged(path, error) from error


def read_labelled(paths: Sequence[Path], layout: str = "auto", prefix: str = "") -> Labelled:
    """Return the examples of files, put one after another; `prefix` is that of the arrays ("train_").

    Images become (N, C, H, W), grey ones without a channel stay (N, H, W); those of uint8 stay, others become float32. Features
    that are whole numbers become int64, others float32. Raises RequestError for missing arrays, numbers that do not match, and
    a layout that cannot be told.
    """
    inputs, labels, kinds, named = [], [], set(), set()
    classes: tuple[str, ...] = ()
    members = [(path, prefix + name) for path in paths for name in INPUTS if prefix + name in names_of(path)]
    large = len(members) == len(paths) and _are_large(members)
    for path in paths:
        names = names_of(path)
        answers = next((name for name in ANSWERS if prefix + name in names), "labels")
        wanted = {prefix + answers, "classes", *([] if large else [prefix + kind for kind in INPUTS])}
        arrays: dict[str, Any] = read_arrays(path, wanted)
        arrays |= {
            name: Rows([(path, name)], name.removeprefix(prefix), layout) for p, name in members if large and p == path
        }
        kind = next((name for name in INPUTS if prefix + name in arrays), None)
        missing = ([f"`{prefix}images` or `{prefix}features`"] if kind is None else []) + (
            [] if prefix + answers in arrays else [f"`{prefix}labels`"]
        )
        if kind is None or missing:
            raise RequestError(f"{path} has no array {' and no '.join(missing)}: it has {', '.join(names) or 'none'}")
        stored, targets = arrays[prefix + kind], arrays[prefix + answers]
        if len(stored) != len(targets):
            raise RequestError(f"{path}: {len(stored)} {kind} and {len(targets)} {answers}: there must be one for each")
        if kind == "features" and stored.ndim < 2:
            raise RequestError(
                f"{path}: features are of shape {stored.shape}: (N, F) or more is needed; one number is features[:, None]"
            )
        if stored.dtype.kind not in "biuf":
            raise RequestError(f"{path}: {kind} are {stored.dtype}: they must be real numbers")
        inputs.append(as_images(stored, layout, path) if kind == "images" and not large else stored)
        labels.append(targets)
        kinds.add(kind)
        named.add(answers)
        if "classes" in arrays and len(arrays["classes"]) > len(classes):
            classes = tuple(map(str, arrays["classes"]))
    if len(kinds) > 1:
        raise RequestError(f"{paths[0].parent}: some files hold images, others features")
    if len(named) > 1:
        raise RequestError(f"{paths[0].parent}: some files hold labels, others targets")
    shapes = {array.shape[1:] for array in inputs}
    if len(shapes) > 1:
        raise RequestError(f"{paths[0].parent}: the files hold examples of different shapes: {sorted(shapes)}")
    joined: Any
    if large:
        joined = Rows(members, kinds.pop(), layout)
        kinds.add(joined.kind)
    else:
        joined = np.concatenate(inputs) if len(inputs) > 1 else inputs[0]
    try:
        targets = np.concatenate(labels)
    except np.exceptions.DTypePromotionError as error:
        raise RequestError(f"{paths[0].parent}: labels are strings in some files, numbers in others") from error
    kind = kinds.pop()
    return Labelled(
        Part(joined if large else as_inputs(joined, kind), as_stored(targets, answers)), classes, kind, answers
    )


def as_inputs(stored: Array, kind: str) -> Array:
    """Return images as uint8 or float32 and features as int64 (whole numbers) or float32, of this machine's byte order."""
    if kind == "images" and stored.dtype == np.uint8:
        return stored
    whole = kind == "features" and stored.dtype.kind in "iu"
    return stored.astype(np.int64 if whole else np.float32, copy=False)


def as_stored(values: Array, answers: str) -> Array:
    """Return whole numbers as int64, of labels as (N,), real numbers and flags of targets as float32, and the rest as it is."""
    if answers == "labels":
        whole = values.dtype.kind in "iu" and values.size == len(values)
        return values.astype(np.int64).reshape(-1) if whole else values
    return (
        values.astype(np.int64 if values.dtype.kind in "iu" else np.float32) if values.dtype.kind in "iufb" else values
    )


def as_images(stored: Array, layout: str, path: Path) -> Array:
    """Return images (N, H, W) as they are and those with channels as (N, C, H, W)."""
    if stored.ndim == 3:
        return stored
    if stored.ndim != 4:
        raise RequestError(
            f"{path}: images are of shape {stored.shape}: (N, H, W), (N, H, W, C) or (N, C, H, W) is needed"
        )
    first, last = stored.shape[1] in (1, 3, 4), stored.shape[3] in (1, 3, 4)
    if layout == "auto" and first == last:
        raise RequestError(
            f"{path}: in images of shape {stored.shape} it cannot be told which dimension is the channel: "
            "give layout='channels_first' or layout='channels_last'"
        )
    if layout == "channels_last" or (layout == "auto" and last):
        return np.ascontiguousarray(stored.transpose(0, 3, 1, 2))
    return stored


def _damaged(path: Path, error: Exception) -> RequestError:
    if "pickle" in str(error):
        return RequestError(
            f"{path} is no .npz file of plain numbers, and is not used: write it by numpy.savez with arrays of numbers, all "
            "examples of one shape; labels that are strings as an array of str, not of objects"
        )
    return RequestError(f"{path} is damaged or truncated, and is not used: {error}. Get or write it again")
