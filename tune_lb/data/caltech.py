"""Caltech-101 under TUNE_LB_DATA: photographs as torchvision downloads them, or .npz files of scaled ones."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path

from tune_lb.data.catalogue import entry, how_to_get, locate
from tune_lb.data.dataset import Part, stratified
from tune_lb.data.image_files import labelled_files, read_part
from tune_lb.data.npz import read_labelled
from tune_lb.data.published import Published, PublishedSource
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting

NUM_IMAGES, NUM_CLASSES = 8677, 101
BACKGROUND = "BACKGROUND_Google"


@dataclass(frozen=True)
class Caltech101(PublishedSource):
    """8,677 photographs of 101 kinds, RGB, scaled (shorter side) and cut to a square (Fei-Fei et al., 2004).

    It was published without a test part: a fixed quarter of each class is the test part, as in Jaiswal and Taura, "Overcoming
    Generalization Gap in Large Mini-Batch Training of Deep Neural Networks"; .npz files bring their own. Departures: without
    BACKGROUND_Google, and smaller than the photographs, so results at 64 x 64 cannot be compared with published ones. Faces and
    Faces_easy show the same photographs.
    """

    num_validation: int = setting(650, "examples that selection sees", low=0)
    image_size: int = setting(64, "height and width in pixels", low=8)

    def identity(self) -> tuple[Hashable, ...]:
        """Return the size."""
        return (self.image_size,)

    def read(self, root: Path) -> Published:
        """Return train and test part; the name says the size."""
        found = locate("Caltech101", root)
        if found.form == "npz":
            train, test = (read_labelled([path], "channels_last").part for path in found.paths)
            stored = train.inputs.shape[-1]
            if stored != self.image_size:
                raise RequestError(
                    f"Caltech101.image_size = {self.image_size}: {found.paths[0]} holds images of {stored} x {stored}; give "
                    f"that size, or move the folder away and {how_to_get(entry('Caltech101'))}"
                )
        else:
            paths, labels, names = labelled_files(found.paths[0], leave_out=(BACKGROUND,))
            if (len(paths), len(names)) != (NUM_IMAGES, NUM_CLASSES):
                raise RequestError(
                    f"{found.paths[0]} is incomplete or changed: {len(paths):,} of {NUM_IMAGES:,} images in {len(names)} of "
                    f"{NUM_CLASSES} classes. Get it again: {how_to_get(entry('Caltech101'))}"
                )
            num_test = NUM_IMAGES // 4
            chosen = stratified(labels, (NUM_IMAGES - num_test, num_test), 0, "Caltech101")
            train, test = (read_part([paths[i] for i in index], labels[index], self.image_size) for index in chosen)
        return Published(f"Caltech101 {self.image_size}x{self.image_size}", NUM_CLASSES, Part(*train), Part(*test))
