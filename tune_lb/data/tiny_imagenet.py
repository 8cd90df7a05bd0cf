"""Tiny ImageNet under TUNE_LB_DATA."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_lb.data.catalogue import entry, how_to_get, locate
from tune_lb.data.image_files import labelled_files, read_part
from tune_lb.data.npz import read_labelled
from tune_lb.data.published import Published, PublishedSource
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting

SIZE = 64
NUM_IMAGES = {"train": 100_000, "val": 10_000}


@dataclass(frozen=True)
class TinyImageNet(PublishedSource):
    """100,000 photographs of 200 kinds, 64 x 64 RGB; the published validation images are the test part (Stanford CS231n).

    Decoding takes a minute or two; TinyImageNet/train.npz and test.npz (images, labels), if there, are read instead.
    """

    num_validation: int = setting(10_000, "examples that selection sees", low=0)

    def read(self, root: Path) -> Published:
        """Return both parts, after all files were found."""
        found = locate("TinyImageNet", root)
        if found.form == "npz":
            train, test = (read_labelled([path], "channels_last").part for path in found.paths)
            name = "TinyImageNet"
            if (len(train.targets), len(test.targets)) != tuple(NUM_IMAGES.values()):
                name += f" (subset of {len(train.targets)} + {len(test.targets)})"
            return Published(name, 200, train, test)
        folder, images, annotations = found.paths
        paths, labels, names = labelled_files(folder)
        lines = [line.split("\t")[:2] for line in annotations.read_text().splitlines()]
        unknown = next((line for line in lines if len(line) < 2 or line[1] not in names), None)
        if unknown:
            raise RequestError(f"{annotations} is damaged: {unknown} names no class of {folder}")
        val_paths = [images / file for file, _ in lines]
        for place, num, wanted in (
            (folder, len(paths), NUM_IMAGES["train"]),
            (annotations, len(lines), NUM_IMAGES["val"]),
        ):
            if num != wanted:
                again = how_to_get(entry("TinyImageNet"))
                raise RequestError(f"{place} is incomplete: {num:,} of {wanted:,} images. Get it again: {again}")
        train = read_part(paths, labels, SIZE)
        number = {name: i for i, name in enumerate(names)}
        test = read_part(val_paths, np.array([number[kind] for _, kind in lines], dtype=np.int64), SIZE)
        return Published("TinyImageNet", len(names), train, test)
