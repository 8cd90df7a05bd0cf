"""Data sets: sizes, disjoint and stratified parts, reproducible cuts, and what is said when files are missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.trainings import training, trial
from tune_lb.budgets import Epochs
from tune_lb.data.dataset import stratified
from tune_lb.data.device import on_device
from tune_lb.data.digits import Digits
from tune_lb.data.mnist import MNIST
from tune_lb.errors import RequestError
from tune_lb.models.mlp import MLP


def rows(part):
    return {(image.tobytes(), int(target)) for image, target in zip(part.inputs, part.targets, strict=True)}


@pytest.mark.parametrize(("num_train", "num_validation", "num_test"), [(400, 400, 997), (900, 0, 897), (1000, 796, 1)])
def test_digits_are_cut_into_disjoint_parts_of_the_sizes_asked_for(num_train, num_validation, num_test):
    data = Digits(num_train=num_train, num_validation=num_validation).load(0)
    parts = (data.train, data.validation, data.test)
    assert [len(part.targets) for part in parts] == [num_train, num_validation, num_test]
    assert data.input_shape == (64,)
    found = [rows(part) for part in parts]
    # scikit-learn's digits have no two equal images, so equal rows would be one image in two parts
    assert len(set.union(*found)) == sum(map(len, found)) == 1797


@pytest.mark.parametrize("split_seed", [0, 1, 7])
def test_every_part_has_the_classes_in_proportion(split_seed):
    data = Digits().load(split_seed)
    share = np.bincount(np.concatenate([p.targets for p in (data.train, data.validation, data.test)])) / 1797
    for part in (data.train, data.validation, data.test):
        counts = np.bincount(part.targets, minlength=10)
        assert np.abs(counts - share * len(part.targets)).max() < 2


def test_a_cut_is_that_of_its_seed():
    first = Digits().load(3)
    assert first.fingerprint() == Digits().load(3).fingerprint()
    others = [Digits().load(seed) for seed in range(3)]
    assert len({first.fingerprint(), *(data.fingerprint() for data in others)}) == 4
    shared = len(rows(first.train) & rows(others[0].train))
    # two independent draws of 400 out of 1,797 share 400^2 / 1797 = 89, give or take 7
    assert 50 < shared < 130


def test_stratified_is_random_within_a_class():
    targets = np.repeat([0, 1], [300, 100])
    chosen = np.concatenate([stratified(targets, (20, 20), seed, "x")[0] for seed in range(300)])
    counts = np.bincount(chosen, minlength=400)
    # 300 draws of 20 of 400: each example 15 times on average, standard deviation 3.8
    assert abs(counts.mean() - 15) < 1e-12
    assert counts.max() < 15 + 6 * 3.8
    assert 0.8 < counts.std() / 3.8 < 1.2


@pytest.mark.parametrize(
    "source", [Digits(num_train=1700, num_validation=97), Digits(num_train=1500, num_validation=400)]
)
def test_more_than_there_is_gets_the_numbers(source):
    with pytest.raises(RequestError, match=rf"digits: {source.num_train} \+ {source.num_validation} .* 1797"):
        source.load(0)


def test_inputs_are_standardized_on_the_device_in_batches():
    data = Digits().load(0)
    parts = on_device(data, "cpu")
    assert parts.train.inputs.dtype == torch.uint8
    index = torch.tensor([5, 0, 5])
    expected = (torch.from_numpy(data.train.inputs[[5, 0, 5]]).double() - 4.884) / 6.017
    torch.testing.assert_close(parts.train.standardized(index).double(), expected, rtol=1e-6, atol=1e-6)
    everything = torch.cat([part.standardized() for part in (parts.train, parts.validation, parts.test)])
    assert everything.mean().item() == pytest.approx(0.0, abs=1e-3)
    assert everything.std().item() == pytest.approx(1.0, abs=1e-3)


def test_arrays_that_cannot_be_written_are_copied():
    data = Digits().load(0)
    for array in data.train:
        array.flags.writeable = False
    parts = on_device(data, "cpu")
    assert torch.equal(parts.train.targets, torch.tensor(data.train.targets))


def test_missing_files_get_one_message_with_what_where_and_how(monkeypatch, tmp_path):
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path / "nothing"))
    with pytest.raises(RequestError) as raised:
        MNIST().load(0)
    (line,) = raised.value.problems
    assert all(
        word in line
        for word in ("MNIST", str(tmp_path / "nothing" / "MNIST" / "raw"), "TUNE_LB_DATA", "data MNIST --download")
    )


@pytest.mark.data
def test_mnist_is_there():
    data = MNIST(num_train=2000, num_validation=4000).load(0)
    assert [part.inputs.shape for part in (data.train, data.validation, data.test)] == [
        (2000, 28, 28),
        (4000, 28, 28),
        (10_000, 28, 28),
    ]
    assert MNIST().has_own_test_split()
    assert not Digits().has_own_test_split()
    other = MNIST(num_train=2000, num_validation=4000).load(1)
    assert np.array_equal(data.test.inputs, other.test.inputs)
    assert len(rows(data.train) & rows(other.train)) < 200
    assert (np.bincount(data.test.targets) == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]).all()
    pixels = data.train.inputs.astype(float)
    assert (pixels.mean() - data.offset) / data.scale == pytest.approx(0.0, abs=0.02)


@pytest.mark.data
def test_an_epoch_on_mnist_lowers_the_loss():
    source = MNIST(num_train=2000, num_validation=500)
    running = training(
        trial(data=source, model=MLP(hidden=(32,)), batch_size=50, budget=Epochs(1.0)), dtype=torch.float32
    )
    before = {row.name: row.value for row in running.evaluate()}
    running.advance()
    after = {row.name: row.value for row in running.evaluate()}
    assert running.done
    assert after["train_loss"] < 0.5 * before["train_loss"]
    assert after["validation_error"] < 0.25 < before["validation_error"]
