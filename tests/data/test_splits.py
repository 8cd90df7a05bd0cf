"""A split is an index: arrays are in memory once, whatever refers to them, in the driver, in a worker and on the device."""

from __future__ import annotations

import pickle
import time
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from tests.data.test_large_data import made, root, small_is_large  # noqa: F401  (fixtures)
from tune_lb.data import CIFAR10, MNIST, Arrays, Caltech101, DataSet, DataSource, Digits, Part
from tune_lb.data.device import OnDevice, on_device
from tune_lb.data.mapped import MappedArray
from tune_lb.data.splits import KEPT, Splits
from tune_lb.errors import RequestError
from tune_lb.trees import first_leaf

PARTS = ("train", "validation", "test")


def storages(parts):
    """Return where the inputs and the targets of the parts lie."""
    examples = [getattr(parts, name) for name in PARTS]
    return {first_leaf(t).data_ptr() for e in examples for t in (e.all_inputs, e.all_targets)}


def test_splits_refer_to_the_same_arrays_here_in_a_worker_and_on_the_device():
    splits = Splits(Digits())
    first = splits[0]
    travelled = pickle.loads(pickle.dumps(splits, protocol=5))
    for own in (splits, travelled):
        device = OnDevice("cpu")
        own_parts = [device.parts(own[seed]) for seed in range(30)]
        assert len(set.union(*map(storages, own_parts))) == 2, "one array of inputs, one of targets"
        assert own_parts[3].train.all_inputs.data_ptr() == own[0].train.all_inputs.ctypes.data, "and no copies of these"
        assert device.parts(own[3]) is own_parts[3]
    assert len(travelled) == 30
    assert first.train.all_inputs is splits[29].test.all_inputs
    assert splits[7].fingerprint() == travelled[7].fingerprint() == Digits().load(7).fingerprint()


def test_a_split_takes_little_to_travel():
    splits = Splits(Digits())
    one = len(pickle.dumps(splits[0]))
    assert one - splits[0].train.all_inputs.nbytes < 6 * 8 * 1797
    for seed in range(30):
        splits[seed]
    assert len(pickle.dumps(splits)) < one, "they are made anew where they arrive"


def test_parts_are_the_rows_of_the_whole_and_their_tensors_those_of_copies():
    data = Digits().load(5)
    apart = DataSet("digits", 10, *(Part(*getattr(data, name)) for name in PARTS), data.offset, data.scale)
    chosen, copied = on_device(data, "cpu"), on_device(apart, "cpu")
    assert data.fingerprint() == apart.fingerprint()
    index = torch.tensor([8, 3, 3])
    for name in PARTS:
        part, one, other = getattr(data, name), getattr(chosen, name), getattr(copied, name)
        np.testing.assert_array_equal(part.all_inputs[part.examples], part.inputs)
        assert other.rows is None
        assert len(one) == len(other) == part.number
        for cut in (index, slice(2, 7), slice(None)):
            assert torch.equal(one.standardized(cut), other.standardized(cut))
        assert torch.equal(one.standardized_rows(one.rows_at(index)), other.standardized(index))
        assert torch.equal(one.targets, other.targets)
        assert torch.equal(one.inputs, other.inputs)
        assert torch.equal(one.first(4).standardized(), other.first(4).standardized())
    together = np.sort(np.concatenate([getattr(data, name).examples for name in PARTS]))
    np.testing.assert_array_equal(together, np.arange(1797))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_on_a_gpu_splits_share_one_copy_resident_or_streamed():
    first, second = Digits().load(0), Digits().load(1)
    for resident in (True, False):
        device = OnDevice("cuda", resident)
        one, other = device.parts(first), device.parts(second)
        assert one.train.all_inputs.data_ptr() == other.test.all_inputs.data_ptr()
        assert one.train.is_resident == resident
        host = on_device(second, "cpu").train
        for index in (slice(2, 9), torch.tensor([5, 1, 1])):
            assert torch.equal(other.train.standardized(index).cpu(), host.standardized(index))
            rows = other.train.rows_at(torch.arange(3, device=other.train.inputs_device))
            assert torch.equal(other.train.standardized_rows(rows).cpu(), host.standardized(slice(0, 3)))
        assert torch.equal(other.train.targets.cpu(), host.targets)


