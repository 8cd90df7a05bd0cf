"""Folders of image files, decoded to one array of a common size."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from tune_lb.data.cache import key_of, made_once, npy_file
from tune_lb.data.dataset import Array, Part
from tune_lb.data.mapped import BLOCK_BYTES, LARGE_BYTES, opened
from tune_lb.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

    from PIL.Image import Image

EXTENSIONS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
NO_DATA = ("__MACOSX", "@eaDir", "__pycache__", "lost+found")
"""Folders that systems and tools leave behind; so are those whose names begin with a dot."""

BYTES, SIXTEEN, NUMBERS = "8 bits", "16 bits", "numbers"
SHOWN_FROM = CACHED_FROM = 2000
"""Images from which on a bar is shown, and what is decoded is kept."""
DECODING = 1
"""Of how images are decoded: a change decodes them anew."""


class Framing(NamedTuple):
    """How an image becomes a square of size x size pixels.

    resize: pixels of the shorter side before the square is cut out about the centre; None: size. crop: without it both sides are
    scaled to size, which changes the proportions.
    """

    size: int
    resize: int | None = None
    crop: bool = True


def labelled_files(folder: Path, leave_out: Sequence[str] = ()) -> tuple[list[Path], Array, list[str]]:
    """Return files, class numbers and class names of a folder that has one folder for each class, in alphabetic order.

    Hidden files and folders (.ipynb_checkpoints, ._x.jpg) and what systems leave behind (__MACOSX) are no data. Raises
    RequestError where there is no such folder, no class, or a class without images.
    """
    if not folder.is_dir():
        raise RequestError(f"{folder} is not there: a folder is needed that holds one folder of images for each class")
    names = [name for name in folders_in(folder) if name not in leave_out]
    if not names:
        raise RequestError(f"{folder} holds no folders: one folder of images for each class is needed")
    found = [list(_images_in(folder / name)) for name in names]
    empty = [name for name, paths in zip(names, found, strict=True) if not paths]
    if empty:
        raise RequestError(
            f"{folder}: no image in the class folder{'s' * (len(empty) > 1)} {', '.join(empty)}: put images there "
            f"({', '.join(EXTENSIONS)}) or delete the folder"
        )
    labels = np.repeat(np.arange(len(names), dtype=np.int64), [len(paths) for paths in found])
    return [path for paths in found for path in paths], labels, names


def folders_in(folder: Path) -> list[str]:
    """Return the names of the folders that may hold data, in alphabetic order."""
    return sorted(path.name for path in folder.iterdir() if path.is_dir() and _is_data(path.name))


def _is_data(name: str) -> bool:
    return not name.startswith(".") and name not in NO_DATA


def _images_in(folder: Path) -> Iterator[Path]:
    """Yield the images anywhere in a folder, in the order of torchvision's ImageFolder."""
    walked = sorted((root, files) for root, _, files in _walk(folder))
    for root, files in walked:
        yield from (Path(root, name) for name in sorted(files) if _is_data(name) and name.lower().endswith(EXTENSIONS))


def _walk(folder: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    for root, folders, files in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if _is_data(name)]
        yield root, folders, files


def read_images(paths: Sequence[Path], framing: Framing | int) -> Array:
    """Return the images as (N, 3, size, size), turned as their EXIF tag says, framed, grey repeated to RGB.

    uint8, or float32 where some have more than 8 bits a pixel: 16 bits are brought to 0 .. 255 (65535 is 255), floating point
    and 32 bits stay as they are. CACHED_FROM images and more are decoded once for a machine and kept in its cache; above
    LARGE_BYTES they stay there. Raises RequestError that names the first file that cannot be read whole, and where some images
    are numbers without a scale, others not. Cost: about 1 ms for 64 x 64, on all cores.
    """
    framing = framing if isinstance(framing, Framing) else Framing(framing)
    shape = (len(paths), 3, framing.size, framing.size)
    if len(paths) < CACHED_FROM:
        dtype, decoded = _decoding(paths, framing)
        images = np.empty(shape, dtype)
        for start, block in decoded:
            images[start : start + len(block)] = block
        return images

    def make(folder: Path) -> None:
        dtype, decoded = _decoding(paths, framing)
        with npy_file(folder / "images.npy", shape, dtype) as file:
            for _, block in decoded:
                file.write(block.data)

    key = key_of("images", DECODING, framing, files=paths)
    folder = made_once(key, make, int(np.prod(shape)), f"{len(paths):,} decoded images")
    stored = opened(folder / "images.npy")
    return stored if stored.nbytes > LARGE_BYTES else np.array(stored)


