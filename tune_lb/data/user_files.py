"""The user's own data: .npz files and folders of images, in parts of their own, or cut by the split seed."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_lb.data.catalogue import locate
from tune_lb.data.conversion import num_outputs
from tune_lb.data.dataset import Array, Part
from tune_lb.data.image_files import Framing, folders_in, labelled_files, read_images
from tune_lb.data.labels import Numbered, numbered
from tune_lb.data.mapped import rows_of
from tune_lb.data.npz import ANSWERS, INPUTS, LAYOUTS, Labelled, names_of, read_labelled
from tune_lb.data.own_data import TEST, TRAIN, VALIDATION, OwnData, parts_among, said_of_parts
from tune_lb.data.places import data_root
from tune_lb.data.published import Published
from tune_lb.data.standardization import AUTO, DESCRIPTION, STANDARDIZE
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting


@dataclass(frozen=True)
class Arrays(OwnData):
    """Arrays in .npz files: `images` (uint8 or float) or `features` (numbers), `labels`, and if there `classes` (names).

    A folder: train*.npz, one after another, and if there val*.npz and test*.npz. One file: train_images and train_labels, or
    images and labels, and if there val_images, val_labels, test_images, test_labels; or a folder of .npy files with these names.
    Inputs above 512 MB stay in files, which all workers of a machine share. Labels are whole numbers from 0, or strings.
    Other targets are an array `targets`: a class of each token (N, T), real numbers, several labels as 0 and 1 (N, K).
    Features that are whole numbers stay as they are (tokens), other inputs are standardized by the train part.
    """

    layout: str = setting("auto", "where images have their channels", one_of=LAYOUTS)
    standardize: str | None = setting(AUTO, DESCRIPTION, one_of=STANDARDIZE, added_later=True)

    def own_parts(self) -> Collection[str]:
        """Return the parts that there are arrays of."""
        return (self._files() if self._has_files() else self._prefixes()).keys()

    def read(self) -> Published:
        """Return the arrays."""
        place = self.place
        if self._has_files():
            files = self._files()
            if TRAIN not in files:
                advice = f": for folders of images write ImageFolder({self.path!r})" if folders_in(place) else ""
                raise RequestError(f"{place} holds no train*.npz{advice}")
            found = {part: read_labelled(paths, self.layout) for part, paths in files.items()}
            names = {part: ", ".join(path.name for path in paths) for part, paths in files.items()}
            unread = sorted(
                {path.name for path in place.glob("*.npz")} - {p.name for paths in files.values() for p in paths}
            )
        else:
            prefixes = self._prefixes()
            found = {part: read_labelled([place], self.layout, prefix) for part, prefix in prefixes.items()}
            names = {part: f"the arrays {prefix}..." if prefix else "the arrays" for part, prefix in prefixes.items()}
            read = {prefix + kind for prefix in prefixes.values() for kind in (*INPUTS, *ANSWERS)} | {"classes"}
            unread = sorted(set(names_of(place)) - read)
        _check_alike(found, place)
        classes = max((part.classes for part in found.values()), key=len)
        stored = {name: part.part.targets for name, part in found.items()}
        if found[TRAIN].answers == "targets":
            labels = Numbered(stored, len(classes) or num_outputs(stored[TRAIN]), "")
        else:
            labels = numbered(stored, classes, str(place))
        parts = {name: Part(part.part.inputs, labels.labels[name]) for name, part in found.items()}
        notes = [labels.note] if labels.note else []
        return Published(
            place.stem,
            labels.num_classes,
            parts[TRAIN],
            parts.get(TEST),
            validation=parts.get(VALIDATION),
            kind=found[TRAIN].kind,
            standardize=self.standardize,
            notes=(*said_of_parts(names, unread), *notes),
        )

    def check_place(self) -> None:
        """Also refuse a file that is no .npz file."""
        super().check_place()
        if self.place.is_file() and self.place.suffix != ".npz":
            what = " is one array without labels" if self.place.suffix == ".npy" else " is no .npz file"
            raise RequestError(
                f"{self.place}{what}: write inputs and labels into one file, numpy.savez('{self.place.stem}.npz', images=..., "
                "labels=...), or features=... where they are no images; or put images.npy and labels.npy into a folder and name "
                "that; or write a DataSource of your own"
            )

    def _has_files(self) -> bool:
        """Say whether there are several files, each with arrays: not one, nor a folder of .npy files, which is as one."""
        return self.place.is_dir() and (any(self.place.glob("*.npz")) or not any(self.place.glob("*.npy")))

    def _files(self) -> dict[str, list[Path]]:
        """Return the files of each part that is there."""
        stems: dict[str, list[Path]] = {}
        for path in sorted(self.place.glob("[!.]*.npz")):
            stems.setdefault(re.split(r"[^A-Za-z]", path.stem)[0], []).append(path)
        # of the train part any name that begins so counts
        for stem in [stem for stem in stems if stem.startswith((TRAIN, TEST)) and stem not in (TRAIN, TEST)]:
            part = TRAIN if stem.startswith(TRAIN) else TEST
            stems[part] = sorted(stems.get(part, []) + stems.pop(stem))
        return {part: stems[word] for part, word in parts_among(stems, self.place).items()}

    def _prefixes(self) -> dict[str, str]:
        """Return what the names of the arrays of each part begin with."""
        names = names_of(self.place)
        words = {name.rpartition("_")[0] for name in names if name.rpartition("_")[2] in (*INPUTS, *ANSWERS)}
        found = {part: f"{word}_" for part, word in parts_among(words - {""}, self.place).items()}
        return found if TRAIN in found else {TRAIN: "", **found}


@dataclass(frozen=True)
class TIMIT(Arrays):
    """Frames of speech as Keskar et al. (2017) train on: 360 features, 1,973 classes; 721,329 and 310,621 of them.

    The corpus is not free: the files are what Kaldi makes of a licensed copy (python -m tune_lb data says where they go).
    """

    path: str = setting("TIMIT", "folder: absolute, beside the space file or under TUNE_LB_DATA")

    def check_place(self) -> None:
        """Also say where the files of the corpus go."""
        if self.path == "TIMIT" and not self.place.exists():
            locate("TIMIT", data_root())
        super().check_place()


@dataclass(frozen=True)
class ImageFolder(OwnData):
    """A folder of photographs: train/CLASS/*.jpg (or png, webp, ...), val/ and test/ alike; or CLASS/*.jpg, then cut.

    Every image is turned as its EXIF tag says, scaled (shorter side), cut to a square about its centre, and made RGB. 16 bits a
    pixel are brought to 0 .. 255 without rounding. Hidden files and folders are no data. They are decoded on all cores, about
    1,000 a second and core at 64 x 64; 2,000 and more once for a machine, into its cache (TUNE_LB_CACHE).
    """

    image_size: int = setting(64, "height and width in pixels", low=1)
    standardize: str | None = setting(AUTO, DESCRIPTION, one_of=STANDARDIZE, added_later=True)
    resize: int | None = setting(
        None, "shorter side in pixels before the square is cut out; none: image_size", low=1, added_later=True
    )
    crop: bool = setting(
        True, "cut a square about the centre; false: scale both sides, proportions change", added_later=True
    )

    def problems(self, where: str = "") -> list[str]:
        """Also refuse a square that is larger than what it is cut from."""
        found = super().problems(where)
        if isinstance(self.resize, int) and (self.resize < self.image_size or not self.crop):
            found.append(
                f"{where or type(self).__name__}.resize = {self.resize}: the square of image_size = {self.image_size} is cut from "
                "it; give at least that, and crop=True"
            )
        return found

    def check_place(self) -> None:
        """Also refuse a file."""
        super().check_place()
        if self.place.is_file():
            advice = f": write Arrays({self.path!r})" if self.place.suffix == ".npz" else ""
            raise RequestError(f"ImageFolder: {self.place} is a file, not a folder of images{advice}")

    def own_parts(self) -> Collection[str]:
        """Return the parts that there are folders of."""
        return self._folders().keys()

    def read(self) -> Published:
        """Return the decoded images."""
        folders = self._folders()
        found = {part: labelled_files(folder) for part, folder in folders.items()}
        names = found[TRAIN][2]
        labels: dict[str, Array] = {}
        for part, (_, numbers, own) in found.items():
            unknown = sorted(set(own) - set(names))
            if unknown:
                raise RequestError(f"{folders[part]} has classes that {folders[TRAIN]} has not: {', '.join(unknown)}")
            labels[part] = np.array([names.index(name) for name in own], dtype=np.int64)[numbers]
        paths = [path for part in found for path in found[part][0]]
        images = read_images(paths, Framing(self.image_size, self.resize, self.crop))
        ends = np.cumsum([len(numbers) for numbers in labels.values()])
        parts = {
            part: Part(rows_of(images, end - len(labels[part]), end), labels[part])
            for part, end in zip(found, ends, strict=True)
        }
        unread = [] if len(folders) == 1 else sorted(set(folders_in(self.place)) - {p.name for p in folders.values()})
        depth = (
            ()
            if images.dtype == np.uint8
            else ("images of more than 8 bits a pixel are read as float32: 16 bits as 0 .. 255",)
        )
        return Published(
            self.place.name,
            len(names),
            parts[TRAIN],
            parts.get(TEST),
            validation=parts.get(VALIDATION),
            standardize=self.standardize,
            notes=(*said_of_parts({part: f"{folder.name}/" for part, folder in folders.items()}, unread), *depth),
        )

    def _folders(self) -> dict[str, Path]:
        """Return the folder of each part; where there are none, the place itself is the train part."""
        there = folders_in(self.place)
        words = parts_among({name.lower() for name in there}, self.place)
        if not words:
            return {TRAIN: self.place}
        by_name = {name.lower(): self.place / name for name in there}
        if TRAIN in words and len(words) == 1:
            raise RequestError(
                f"{self.place} holds {words[TRAIN]}, but no test or val: half a data set is not used; give the path of "
                f"{words[TRAIN]} itself to have the other parts cut from it"
            )
        if TRAIN not in words:
            if len(there) > len(words):
                return {TRAIN: self.place}  # a class may be called so
            raise RequestError(
                f"{self.place} holds {', '.join(words.values())}, but no train: half a data set is not used"
            )
        return {part: by_name[word] for part, word in words.items()}


def _check_alike(found: Mapping[str, Labelled], place: Path) -> None:
    """Raise RequestError where the inputs of two parts are of other types, as bytes and numbers between 0 and 1 are."""
    train = found[TRAIN]
    for name, part in found.items():
        if part.answers != train.answers:
            raise RequestError(f"{place}: the train part has {train.answers}, the {name} part {part.answers}")
        if (part.kind, part.part.inputs.dtype) != (train.kind, train.part.inputs.dtype):
            raise RequestError(
                f"{place}: the train part holds {train.kind} of {train.part.inputs.dtype}, the {name} part {part.kind} of "
                f"{part.part.inputs.dtype}: write both in one type and on one scale"
            )
