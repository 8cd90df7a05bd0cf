"""Data from files: what is read is what was written, and what is missing, halved or damaged is refused by name."""

from __future__ import annotations

import pickle
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tune_lb.data.caltech import Caltech101
from tune_lb.data.catalogue import ENTRIES
from tune_lb.data.cifar import CIFAR10, CIFAR100
from tune_lb.data.device import on_device
from tune_lb.data.mnist import MNIST, FashionMNIST
from tune_lb.data.tiny_imagenet import TinyImageNet
from tune_lb.data.user_files import TIMIT, Arrays, ImageFolder
from tune_lb.errors import RequestError


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    return tmp_path


def photographs(num, *shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (num, *shape), dtype=np.uint8), np.arange(num) % 5


def save(path, images, labels, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, images=images, labels=labels, **more)


def error_of(source, *words):
    with pytest.raises(RequestError) as raised:
        source.load(0)
    (line,) = raised.value.problems
    for word in words:
        assert str(word) in line
    return line


def pairs(part):
    return sorted((image.tobytes(), int(label)) for image, label in zip(part.inputs, part.targets, strict=True))


@pytest.mark.parametrize("layout", ["channels_last", "channels_first", "grey"])
def test_a_folder_of_npz_gives_its_images_and_labels(root, layout):
    shape = {"channels_last": (6, 7, 3), "channels_first": (3, 6, 7), "grey": (6, 7)}[layout]
    for name, num in (("train_0", 20), ("train_1", 10), ("test", 15)):
        save(root / "own" / f"{name}.npz", *photographs(num, *shape, seed=num))
    source = Arrays("own", num_validation=5)
    data = source.load(0)
    assert source.has_own_test_split()
    assert (data.input_shape, data.num_classes) == ((6, 7) if layout == "grey" else (3, 6, 7), 5)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [25, 5, 15]
    images = np.concatenate([photographs(num, *shape, seed=num)[0] for num in (20, 10)])
    images = images.transpose(0, 3, 1, 2) if layout == "channels_last" else images
    labels = np.concatenate([np.arange(20) % 5, np.arange(10) % 5])
    wanted = sorted((image.tobytes(), int(label)) for image, label in zip(images, labels, strict=True))
    assert sorted(pairs(data.train) + pairs(data.validation)) == wanted
    assert data.train.inputs.dtype == np.uint8
    assert data.problems == []


def test_channels_and_features_are_standardized_by_the_train_part(root):
    rng = np.random.default_rng(0)
    features = rng.normal([1.0, -50.0, 3.0], [2.0, 10.0, 0.0], (500, 3)).astype(np.float32)
    np.savez(root / "own.npz", features=features, labels=np.arange(500) % 4)
    data = Arrays("own.npz", num_validation=100, num_test=100).load(3)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [300, 100, 100]
    inputs = data.standardized(data.train.inputs)
    np.testing.assert_allclose(inputs.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(inputs.std(0), [1, 1, 0], atol=1e-4)
    assert data.standardized(data.test.inputs)[:, 0].mean() != 0
    save(root / "rgb" / "train.npz", *photographs(40, 9, 8, 3))
    data = Arrays("rgb", num_test=10).load(0)
    inputs = data.standardized(data.train.inputs)
    np.testing.assert_allclose(inputs.mean((0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(inputs.std((0, 2, 3)), 1, atol=1e-5)


def test_one_file_with_or_without_a_test_part(root):
    (x, y), (z, t) = photographs(40, 4, 4), photographs(12, 4, 4, seed=1)
    np.savez(root / "both.npz", train_images=x, train_labels=y, test_images=z, test_labels=t)
    np.savez(root / "whole.npz", images=x, labels=y)
    both, whole = Arrays("both.npz"), Arrays("whole.npz")
    assert (both.has_own_test_split(), whole.has_own_test_split()) == (True, False)
    assert pairs(both.load(0).test) == sorted((i.tobytes(), int(v)) for i, v in zip(z, t, strict=True))
    assert [len(whole.load(0).train.targets), len(whole.load(0).test.targets)] == [30, 10]
    assert not np.array_equal(whole.load(0).test.inputs, whole.load(1).test.inputs)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"images": np.zeros((4, 6, 6), np.uint8)}, ["no array `labels`", "images"]),
        ({"labels": np.zeros(4, int)}, ["`images` or `features`"]),
        ({"images": np.zeros((4, 6, 6), np.uint8), "labels": np.zeros(5, int)}, ["4 images and 5 labels"]),
        ({"images": np.zeros((4, 6, 6), np.uint8), "labels": np.zeros(4)}, ["labels are float64"]),
        ({"images": np.zeros((4, 3, 6, 3), np.uint8), "labels": np.zeros(4, int)}, ["layout='channels_first'"]),
        ({"images": np.zeros((4, 9), np.uint8), "labels": np.zeros(4, int)}, ["(4, 9)"]),
        (
            {"images": np.zeros((4, 6, 6), np.uint8), "labels": np.arange(4) - 1},
            ["label -1 of example 0 is out of range 0 .. 2"],
        ),
        ({"images": np.zeros((0, 6, 6), np.uint8), "labels": np.zeros(0, int)}, ["empty"]),
        ({"images": np.zeros((4, 6, 6), np.uint8), "labels": np.eye(4, dtype=int)}, ["(4, 4)", "not a row"]),
        (
            {"images": np.array([np.zeros(2), np.zeros(3)], object), "labels": np.arange(2)},
            ["numpy.savez", "one shape"],
        ),
    ],
)
def test_arrays_that_cannot_be_used_are_refused_with_the_file(root, arrays, words):
    np.savez(root / "own.npz", **arrays)
    error_of(Arrays("own.npz", num_test=1), "own", *words)


