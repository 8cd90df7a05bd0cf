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
"""Without the background class."""

BACKGROUND = "BACKGROUND_Google"


@dataclass(frozen=True)
class Caltech101(PublishedSource):
    """8,677 photographs of 101 kinds, RGB, scaled (shorter side) and cut to a square (Fei-Fei et al., 2004).

    It was published without a test part: a fixed quarter of each class is the test part, as in Jaiswal and Taura, "Overcoming
    Generalization Gap in Large Mini-Batch Training of Deep Neural Networks"; .npz files bring their own. Departures: without
    BACKGROUND_Google unless background is set (their 9,147 images are with it), and smaller than the photographs, so results at
    64 x 64 cannot be compared with published ones. Faces and Faces_easy show the same photographs.
    """

    num_validation: int = setting(650, "examples that selection sees", low=0)
    image_size: int = setting(64, "height and width in pixels", low=8)
    background: bool = setting(
        False, "with the class BACKGROUND_Google, the 102nd, where the files hold it", added_later=True
    )

    def identity(self) -> tuple[Hashable, ...]:
        """Return the size, and whether the background class is there."""
        return (self.image_size, self.background)

    def read(self, root: Path) -> Published:
        """Return train and test part; the name says the size."""
        found, num_classes = locate("Caltech101", root), NUM_CLASSES + self.background
        if found.form == "npz":
            train, test = (read_labelled([path], "channels_last").part for path in found.paths)
            stored = train.inputs.shape[-1]
            if stored != self.image_size:
                raise RequestError(
                    f"Caltech101.image_size = {self.image_size}: {found.paths[0]} holds images of {stored} x {stored}; give "
                    f"that size, or move the folder away and {how_to_get(entry('Caltech101'))}"
                )
            held = int(max(part.targets.max() for part in (train, test))) + 1
            if self.background and held != num_classes:
                raise RequestError(
                    f"Caltech101.background = True: {found.paths[0]} holds {held} classes, without {BACKGROUND}; leave it out, or "
                    f"move the folder away and {how_to_get(entry('Caltech101'))}"
                )
        else:
            paths, labels, names = labelled_files(found.paths[0], leave_out=() if self.background else (BACKGROUND,))
            if self.background and BACKGROUND not in names:
                raise RequestError(
                    f"Caltech101.background = True: {found.paths[0]} holds no folder {BACKGROUND}; leave it out"
                )
            of_others = labels != names.index(BACKGROUND) if self.background else labels >= 0
            if (int(of_others.sum()), len(names)) != (NUM_IMAGES, num_classes):
                raise RequestError(
                    f"{found.paths[0]} is incomplete or changed: {int(of_others.sum()):,} of {NUM_IMAGES:,} images in "
                    f"{len(names)} of {num_classes} classes. Get it again: {how_to_get(entry('Caltech101'))}"
                )
            num_test = len(paths) // 4
            chosen = stratified(labels, (len(paths) - num_test, num_test), 0, "Caltech101")
            train, test = (read_part([paths[i] for i in index], labels[index], self.image_size) for index in chosen)
        name = f"Caltech101 {self.image_size}x{self.image_size}" + " with background" * self.background
        return Published(name, num_classes, Part(*train), Part(*test))
