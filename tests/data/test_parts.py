"""Parts of one's own, labels that are strings, and standardization over a named axis."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tune_lb.data import Arrays, ImageFolder
from tune_lb.data.dataset import DataSet, Part
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path))
    return tmp_path


def features(num, start=0.0, shape=(3,)):
    return (np.arange(num * int(np.prod(shape)), dtype=np.float32).reshape(num, *shape) + start), np.arange(num) % 2


def line_of(source):
    with pytest.raises(RequestError) as raised:
        source.load(0)
    (line,) = raised.value.problems
    return line


PARTS = {"train": 0.0, "val": 1000.0, "test": 2000.0}


@pytest.mark.parametrize("word", ["val", "valid", "validation", "dev"])
@pytest.mark.parametrize("where", ["folder", "file", "file without train_"])
def test_a16_the_users_own_validation_part_is_used(root, word, where):
    parts = {word if part == "val" else part: features(8, start) for part, start in PARTS.items()}
    if where == "folder":
        (root / "own").mkdir()
        for part, (x, y) in parts.items():
            np.savez(root / "own" / f"{part}.npz", features=x, labels=y)
        source = Arrays("own")
    else:
        bare = where == "file without train_"
        names = {part: "" if bare and part == "train" else f"{part}_" for part in parts}
        arrays = {f"{names[part]}features": x for part, (x, _) in parts.items()}
        arrays |= {f"{names[part]}labels": y for part, (_, y) in parts.items()}
        np.savez(root / "own.npz", **arrays)
        source = Arrays("own.npz")
    data = source.load(0)
    assert source.has_own_test_split()
    for part, start in (("train", 0.0), ("validation", 1000.0), ("test", 2000.0)):
        np.testing.assert_array_equal(getattr(data, part).inputs, features(8, start)[0])
    assert data.problems == []
    assert "the validation part is" in data.notes[0]


def test_a16_contradictions_are_refused(root):
    (x, y), (v, w) = features(8), features(4, 100.0)
    np.savez(root / "own.npz", train_features=x, train_labels=y, val_features=v, val_labels=w)
    assert "num_validation = 2" in line_of(Arrays("own.npz", num_validation=2))
    data = Arrays("own.npz", num_test=2).load(0)
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [6, 4, 2]
    assert "test is cut" in data.notes[0]
    np.savez(root / "two.npz", train_features=x, train_labels=y, val_features=v, val_labels=w, valid_labels=w)
    assert "val and valid" in line_of(Arrays("two.npz"))
    np.savez(root / "half.npz", train_features=x, train_labels=y, val_features=v)
    assert "no array `val_labels`" in line_of(Arrays("half.npz"))
    np.savez(root / "bytes.npz", train_images=np.zeros((4, 5, 5), np.uint8), train_labels=np.arange(4) % 2)
    with np.load(root / "bytes.npz") as stored:
        np.savez(root / "mixed.npz", **stored, val_images=np.zeros((4, 5, 5)), val_labels=np.arange(4) % 2)
    assert "images of uint8, the validation part images of float32" in line_of(Arrays("mixed.npz"))


def pictures(place, value, num=4, kinds=("a", "b")):
    for kind in kinds:
        (place / kind).mkdir(parents=True)
        for i in range(num):
            Image.new("RGB", (8, 8), (value, i, 0)).save(place / kind / f"{i}.png")


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("train", "validation", "test"), ("Training", "Valid", "Testing")]
)
def test_a16_folders_of_images_have_three_parts(root, names):
    for value, name in enumerate(names):
        pictures(root / "own" / name, 10 * value)
    data = ImageFolder("own", image_size=8).load(0)
    assert [set(part.inputs[:, 0].flatten()) for part in (data.train, data.validation, data.test)] == [{0}, {10}, {20}]
    assert names[1] in data.notes[0]
    assert "num_validation = 3" in line_of(ImageFolder("own", num_validation=3))


def test_a16_a_validation_folder_alone_is_no_test_part(root):
    pictures(root / "own" / "train", 0)
    pictures(root / "own" / "validation", 10)
    source = ImageFolder("own", image_size=8)
    data = source.load(0)
    assert not source.has_own_test_split()
    assert (data.validation.inputs[:, 0] == 10).all()
    assert [len(part.targets) for part in (data.train, data.validation, data.test)] == [6, 8, 2]
    pictures(root / "halves" / "val", 1)
    pictures(root / "halves" / "test", 1)
    assert "no train" in line_of(ImageFolder("halves"))


def sensors(order):
    """Two sensors of scales 1 and 1000 about 5 and -3000, as (N, T, F) or (N, F, T)."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 7, 2)) * [1.0, 1000.0] + [5.0, -3000.0]
    return (x if order == "last" else x.transpose(0, 2, 1)).astype(np.float32)