# recorded before splits were indices: trial ids of earlier runs hang on them
@pytest.mark.parametrize(
    ("source", "split_seed", "fingerprint"),
    [
        (Digits(), 0, "d459f2aad352214f"),
        (Digits(num_train=900, num_validation=0), 3, "3592f9b6900f13cc"),
        pytest.param(MNIST(num_train=2000, num_validation=4000), 1, "e80063f5716f9d68", marks=pytest.mark.data),
    ],
)
def test_fingerprints_are_those_of_earlier_runs(source, split_seed, fingerprint):
    assert source.load(split_seed).fingerprint() == fingerprint


@pytest.mark.data
def test_thirty_splits_are_made_and_told_apart_in_little_time():
    splits = Splits(MNIST(num_train=2000, num_validation=2000))
    splits[0]
    started = time.perf_counter()
    assert len({splits[seed].fingerprint() for seed in range(30)}) == 30
    # about 0.5 s where nothing else runs
    assert time.perf_counter() - started < 6.0


def test_splits_of_a_file_are_indices_into_it(root, small_is_large):  # noqa: F811
    splits = Splits(Arrays(made(root, "compressed", np.float32), num_validation=10, num_test=8))
    first, second = splits[0], splits[1]
    assert isinstance(first.train.all_inputs, MappedArray)
    assert first.train.all_inputs is second.test.all_inputs
    assert len([path for path in (root / "cache").iterdir() if path.is_dir()]) == 1, "one file"
    assert len(pickle.dumps(splits)) < 4000
    values = np.concatenate([np.asarray(getattr(second, name).inputs) for name in PARTS])
    assert values.shape == (50, 3, 6, 7)
    assert second.offset == pytest.approx(np.asarray(second.train.inputs, np.float64).mean((0, 2, 3)), rel=1e-6)
    assert first.offset != second.offset, "each has the constants of its train part"


@dataclass(frozen=True)
class Own(DataSource):
    """Random numbers, drawn anew for every split."""

    def load(self, split_seed):
        rng = np.random.default_rng(split_seed)
        part = (rng.normal(size=(12, 3)).astype(np.float32), np.arange(12) % 2)
        return part, part, part


@dataclass(frozen=True)
class Fixed(Own):
    """The same at every split seed."""

    def load(self, split_seed):
        return super().load(4)


def test_of_splits_that_a_load_makes_few_are_kept():
    splits = Splits(Own())
    made_first = splits[0]
    assert splits[0] is made_first
    for seed in range(1, KEPT + 1):
        splits[seed]
    assert splits[0] is not made_first
    assert splits[0].fingerprint() == made_first.fingerprint()
    assert list(splits) == list(range(KEPT + 1))
    travelled = pickle.loads(pickle.dumps(splits))
    assert travelled[KEPT].fingerprint() == splits[KEPT].fingerprint()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (Digits(), True),
        (MNIST(), True),
        (MNIST(num_train=None, num_validation=0), False),
        (CIFAR10(num_validation=0), False),
        (Caltech101(), True),
        (Own(), True),
        (Fixed(), False),
    ],
)
def test_a_source_says_whether_it_can_be_cut(source, expected):
    assert source.can_be_cut() == expected


@pytest.mark.parametrize(
    ("parts", "fields", "expected"),
    [
        (("train",), {}, True),
        (("train", "test"), {"num_validation": 4}, True),
        (("train", "test"), {}, False),
        (("train", "val", "test"), {}, False),
        (("train", "val", "test"), {"num_train": 20}, True),
        (("train", "val"), {}, True),
    ],
)
def test_parts_of_the_users_own_cannot_be_cut(root, parts, fields, expected):  # noqa: F811
    (root / "own").mkdir()
    for part in parts:
        np.savez(root / "own" / f"{part}.npz", features=np.random.rand(40, 3), labels=np.arange(40) % 2)
    source = Arrays("own", **fields)
    assert source.can_be_cut() == expected
    assert (source.load(0).fingerprint() != source.load(1).fingerprint()) == expected


def test_what_cannot_be_made_is_one_line():
    with pytest.raises(RequestError, match=r"digits: 1700 \+ 97"):
        Splits(Digits(num_train=1700, num_validation=97))[0]