def test_labels_beyond_the_classes_and_nan_are_problems_of_the_data(root):
    features = np.ones((20, 3), np.float32)
    features[[4, 7], 1] = np.nan, np.inf
    np.savez(root / "own.npz", features=features, labels=np.arange(20) % 5, classes=np.array(list("abc")))
    # numbered as in the file, before anything is cut from it
    with pytest.raises(RequestError) as raised:
        Arrays("own.npz", num_test=2).load(0)
    label, value = raised.value.problems
    assert label.startswith(f"{root / 'own.npz'}: label 3 of example 3 is out of range 0 .. 2 (8 such examples)")
    assert value.startswith(f"{root / 'own.npz'}: example 4 has values that are not finite (NaN or infinite) (2 such")
    save(root / "two" / "train.npz", *photographs(20, 4, 4))
    save(root / "two" / "test.npz", photographs(20, 4, 4)[0], np.arange(20))
    (line,) = Arrays("two").load(0).problems
    assert "two, test part: label 5 of example 5 is out of range 0 .. 4 (15 such examples)" in line


def test_a_test_part_of_another_shape_is_a_problem(root):
    save(root / "own" / "train.npz", *photographs(20, 4, 4))
    save(root / "own" / "test.npz", *photographs(20, 5, 4))
    (line,) = Arrays("own").load(0).problems
    assert "(5, 4)" in line
    assert "(4, 4)" in line


@pytest.mark.parametrize("keep", [0, 10, 300, 2000])
def test_a_truncated_npz_is_named(root, keep):
    save(root / "CIFAR10" / "train.npz", *photographs(100, 32, 32, 3))
    save(root / "CIFAR10" / "test.npz", *photographs(100, 32, 32, 3))
    path = root / "CIFAR10" / "test.npz"
    path.write_bytes(path.read_bytes()[:-keep] if keep else b"")
    error_of(CIFAR10(num_validation=0), path, "truncated")


def test_an_npz_with_a_changed_byte_is_named(root):
    save(root / "own" / "train.npz", *photographs(100, 8, 8))
    path = root / "own" / "train.npz"
    content = bytearray(path.read_bytes())
    content[1000] ^= 255
    path.write_bytes(bytes(content))
    error_of(Arrays("own", num_test=5), path, "damaged")


@pytest.mark.parametrize(
    ("source", "path", "how"),
    [
        (MNIST(), "MNIST/raw/train-images-idx3-ubyte", "data MNIST --download"),
        (FashionMNIST(), "FashionMNIST/raw/train-images-idx3-ubyte", "data FashionMNIST --download"),
        (CIFAR10(), "CIFAR10/train.npz", "data CIFAR10 --download"),
        (CIFAR100(), "cifar-100-python", "data CIFAR100 --download"),
        (Caltech101(), "Caltech101/train.npz", "data Caltech101 --download"),
        (TinyImageNet(), "tiny-imagenet-200/train", "data TinyImageNet --download"),
        (TIMIT(), "TIMIT/train.npz", "LDC"),
        (Arrays("mine.npz"), "mine.npz", "absolute path"),
        (ImageFolder("pictures"), "pictures", "absolute path"),
    ],
)
def test_a_missing_set_gets_what_where_and_how(root, source, path, how):
    error_of(source, type(source).__name__, root / path, "TUNE_LB_DATA", how)


