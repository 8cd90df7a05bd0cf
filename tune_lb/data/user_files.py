"""The user's own data: .npz files and folders of images, with a test part if there is one, else cut by the split seed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tune_lb.data.catalogue import locate
from tune_lb.data.dataset import DataSet, DataSource, Part, data_root
from tune_lb.data.image_files import labelled_files, read_part
from tune_lb.data.npz import INPUTS, LAYOUTS, names_of, read_labelled
from tune_lb.data.published import Published, cut, read_once
from tune_lb.errors import RequestError
from tune_lb.settings.setting import setting

TEST_FOLDERS = ("test", "val")


@dataclass(frozen=True)
class OwnData(DataSource):
    """Base of data sets that a path names.

    The split seed draws train and validation, and where the files hold no test part that too, by class.
    """

    path: str = setting("", "folder or file, absolute or under TUNE_LB_DATA")
    num_train: int | None = setting(None, "examples to train on; none: all that the other parts leave", low=1)
    num_validation: int = setting(0, "examples that selection sees", low=0)
    num_test: int | None = setting(None, "examples of the test part where the files have none; none: a quarter", low=1)

    def problems(self, where: str = "") -> list[str]:
        """Also refuse an empty path."""
        empty = [] if self.path else [f"{where or type(self).__name__}.path is empty: name the folder or file"]
        return super().problems(where) + empty

    @property
    def place(self) -> Path:
        """Return the path in full."""
        return data_root() / Path(self.path).expanduser()

    def read(self) -> Published:
        """Return what the files hold. Raises RequestError where they are missing or damaged."""
        raise TypeError(f"{type(self).__name__} does not say how it is read")

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        if not self.place.exists():
            raise RequestError(
                f"{type(self).__name__}: {self.place} is not there (TUNE_LB_DATA = {data_root()}): give an absolute path, or put "
                "the data there"
            )
        whole = read_once((self, self.place), self.read)
        own = whole.test is not None
        if own and self.num_test is not None:
            raise RequestError(
                f"num_test = {self.num_test}: {self.place} has a test part of its own; leave num_test out"
            )
        num_test = 0 if own else self.num_test or len(whole.train.targets) // 4
        return cut(whole, self.num_train, self.num_validation, num_test, split_seed, where=str(self.place))


@dataclass(frozen=True)
class Arrays(OwnData):
    """Arrays in .npz files: `images` (uint8 or float) or `features` (float), `labels`, and if there `classes` (names).

    A folder: train*.npz, one after another, and test*.npz. One file: train_images, train_labels, test_images, test_labels, or
    without prefixes and test part. Channels and features are standardized with mean and deviation of the train part.
    """

    layout: str = setting("auto", "where images have their channels", one_of=LAYOUTS)

    def has_own_test_split(self) -> bool:
        """Say whether there are test arrays."""
        if self.place.is_dir():
            return any(self.place.glob("test*.npz"))
        return self.place.is_file() and any(f"test_{kind}" in names_of(self.place) for kind in INPUTS)

    def read(self) -> Published:
        """Return the arrays."""
        place = self.place
        if place.is_dir():
            files = {name: sorted(place.glob(f"{name}*.npz")) for name in ("train", "test")}
            if not files["train"]:
                raise RequestError(f"{place} holds no train*.npz")
            found = [read_labelled(paths, self.layout) for paths in files.values() if paths]
        else:
            prefixes = ("train_", "test_") if any(f"train_{kind}" in names_of(place) for kind in INPUTS) else ("",)
            found = [read_labelled([place], self.layout, prefix) for prefix in prefixes]
        labels = found[0].part.targets
        num_classes = max(part.num_classes for part in found) or (int(labels.max()) + 1 if len(labels) else 0)
        return Published(place.stem, num_classes, found[0].part, found[1].part if len(found) > 1 else None)


@dataclass(frozen=True)
class TIMIT(Arrays):
    """Frames of speech as Keskar et al. (2017) train on: 360 features, 1,973 classes; 721,329 and 310,621 of them.

    The corpus is not free: the files are what Kaldi makes of a licensed copy (python -m tune_lb data says where they go).
    """

    path: str = setting("TIMIT", "folder, absolute or under TUNE_LB_DATA")

    def load(self, split_seed: int) -> DataSet:
        """Return the three parts of this cut."""
        if self.path == "TIMIT":
            locate("TIMIT", data_root())
        return super().load(split_seed)


@dataclass(frozen=True)
class ImageFolder(OwnData):
    """A folder of photographs: train/CLASS/*.jpg (or png, webp, ...) and test/ or val/ alike; or CLASS/*.jpg, then cut.

    Every image is scaled (shorter side), cut to a square about its centre, and made RGB. All are decoded when a search starts,
    about 1,000 a second and core at 64 x 64: for large sets write .npz files once and use Arrays.
    """

    image_size: int = setting(64, "height and width in pixels", low=1)

    def has_own_test_split(self) -> bool:
        """Say whether there is a folder train beside one for the test."""
        return (self.place / "train").is_dir() and self._test_folder() is not None

    def read(self) -> Published:
        """Return the decoded images."""
        train, test = self.place / "train", self._test_folder()
        if train.is_dir() and test is None:
            raise RequestError(
                f"{self.place} holds train, but no {' or '.join(TEST_FOLDERS)}: half a data set is not used"
            )
        if not train.is_dir():
            train, test = self.place, None
        paths, labels, names = labelled_files(train)
        whole = read_part(paths, labels, self.image_size)
        if test is None:
            return Published(self.place.name, len(names), whole, None)
        test_paths, test_labels, test_names = labelled_files(test)
        unknown = sorted(set(test_names) - set(names))
        if unknown:
            raise RequestError(f"{test} has classes that {train} has not: {', '.join(unknown)}")
        numbers = np.array([names.index(name) for name in test_names])
        rest: Part = read_part(test_paths, numbers[test_labels], self.image_size)
        return Published(self.place.name, len(names), whole, rest)

    def _test_folder(self) -> Path | None:
        return next((self.place / name for name in TEST_FOLDERS if (self.place / name).is_dir()), None)