@pytest.mark.parametrize(
    ("order", "how"), [("last", "auto"), ("last", "last"), ("first", "first"), ("last", "each"), ("first", "each")]
)
def test_a15_each_sensor_is_standardized_by_its_own_statistics(root, order, how):
    x = sensors(order)
    np.savez(
        root / "own.npz",
        train_features=x,
        train_labels=np.arange(300) % 2,
        test_features=x,
        test_labels=np.arange(300) % 2,
    )
    data = Arrays("own.npz", standardize=how).load(0)
    over = {"each": 0, "last": (0, 1), "first": (0, 2)}[order if how == "auto" else how]
    exact = x.astype(np.float64)
    expected = (exact - exact.mean(over, keepdims=True)) / exact.std(over, keepdims=True)
    np.testing.assert_allclose(data.standardized(data.train.inputs), expected, atol=2e-4)
    np.testing.assert_allclose(on_device(data, "cpu").test.standardized().numpy(), expected, atol=2e-4)
    assert {"each": "14 entries", "last": "axis 1", "first": "axis 0"}[how if how != "auto" else "last"] in data.notes[
        -1
    ]


def test_a15_sensors_in_the_other_order_are_not_mixed_in_silence(root):
    np.savez(root / "own.npz", features=sensors("first"), labels=np.arange(300) % 2)
    line = line_of(Arrays("own.npz"))
    assert "standardize='first'" in line
    assert "own.npz" in line


@pytest.mark.parametrize("how", ["off", None])
def test_a15_standardization_can_be_turned_off(root, how):
    x = sensors("last")
    np.savez(root / "own.npz", features=x, labels=np.arange(300) % 2)
    data = Arrays("own.npz", standardize=how).load(0)
    assert (data.offset, data.scale) == (0.0, 1.0)
    assert "not standardized" in data.notes[-1]


def test_a15_all_values_can_be_taken_together(root):
    x = np.random.default_rng(0).normal(3, 2, (40, 3, 5, 6)).astype(np.float32)
    np.savez(
        root / "own.npz", train_images=x, train_labels=np.arange(40) % 2, test_images=x, test_labels=np.arange(40) % 2
    )
    data = Arrays("own.npz", standardize="all").load(0)
    np.testing.assert_allclose(data.standardized(x), (x - x.mean()) / x.std(), atol=1e-5)


@pytest.mark.parametrize("dtype", ["int64", "int32", ">i4", "uint8", "uint16"])
@pytest.mark.parametrize("shape", [(6,), (3, 2)])
def test_b2_features_of_whole_numbers_stay_whole(root, dtype, shape):
    tokens = np.random.default_rng(0).integers(0, 50, (40, *shape)).astype(dtype)
    np.savez(
        root / "own.npz",
        train_features=tokens,
        train_labels=np.arange(40) % 2,
        test_features=tokens,
        test_labels=np.arange(40) % 2,
    )
    data = Arrays("own.npz").load(0)
    assert data.train.inputs.dtype == np.int64
    assert data.keeps_whole_numbers
    np.testing.assert_array_equal(data.standardized(data.train.inputs), tokens)
    assert "whole numbers" in data.notes[-1]
    asked = Arrays("own.npz", standardize="first").load(0)
    assert not asked.keeps_whole_numbers
    over = tuple(i for i in range(tokens.ndim) if i != 1)
    np.testing.assert_allclose(asked.standardized(tokens).mean(over), 0, atol=1e-5)


