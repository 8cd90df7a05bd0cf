"""Data larger than memory: in files that are made once, shared by processes, and equal to the same data in memory."""

from __future__ import annotations

import multiprocessing
import pickle
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.data.test_files import error_of, folder_of_images
from tune_lb.data import Arrays, DataSet, DataSource, ImageFolder, Part
from tune_lb.data import mapped as mapping
from tune_lb.data.cache import made_once
from tune_lb.data.device import on_device
from tune_lb.data.mapped import MappedArray, in_file, opened, rows_of
from tune_lb.errors import RequestError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    monkeypatch.setenv("TUNE_LB_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def small_is_large(monkeypatch):
    for module in ("npz", "image_files"):
        monkeypatch.setattr(f"tune_lb.data.{module}.LARGE_BYTES", 100)
    monkeypatch.setattr("tune_lb.data.npz.BLOCK_BYTES", 400)
    monkeypatch.setattr("tune_lb.data.image_files.BLOCK_BYTES", 1000)
    monkeypatch.setattr("tune_lb.data.image_files.CACHED_FROM", 3)


def made(root, form, dtype=np.uint8):
    rng = np.random.default_rng(0)
    x = (rng.integers(0, 256, (50, 6, 7, 3)) if dtype == np.uint8 else rng.normal(3, 2, (50, 6, 7, 3))).astype(dtype)
    y = np.arange(50) % 5
    if form == "npz":
        np.savez(root / "own.npz", images=x, labels=y)
        return "own.npz"
    if form == "compressed":
        np.savez_compressed(root / "own.npz", images=x, labels=y)
        return "own.npz"
    (root / "own").mkdir()
    if form == "npy":
        np.save(root / "own" / "images.npy", x)
        np.save(root / "own" / "labels.npy", y)
    else:
        for i, part in enumerate(np.split(np.arange(50), 2)):
            np.savez(root / "own" / f"train_{i}.npz", images=x[part], labels=y[part])
    return "own"


@pytest.mark.parametrize("form", ["npz", "compressed", "npy", "several"])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_large_arrays_are_those_in_memory(root, form, dtype, request, monkeypatch):
    source = Arrays(made(root, form, dtype), num_validation=10, num_test=8)
    inside = source.load(3)
    monkeypatch.setattr("tune_lb.data.published._last", {})
    request.getfixturevalue("small_is_large")
    outside = source.load(3)
    for name in ("train", "validation", "test"):
        assert isinstance(getattr(outside, name).all_inputs, MappedArray)
        np.testing.assert_array_equal(getattr(outside, name).inputs, getattr(inside, name).inputs)
        np.testing.assert_array_equal(getattr(outside, name).targets, getattr(inside, name).targets)
    assert outside.fingerprint() == inside.fingerprint()
    assert outside.problems == []
    index = torch.tensor([3, 1, 3])
    examples = on_device(outside, "cpu").train.standardized(index)
    torch.testing.assert_close(examples, on_device(inside, "cpu").train.standardized(index))


def test_parts_of_their_own_are_used_where_they_lie(root, small_is_large):
    (root / "own").mkdir()
    x, y = np.random.default_rng(0).integers(0, 256, (50, 3, 6, 7), dtype=np.uint8), np.arange(50) % 5
    for part in ("train", "val", "test"):
        np.save(root / "own" / f"{part}_images.npy", x)
        np.save(root / "own" / f"{part}_labels.npy", y)
    data = Arrays("own").load(0)
    np.testing.assert_array_equal(data.validation.inputs, x)
    assert data.num_classes == 5


def test_the_fingerprint_is_that_of_the_same_data_in_memory(root, small_is_large):
    data = Arrays(made(root, "npz"), num_test=8).load(0)
    parts = [Part(np.array(part.inputs), part.targets) for part in (data.train, data.validation, data.test)]
    inside = DataSet(data.name, 5, *parts, data.offset, data.scale)
    assert data.fingerprint() == inside.fingerprint()


def test_values_that_are_not_finite_are_found_in_files_too(root, small_is_large):
    x = np.ones((50, 20), np.float32)
    x[31, 3] = np.nan
    np.savez(root / "own.npz", features=x, labels=np.arange(50) % 2)
    error_of(Arrays("own.npz"), "own.npz", "example 31")
    assert not [path for path in (root / "cache").iterdir() if path.is_dir()]


def test_a_damaged_large_file_is_named(root, small_is_large):
    made(root, "npz")
    content = bytearray((root / "own.npz").read_bytes())
    content[1000] ^= 255
    (root / "own.npz").write_bytes(bytes(content))
    error_of(Arrays("own.npz"), "own.npz", "damaged")


def test_changed_files_are_read_anew(root, small_is_large, monkeypatch):
    source = Arrays(made(root, "npz"), num_test=8)
    before = source.load(0).fingerprint()
    np.savez(root / "own.npz", images=np.zeros((60, 6, 7, 3), np.uint8), labels=np.arange(60) % 5)
    monkeypatch.setattr("tune_lb.data.published._last", {})
    assert source.load(0).fingerprint() != before


@pytest.mark.parametrize("sizes", [{}, {"num_validation": 4, "num_test": 4}])
def test_images_are_decoded_once_and_are_those_in_memory(root, sizes, request, monkeypatch):
    folder_of_images(root / "own", 12)
    source = ImageFolder("own", image_size=8, **sizes)
    inside = source.load(0)
    monkeypatch.setattr("tune_lb.data.published._last", {})
    request.getfixturevalue("small_is_large")
    assert source.load(0).fingerprint() == inside.fingerprint()
    monkeypatch.setattr("tune_lb.data.published._last", {})
    monkeypatch.setattr("tune_lb.data.image_files._decoded", None)
    again = source.load(0)
    assert again.fingerprint() == inside.fingerprint()
    assert isinstance(again.train.all_inputs, MappedArray)


def test_parts_of_images_are_rows_of_one_file(root, small_is_large):
    for part in ("train", "val", "test"):
        folder_of_images(root / "own" / part, 6)
    data = ImageFolder("own", image_size=8).load(0)
    for part in (data.train, data.validation, data.test):
        assert isinstance(part.inputs, MappedArray)
        assert isinstance(pickle.loads(pickle.dumps(part.inputs)), MappedArray)
    np.testing.assert_array_equal(data.train.inputs, data.test.inputs)


def test_a_mapped_array_travels_as_its_place(tmp_path):
    np.save(tmp_path / "x.npy", np.arange(40_000.0).reshape(1000, 40))
    array = opened(tmp_path / "x.npy")
    assert len(pickle.dumps(array)) < 1000
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(rows_of(array, 10, 20))), array[10:20])
    for view in (array[3], array[::2], array[[4, 1]], array[:5]):
        assert type(view) is np.ndarray
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(view)), view)
    assert not array.flags.writeable
    buffers: list = []
    pickle.dumps(array, protocol=5, buffer_callback=buffers.append)
    assert not buffers
    content = pickle.dumps(array)
    (tmp_path / "x.npy").unlink()
    with pytest.raises(RequestError, match="TUNE_LB_CACHE"):
        pickle.loads(content)


