"""Data on a device: standardized by channel, resident where they fit, otherwise streamed with the same values."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tune_lb.data.dataset import DataSet, Part
from tune_lb.data.device import RESIDENT_SHARE, Examples, fits, on_device, staged


def photographs(num=30):
    rng = np.random.default_rng(0)
    parts = [Part(rng.integers(0, 256, (num, 3, 4, 5), dtype=np.uint8), np.arange(num) % 3) for _ in range(3)]
    return DataSet("photographs", 3, *parts, offset=(10.0, 20.0, 30.0), scale=(2.0, 4.0, 5.0))


def test_every_channel_has_its_own_offset_and_scale():
    data = photographs()
    parts = on_device(data, "cpu")
    index = torch.tensor([7, 0, 7])
    stored = torch.from_numpy(data.train.inputs[[7, 0, 7]]).double()
    expected = torch.stack([(stored[:, c] - (10, 20, 30)[c]) / (2, 4, 5)[c] for c in range(3)], 1)
    got = parts.train.standardized(index)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(data.standardized(data.train.inputs[[7, 0, 7]]), got.numpy())


def test_one_entry_is_one_channel_without_a_dimension_and_features_have_one_each():
    grey = DataSet("grey", 2, *[Part(np.ones((4, 2, 3), np.uint8), np.arange(4) % 2)] * 3, offset=(0.5,), scale=(0.25,))
    assert torch.equal(on_device(grey, "cpu").train.standardized(), torch.full((4, 2, 3), 2.0))
    features = Part(np.ones((4, 2), np.float32), np.arange(4) % 2)
    table = DataSet("table", 2, features, features, features, offset=(0.0, 1.0), scale=(0.5, 1.0))
    assert torch.equal(on_device(table, "cpu").train.standardized(slice(0, 1)), torch.tensor([[2.0, 0.0]]))


def test_the_fingerprint_sees_the_channels():
    data = photographs()
    other = DataSet("photographs", 3, data.train, data.validation, data.test, (10.0, 20.0, 31.0), data.scale)
    assert data.fingerprint() != other.fingerprint()


@pytest.mark.parametrize("index", [slice(3, 9), torch.tensor([5, 5, 0]), slice(None)])
def test_a_staged_chunk_is_a_copy_of_the_rows(index):
    inputs = torch.from_numpy(photographs().train.inputs)
    chunk = staged(inputs, index)
    assert torch.equal(chunk, inputs[index])
    assert chunk.data_ptr() != inputs.data_ptr()
    assert chunk.is_pinned() == torch.cuda.is_available()


def test_residence_is_decided_by_free_memory(monkeypatch):
    data = photographs()
    num_bytes = 3 * 30 * 60
    for free, expected in ((num_bytes / RESIDENT_SHARE, True), (num_bytes / RESIDENT_SHARE - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device, free=free: (free, 1e12))
        assert fits(data, torch.device("cuda")) == expected
    assert fits(data, torch.device("cpu"))


def test_on_the_cpu_the_arrays_are_shared():
    data = photographs()
    for resident in (None, False):
        train = on_device(data, "cpu", resident).train
        assert train.inputs.data_ptr() == data.train.inputs.ctypes.data
        assert train.is_resident


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_streamed_examples_are_the_resident_ones_to_the_bit():
    data = photographs()
    resident, streamed = on_device(data, "cuda", True).train, on_device(data, "cuda", False).train
    assert (resident.is_resident, streamed.is_resident) == (True, False)
    assert streamed.inputs.device.type == "cpu"
    assert streamed.device.type == "cuda"
    for index in (slice(2, 20), torch.tensor([9, 1, 1]), torch.tensor([9, 1, 1], device="cuda")):
        got = [streamed.standardized(index) for _ in range(20)]
        assert all(torch.equal(each, resident.standardized(index)) for each in got)
    assert torch.equal(streamed.standardized_values(streamed.inputs[:4]), resident.standardized(slice(0, 4)))


def test_scalars_stay_numbers():
    examples = Examples(torch.ones(2, 3), torch.zeros(2), offset=1.0, scale=2.0)
    assert torch.equal(examples.standardized(), torch.zeros(2, 3))
    assert examples.device == torch.device("cpu")
