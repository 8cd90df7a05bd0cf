"""The built-in data sets: where their files lie under TUNE_LB_DATA, whether they are there, and how to get them."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from tune_lb.data.places import candidates, data_root
from tune_lb.errors import PROGRAM, RequestError, nearest


class RemoteFile(NamedTuple):
    """A file that can be downloaded and checked."""

    path: str
    """Where it goes, under the folder of data sets."""
    urls: tuple[str, ...]
    md5: str
    num_bytes: int
    """About: the server knows better."""


class Entry(NamedTuple):
    """A built-in data set."""

    name: str
    source: str
    """Qualified name of the class for a space."""
    contents: str
    forms: dict[str, tuple[str, ...]]
    """Ways in which the files may lie, the best first: form -> paths that must all be there. Empty: no files needed."""
    downloads: tuple[RemoteFile, ...] = ()
    unpacked: tuple[tuple[str, str], ...] = ()
    """Path among what the downloads hold -> path under the folder of data sets."""
    how: str = ""
    """What to do where nothing can be downloaded."""


class Found(NamedTuple):
    """The files of a data set."""

    form: str
    paths: tuple[Path, ...]

    @property
    def num_bytes(self) -> int:
        """Return their size."""
        files = (file for path in self.paths for file in ([path] if path.is_file() else path.rglob("*")))
        return sum(file.stat().st_size for file in files if file.is_file())


def _idx(name: str, mirrors: tuple[str, ...], sums: tuple[str, ...], sizes: tuple[int, ...]) -> tuple[RemoteFile, ...]:
    return tuple(
        RemoteFile(f"{name}/raw/{file}.gz", tuple(f"{mirror}{file}.gz" for mirror in mirrors), md5, size)
        for file, md5, size in zip(IDX_FILES, sums, sizes, strict=True)
    )


IDX_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"

ENTRIES = (
    Entry("Digits", "tune_lb.data.Digits", "1,797 of 8 x 8 grey, 10 classes", {}),
    Entry(
        "MNIST",
        "tune_lb.data.MNIST",
        "60,000 + 10,000 of 28 x 28 grey, 10 classes",
        {"torchvision": tuple(f"MNIST/raw/{file}" for file in IDX_FILES)},
        _idx(
            "MNIST",
            ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
            (
                "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "d53e105ee54ea40749a09fcbcd1e9432",
                "9fb629c4189551a2d022fa330f9573f3",
                "ec29112dd5afa0611ce80d1b7f02629c",
            ),
            (9_912_422, 28_881, 1_648_877, 4_542),
        ),
        tuple((file, f"MNIST/raw/{file}") for file in IDX_FILES),
    ),
    Entry(
        "FashionMNIST",
        "tune_lb.data.FashionMNIST",
        "60,000 + 10,000 of 28 x 28 grey, 10 classes",
        {"torchvision": tuple(f"FashionMNIST/raw/{file}" for file in IDX_FILES)},
        _idx(
            "FashionMNIST",
            ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
            (
                "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "25c81989df183df01b3e8a0aad5dffbe",
                "bef4ecab320f06d8554ea6380940ec79",
                "bb300cfdad3c16e7a12a480ee83cd310",
            ),
            (26_421_880, 29_515, 4_422_102, 5_148),
        ),
        tuple((file, f"FashionMNIST/raw/{file}") for file in IDX_FILES),
    ),
    Entry(
        "CIFAR10",
        "tune_lb.data.CIFAR10",
        "50,000 + 10,000 of 32 x 32 RGB, 10 classes",
        {"torchvision": ("cifar-10-batches-py",), "npz": ("CIFAR10/train.npz", "CIFAR10/test.npz")},
        (
            RemoteFile(
                "cifar-10-python.tar.gz",
                (f"{CIFAR_URL}cifar-10-python.tar.gz",),
                "c58f30108f718f92721af3b95e74349a",
                170_498_071,
            ),
        ),
        (("cifar-10-batches-py", "cifar-10-batches-py"),),
    ),
    Entry(
        "CIFAR100",
        "tune_lb.data.CIFAR100",
        "50,000 + 10,000 of 32 x 32 RGB, 100 classes",
        {"torchvision": ("cifar-100-python",), "npz": ("CIFAR100/train.npz", "CIFAR100/test.npz")},
        (
            RemoteFile(
                "cifar-100-python.tar.gz",
                (f"{CIFAR_URL}cifar-100-python.tar.gz",),
                "eb9058c3a382ffc7106e4002c42a8d85",
                169_001_437,
            ),
        ),
        (("cifar-100-python", "cifar-100-python"),),
    ),
    Entry(
        "Caltech101",
        "tune_lb.data.Caltech101",
        "8,677 RGB photographs, 101 classes (without BACKGROUND_Google)",
        {
            "torchvision": ("caltech101/101_ObjectCategories",),
            "npz": ("Caltech101/train.npz", "Caltech101/test.npz"),
        },
        (
            RemoteFile(
                "caltech101/caltech-101.zip",
                ("https://data.caltech.edu/records/mzrjq-6wc02/files/caltech-101.zip",),
                "3138e1922a9193bfa496528edbbc45d0",
                137_414_764,
            ),
        ),
        (("101_ObjectCategories", "caltech101/101_ObjectCategories"),),
    ),
    Entry(
        "TinyImageNet",
        "tune_lb.data.TinyImageNet",
        "100,000 + 10,000 of 64 x 64 RGB, 200 classes",
        {
            "npz": ("TinyImageNet/train.npz", "TinyImageNet/test.npz"),
            "folder": (
                "tiny-imagenet-200/train",
                "tiny-imagenet-200/val/images",
                "tiny-imagenet-200/val/val_annotations.txt",
            ),
        },
        (
            RemoteFile(
                "tiny-imagenet-200.zip",
                ("http://cs231n.stanford.edu/tiny-imagenet-200.zip",),
                "90528d7ca1a48142e341f4ef8d21d0de",
                248_100_043,
            ),
        ),
        (("tiny-imagenet-200", "tiny-imagenet-200"),),
    ),
    Entry(
        "TIMIT",
        "tune_lb.data.TIMIT",
        "721,329 + 310,621 of 360 features, 1,973 classes",
        {"npz": ("TIMIT/train.npz", "TIMIT/test.npz")},
        how="the corpus is sold by the LDC (LDC93S1); write features (N, 360) and labels (N,) of Kaldi's frames to "
        "TIMIT/train.npz and TIMIT/test.npz",
    ),
)


def entry(name: str) -> Entry:
    """Return a built-in data set by name; raise RequestError for an unknown one."""
    known = {found.name: found for found in ENTRIES}
    if name not in known:
        raise RequestError(f"there is no built-in data set {name!r}{nearest(name, known)}")
    return known[name]


def how_to_get(of: Entry) -> str:
    """Return what to do to have the data set."""
    if of.downloads:
        return f"{PROGRAM} data {of.name} --download"
    return of.how or "nothing to get: embedded"


def look(name: str, root: Path) -> Found | None:
    """Return where the files of a data set lie, None where nothing of it is there.

    Raises RequestError if only some of the files of a form are there: half a data set is never used.
    """
    known = entry(name)
    partial = ""
    for form, relative in known.forms.items():
        paths = tuple(root / path for path in relative)
        missing = [path for path in paths if not path.exists()]
        if not missing:
            return Found(form, paths)
        if len(missing) < len(paths):
            partial = partial or f"{name} is incomplete: {', '.join(map(str, missing))} is missing"
    if partial:
        raise RequestError(f"{partial}. Get it again: {how_to_get(known)}")
    return None


def locate(name: str, root: Path) -> Found:
    """Return where the files of a data set lie; raise RequestError with what, where and how to get it if they are missing."""
    found = look(name, root)
    if found is None:
        known = entry(name)
        places = " or ".join(f"{root / paths[0]}" for paths in known.forms.values())
        raise RequestError(
            f"{name} is not there: no {places} (TUNE_LB_DATA = {root}). Get it: {how_to_get(known)}; if it lies elsewhere, "
            f"set TUNE_LB_DATA to that folder ({PROGRAM} spaces --names: what runs without it)"
        )
    return found


def why_missing(name: str, beside: Path) -> str | None:
    """Return what is missing of a built-in data set, or of a path of the user's, and how to get it; None where it is there.

    beside: the folder in which a relative path is looked up first.
    """
    root = data_root()
    if name in {known.name for known in ENTRIES}:
        try:
            if entry(name).forms:
                locate(name, root)
        except RequestError as error:
            return str(error)
        return None
    if any(place.exists() for place in candidates(name, root, beside)):
        return None
    return f"{name} is not there: no {root / name} (TUNE_LB_DATA = {root}). Put it there as the space file says"