def test_half_a_set_is_refused(root):
    save(root / "CIFAR100" / "train.npz", *photographs(100, 32, 32, 3))
    error_of(CIFAR100(), "CIFAR100 is incomplete", root / "CIFAR100" / "test.npz")
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte"):
        (root / "MNIST" / "raw").mkdir(parents=True, exist_ok=True)
        (root / "MNIST" / "raw" / name).write_bytes(b"")
    error_of(MNIST(), "MNIST is incomplete", "t10k-labels-idx1-ubyte")


def idx(array):
    return b"\x00\x00\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.mark.parametrize(
    ("damage", "word"), [("cut", "9,815 of 10,008 bytes"), ("fewer", "incomplete"), ("other", "begin")]
)
def test_damaged_idx_files_are_named(root, damage, word):
    files = {
        "train-images-idx3-ubyte": np.zeros((60_000, 28, 28), np.uint8),
        "train-labels-idx1-ubyte": np.zeros(60_000, np.uint8),
        "t10k-images-idx3-ubyte": np.zeros((10_000, 28, 28), np.uint8),
        "t10k-labels-idx1-ubyte": np.zeros(10_000, np.uint8),
    }
    (root / "MNIST" / "raw").mkdir(parents=True)
    for name, array in files.items():
        (root / "MNIST" / "raw" / name).write_bytes(idx(array))
    path = root / "MNIST" / "raw" / "t10k-labels-idx1-ubyte"
    content = {
        "cut": path.read_bytes()[:-193],
        "fewer": idx(np.zeros(9_000, np.uint8)),
        "other": b"<html>not found</html>",
    }[damage]
    path.write_bytes(content)
    error_of(MNIST(), path, word, "data MNIST --download")


def test_torchvisions_cifar_with_a_damaged_file_is_named(root):
    folder = root / "cifar-10-batches-py"
    folder.mkdir()
    for i in range(1, 6):
        (folder / f"data_batch_{i}").write_bytes(pickle.dumps({}))
    error_of(CIFAR10(), folder / "data_batch_1", "checksum", "data CIFAR10 --download")


def folder_of_images(place, num, size=(20, 10), kinds=("a", "b")):
    for k, kind in enumerate(kinds):
        (place / kind).mkdir(parents=True)
        for i in range(num):
            Image.new("RGB" if i else "L", size, (10 * i, 99, 0) if i else 7 + k).save(place / kind / f"{i}.png")


def test_a_folder_of_images(root):
    folder_of_images(root / "pictures" / "train", 6)
    folder_of_images(root / "pictures" / "test", 2, size=(10, 40), kinds=("b",))
    source = ImageFolder("pictures", image_size=10, num_validation=2)
    data = source.load(0)
    assert source.has_own_test_split()
    assert (data.input_shape, data.num_classes, len(data.train.targets)) == ((3, 10, 10), 2, 10)
    assert list(data.test.targets) == [1, 1]
    assert set(data.test.inputs[:, 0].flatten().tolist()) == {7, 10}
    flat = {tuple(image[:, 5, 5].tolist()) for image in data.train.inputs}
    assert (20, 99, 0) in flat
    assert data.problems == []


def test_a_folder_without_a_test_part_is_cut(root):
    folder_of_images(root / "pictures", 8)
    source = ImageFolder("pictures", image_size=4, num_test=4)
    data = source.load(0)
    assert not source.has_own_test_split()
    assert sorted(data.test.targets) == [0, 0, 1, 1]
    assert len(data.train.targets) == 12


def test_scaling_keeps_the_centre(root):
    stripes = np.zeros((8, 24, 3), np.uint8)
    stripes[:, 8:16] = 200
    (root / "pictures" / "a").mkdir(parents=True)
    for i in range(4):
        Image.fromarray(stripes).save(root / "pictures" / "a" / f"{i}.png")
    data = ImageFolder("pictures", image_size=8).load(0)
    assert (data.train.inputs == 200).all()
    data = ImageFolder("pictures", image_size=4).load(0)
    assert (data.train.inputs[:, :, :, 1:3] == 200).all()


def test_a_truncated_image_and_a_class_without_images_are_named(root):
    folder_of_images(root / "pictures", 4, size=(64, 64))
    path = root / "pictures" / "b" / "2.png"
    path.write_bytes(path.read_bytes()[:-40])
    error_of(ImageFolder("pictures"), path, "cannot be read whole")
    (root / "others" / "empty").mkdir(parents=True)
    folder_of_images(root / "others", 4)
    error_of(ImageFolder("others"), root / "others", "empty")
    folder_of_images(root / "third" / "train", 2)
    error_of(ImageFolder("third"), "no test or val")