def _decoding(paths: Sequence[Path], framing: Framing) -> tuple[np.dtype[Any], Iterator[tuple[int, Array]]]:
    """Return the type of the images, and the images in blocks with the number of the first one of each, as they are decoded."""
    kinds = list(_over(paths, lambda i: _depth(paths[i])))
    if NUMBERS in kinds and len(set(kinds)) > 1:
        one, other = (paths[next(i for i, k in enumerate(kinds) if (k == NUMBERS) == which)] for which in (True, False))
        raise RequestError(
            f"{one} holds floating point or 32-bit values, {other} pixels of 0 .. 255 or 0 .. 65535: they have no common "
            "scale; write all in one of these"
        )
    dtype = np.dtype(np.uint8 if set(kinds) <= {BYTES} else np.float32)

    def decoded() -> Iterator[tuple[int, Array]]:
        step = max(1, BLOCK_BYTES // (3 * framing.size**2 * dtype.itemsize))
        with _bar(len(paths)) as advance:
            for start in range(0, len(paths), step):
                part = paths[start : start + step]
                block = np.empty((len(part), 3, framing.size, framing.size), dtype)

                def read(i: int, block: Array = block, part: Sequence[Path] = part) -> str:
                    block[i] = _decoded(part[i], framing)
                    return ""

                for _ in _over(part, read):
                    advance()
                yield start, block

    return dtype, decoded()


def _over(paths: Sequence[Path], act: Callable[[int], str]) -> Iterator[str]:
    """Yield what act returns for the number of each file, on all cores; raise RequestError for the first that cannot be read."""
    from PIL import Image

    # what Pillow raises for damaged files of its formats, and for those too large to be meant
    unreadable = (OSError, ValueError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning)

    def saying(i: int) -> str:
        try:
            return act(i)
        except unreadable as error:
            advice = "Get or write it again" if "pixels" not in str(error) else "Scale it down, or leave it out"
            return f"!{paths[i]} cannot be read whole: {error}. {advice}"

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for said in pool.map(saying, range(len(paths)), chunksize=64):
            if said.startswith("!"):
                pool.shutdown(cancel_futures=True)
                raise RequestError(said[1:])
            yield said


def read_part(paths: Sequence[Path], labels: Array, size: int) -> Part:
    """Return labelled images."""
    return Part(read_images(paths, size), labels)


def _depth(path: Path) -> str:
    """Return what the pixels of a file are; only some formats can have more than 8 bits in one channel."""
    from PIL import Image

    if path.suffix.lower() in (".jpg", ".jpeg", ".webp", ".bmp"):
        return BYTES
    with Image.open(path) as file:
        if file.mode.startswith("I;16") or (file.mode == "I" and file.format in ("PNG", "PPM")):
            return SIXTEEN
        return NUMBERS if file.mode in ("I", "F") else BYTES


def _decoded(path: Path, framing: Framing) -> Array:
    """Return (3, size, size), or (1, size, size) where one channel stands for three."""
    from PIL import Image, ImageOps

    with Image.open(path) as file:
        deep = file.mode.startswith("I") or file.mode == "F"
        scale = 257.0 if deep and (file.mode.startswith("I;16") or file.format in ("PNG", "PPM")) else 1.0
        turned = ImageOps.exif_transpose(file)
        image: Image.Image = (
            turned.convert("RGB") if not deep else Image.fromarray(np.asarray(turned).astype(np.float32) / scale)
        )
    array = np.asarray(_framed(image, framing))
    return array[None] if deep else array.transpose(2, 0, 1)


def _framed(image: Image, framing: Framing) -> Image:
    from PIL import Image as pillow

    size, resize = framing.size, framing.resize or framing.size
    width, height = image.size
    if not framing.crop:
        return image if (width, height) == (size, size) else image.resize((size, size), pillow.Resampling.BILINEAR)
    if (width, height) == (size, size) == (resize, resize):
        return image
    scale = resize / min(width, height)
    width, height = max(resize, round(width * scale)), max(resize, round(height * scale))
    image = image.resize((width, height), pillow.Resampling.BILINEAR)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


@contextmanager
def _bar(num: int) -> Iterator[Callable[[], None]]:
    """Show on stderr, if somebody looks at it, how many images are decoded."""
    if num < SHOWN_FROM or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("decoding images"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=num)
        yield lambda: bar.advance(task)