def test_pixels_are_no_tokens():
    part = Part(np.zeros((4, 2, 2), np.uint8), np.zeros(4, np.int64))
    assert not DataSet("pixels", 2, part, part, part).keeps_whole_numbers


def test_the_default_is_no_part_of_the_fingerprint():
    part = Part(np.zeros((4, 2, 2), np.uint8), np.zeros(4, np.int64))
    plain, last, noted = (
        DataSet("p", 2, part, part, part, (1.0, 2.0), (1.0, 1.0), *rest) for rest in ((), (1,), (0, ("said",)))
    )
    assert plain.fingerprint() == noted.fingerprint() != last.fingerprint()


@pytest.mark.parametrize("dtype", [str, "S5"])
def test_b14_strings_are_classes_in_sorted_order_and_it_is_said(root, dtype):
    words = np.array(["dog", "cat", "emu"] * 4).astype(dtype)
    np.savez(
        root / "own.npz",
        train_features=features(12)[0],
        train_labels=words,
        test_features=features(3)[0],
        test_labels=words[:3],
    )
    data = Arrays("own.npz").load(0)
    assert data.num_classes == 3
    assert list(data.test.targets) == [1, 0, 2]
    assert data.train.targets.dtype == np.int64
    assert any("cat = 0, dog = 1, emu = 2 (3 classes)" in note for note in data.notes)
    np.savez(
        root / "own.npz",
        train_features=features(3)[0],
        train_labels=words[:3],
        test_features=features(1)[0],
        test_labels=np.array(["fox"]),
    )
    assert "'fox'" in line_of(Arrays("own.npz", num_train=3))


def test_b14_strings_take_the_order_of_classes_where_it_is_given(root):
    np.savez(
        root / "own.npz",
        features=features(8)[0],
        labels=np.array(["no", "yes"] * 4),
        classes=np.array(["yes", "no", "maybe"]),
    )
    data = Arrays("own.npz", num_test=2).load(0)
    assert data.num_classes == 3
    assert set(data.train.targets) == {0, 1}


@pytest.mark.parametrize(
    ("labels", "word"),
    [
        (np.array([0.0, 1.0, 2.0, 1.0]), "astype('int64')"),
        (np.array([0.5, 1.0, 2.0, 1.0]), "float64"),
        (np.array([0, 1, np.nan, 1]), "float64"),
        (np.array([0, 1j, 1, 0]), "complex128"),
    ],
)
def test_b14_labels_that_are_no_classes_are_refused(root, labels, word):
    np.savez(root / "own.npz", features=features(4)[0], labels=labels)
    assert word in line_of(Arrays("own.npz"))


def test_labels_true_and_false_are_two_classes(root):
    np.savez(root / "own.npz", features=features(8)[0], labels=np.arange(8) % 2 == 1)
    data = Arrays("own.npz", num_test=2).load(0)
    assert (data.num_classes, data.train.targets.dtype) == (2, np.int64)


def test_what_is_not_read_is_said(root):
    x, y = features(8)
    np.savez(root / "own.npz", features=x, labels=y, groups=y)
    assert "not read: groups" in Arrays("own.npz", num_test=2).load(0).notes


@pytest.mark.parametrize(
    ("targets", "dtype", "outputs"),
    [
        (np.linspace(0, 1, 40), np.float32, 1),
        (np.ones((40, 3), bool), np.float32, 3),
        (np.arange(80, dtype=np.int32).reshape(40, 2) % 7, np.int64, 7),
        (np.arange(40) % 3, np.int64, 3),
    ],
)
def test_targets_that_are_no_classes_are_an_array_of_their_own(root, targets, dtype, outputs):
    x = np.random.default_rng(0).normal(size=(40, 2))
    np.savez(root / "own.npz", features=x, targets=targets, val_features=x, val_targets=targets)
    whole = Arrays("own.npz").read()
    assert whole.num_classes == outputs
    assert whole.validation.targets.dtype == dtype
    np.testing.assert_allclose(whole.train.targets, targets)
    np.savez(root / "own.npz", features=x, targets=targets, val_features=x, val_labels=np.zeros(40, int))
    assert "the train part has targets, the validation part labels" in line_of(Arrays("own.npz"))