def test_tiny_imagenet_must_be_whole(root):
    folder = root / "tiny-imagenet-200"
    folder_of_images(folder / "train", 2, kinds=("n1", "n2"))
    (folder / "val" / "images").mkdir(parents=True)
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn1\t0\t0\t1\t1\n")
    error_of(TinyImageNet(), folder / "train", "4 of 100,000 images")


def test_caltech_of_another_size_or_part_is_refused(root):
    for name in ("train", "test"):
        save(root / "Caltech101" / f"{name}.npz", *photographs(10, 32, 32, 3))
    error_of(Caltech101(num_validation=0), "image_size = 64", "32 x 32")
    data = Caltech101(num_validation=0, image_size=32).load(0)
    assert data.name == "Caltech101 32x32"
    folder_of_images(root / "other" / "caltech101" / "101_ObjectCategories", 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_LB_DATA", str(root / "other"))
        error_of(Caltech101(), "4 of 8,677 images in 2 of 101 classes")


def test_caltech_with_its_background_class(root):
    for name in ("train", "test"):
        save(root / "Caltech101" / f"{name}.npz", *photographs(10, 64, 64, 3))
    error_of(Caltech101(num_validation=0, background=True), "background = True", "without BACKGROUND_Google")
    assert Caltech101(num_validation=0).load(0).num_classes == 101
    folder = root / "other" / "caltech101" / "101_ObjectCategories"
    folder_of_images(folder, 2, kinds=("BACKGROUND_Google", "ant", "bee"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TUNE_LB_DATA", str(root / "other"))
        patch.setattr("tune_lb.data.caltech.NUM_IMAGES", 4)
        patch.setattr("tune_lb.data.caltech.NUM_CLASSES", 2)
        found = {known: Caltech101(num_validation=0, background=known).load(0) for known in (False, True)}
        assert [(d.num_classes, len(d.train.targets) + len(d.test.targets)) for d in found.values()] == [(2, 4), (3, 6)]
        assert found[True].name == "Caltech101 64x64 with background"
        shutil.rmtree(folder / "BACKGROUND_Google")
        patch.setattr("tune_lb.data.published._last", {})
        error_of(Caltech101(num_validation=0, background=True), "no folder BACKGROUND_Google")


@pytest.mark.parametrize(("pixels", "by"), [("unit", 255.0), ("raw", 1.0)])
def test_pixels_as_they_are(root, pixels, by):
    for name in ("train", "test"):
        save(root / "CIFAR10" / f"{name}.npz", *photographs(30, 32, 32, 3))
    with np.load(root / "CIFAR10" / "train.npz") as file:
        stored = next(file[key] for key in file if file[key].ndim == 4).transpose(0, 3, 1, 2)
    data, plain = CIFAR10(num_validation=0, pixels=pixels).load(0), CIFAR10(num_validation=0).load(0)
    found = on_device(data, "cpu").train.standardized(slice(None)).double().numpy()
    np.testing.assert_allclose(found, stored / by, rtol=1e-6)
    mean, deviation = (np.array(v).reshape(3, 1, 1) for v in (CIFAR10.mean, CIFAR10.deviation))
    standardized = on_device(plain, "cpu").train.standardized(slice(None)).double().numpy()
    np.testing.assert_allclose(standardized, (stored / 255 - mean) / deviation, rtol=1e-4, atol=1e-5)
    assert data.fingerprint() != plain.fingerprint()


def test_what_is_asked_for_must_be_there(root):
    save(root / "own" / "train.npz", *photographs(20, 4, 4))
    save(root / "own" / "test.npz", *photographs(20, 4, 4))
    error_of(Arrays("own", num_validation=20), "num_validation = 20", "20 examples")
    error_of(Arrays("own", num_train=15, num_validation=10), "15 + 10", "20")
    error_of(Arrays("own", num_test=5), "num_test = 5", "test part of its own")
    (line,) = Arrays().problems()
    assert "path is empty" in line


def test_a_subset_is_called_one(root):
    for name in ("train", "test"):
        save(root / "CIFAR100" / f"{name}.npz", *photographs(30, 32, 32, 3))
    assert CIFAR100(num_validation=0).load(0).name == "CIFAR100 (subset of 30 + 30)"


def test_every_entry_names_a_source_that_can_be_made():
    import importlib

    for entry in ENTRIES:
        module, name = entry.source.rsplit(".", 1)
        source = getattr(importlib.import_module(module), name)()
        assert source.problems() == []
        assert name == entry.name