@dataclass(frozen=True)
class Mapped(DataSource):
    """Maps a file itself, as one does with np.load."""

    path: str = ""

    def load(self, split_seed):
        x, y = np.load(self.path, mmap_mode="r"), np.arange(100) % 2
        return {"train": (x[:60], y[:60]), "val": (x[60:80], y[60:80]), "test": (x[80:], y[80:])}


def test_what_a_source_of_ones_own_maps_stays_in_its_file(tmp_path):
    x = np.random.default_rng(0).normal(size=(100, 3, 4)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    data = Mapped(str(tmp_path / "x.npy")).load(0)
    for part, (start, stop) in ((data.train, (0, 60)), (data.validation, (60, 80)), (data.test, (80, 100))):
        assert isinstance(part.inputs, MappedArray)
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(part.inputs)), x[start:stop])
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert in_file(mapped[::2]) is not None
    assert not isinstance(in_file(mapped[::2]), MappedArray)


def _make(name, root, log):
    def make(folder):
        with (root / "log").open("a") as file:
            file.write("made\n")
        (folder / "x").write_bytes(b"whole")

    made_once(name, make, 5, "x")
    log.put(True)


def test_several_processes_make_it_once(root):
    context = multiprocessing.get_context("fork")
    done = context.Queue()
    processes = [context.Process(target=_make, args=("key", root, done)) for _ in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert (root / "log").read_text() == "made\n"
    assert (root / "cache" / "key" / "x").read_bytes() == b"whole"


def test_it_is_whole_or_not_there(root):
    def broken(folder):
        (folder / "x").write_bytes(b"half")
        raise OSError("no space left")

    with pytest.raises(RequestError, match=r"no space left. Set TUNE_LB_CACHE"):
        made_once("key", broken, 5, "x")
    assert not (root / "cache" / "key").exists()
    (root / "cache" / ".key.making").mkdir()
    (root / "cache" / ".key.making" / "left by a killed process").write_bytes(b"")
    place = made_once("key", lambda folder: None, 0, "x")
    assert list(place.iterdir()) == []


def test_too_little_space_is_said_before_anything_is_written(root):
    with pytest.raises(RequestError, match=r"needs 1000000000.0 GB .* free some space, or set TUNE_LB_CACHE"):
        made_once("key", lambda folder: None, 10**18, "x")


@pytest.mark.skipif(not mapping.Path("/proc/self/statm").is_file(), reason="no /proc")
def test_pages_are_given_back(tmp_path, monkeypatch):
    monkeypatch.setattr(mapping, "RESIDENT_BYTES", 8 << 20)
    np.save(tmp_path / "x.npy", np.ones((64, 1 << 20), np.uint8))
    array = opened(tmp_path / "x.npy")
    before = mapping._file_bytes()
    total = sum(int(array[i].sum()) for i in range(64))
    for _ in range(100):
        if mapping._file_bytes() < before + (16 << 20):
            break
        mapping.time.sleep(0.05)
    assert mapping._file_bytes() < before + (16 << 20)
    assert total == 64 << 20 == int(array.sum())
