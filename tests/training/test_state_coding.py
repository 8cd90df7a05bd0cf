"""The state of a network's Python attributes as bytes: every kind comes back the same, and reading makes nothing but data."""

from __future__ import annotations

import collections
import json
import math
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.networks import ZOO
from tests.trainings import training, trial
from tune_lb.training.python_state import _restored, check_states, python_state, same_value
from tune_lb.training.python_values import Generator, Tensor
from tune_lb.training.state_coding import from_bytes, to_bytes

VALUES = [
    None,
    True,
    -(2**80),
    0.1 + 0.2,
    -0.0,
    math.inf,
    5e-324,
    "ein \u00fcber\n\x00",
    b"\x00\xff",
    1.5 - 2j,
    range(2, 9, 3),
    slice(None, 4, None),
    [1, [2.0, "3"], []],
    (1, (2,)),
    {1, 2},
    frozenset({"a"}),
    {(1, 2): {"a": None}, None: 3, 4: 5},
    collections.OrderedDict(b=1, a=2),
    collections.deque([1, 2], 5),
    np.arange(6, dtype=">i2").reshape(2, 3),
    np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    np.array(["a", "bcd"]),
    np.array([(1, 2.0)], dtype=[("x", "i4"), ("y", "f8")]),
    np.array(["2026-01-01"], "M8[D]"),
    np.zeros((0, 3), np.float16),
    np.float32(0.1),
    np.float64(0.1),
    np.bool_(True),
    np.str_("x"),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}")
def test_what_is_written_is_read(value):
    found = from_bytes(to_bytes({"here": value}))["here"]
    assert type(found) is type(value)
    if isinstance(value, np.ndarray):
        assert (found.dtype, found.shape) == (value.dtype, value.shape)
        assert np.array_equal(found, value)
        assert found.flags.writeable
    elif isinstance(value, collections.deque):
        assert (found, found.maxlen) == (value, value.maxlen)
    else:
        assert repr(found) == repr(value)


def test_a_nan_comes_back():
    assert math.isnan(from_bytes(to_bytes([math.nan]))[0])


def test_tensors_and_generators_come_back():
    torch_generator, numpy_generator = torch.Generator().manual_seed(3), np.random.default_rng(4)
    old = np.random.RandomState(5)
    tensor = torch.arange(4, dtype=torch.int16).reshape(2, 2)

    class Own(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.held, self.draws, self.old = tensor, [torch_generator, numpy_generator], old

    state = python_state(Own())
    found = from_bytes(to_bytes(state))
    assert same_value(found, state)
    held = found[""]["held"]
    assert isinstance(held, Tensor)
    assert torch.equal(_restored(held, torch.device("cpu")), tensor)
    own_torch, own_numpy = (made.made() for made in found[""]["draws"])
    assert torch.equal(torch.rand(3, generator=own_torch), torch.rand(3, generator=torch_generator))
    assert own_numpy.random(3).tolist() == numpy_generator.random(3).tolist()
    assert found[""]["old"].made().rand(3).tolist() == old.rand(3).tolist()


class Run:
    """Would do something where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_refused_and_nothing_of_it_runs(tmp_path: Path):
    trap = tmp_path / "taken"
    for data in (
        pickle.dumps(Run(trap)),
        to_bytes({"a": np.zeros(2)})[:-3],
        to_bytes({"a": np.zeros(2)}).replace(b'"<f8"', b'"|O" '),
        to_bytes({"a": 1}).replace(b"dict", b"evil"),
        b"",
    ):
        with pytest.raises(ValueError, match="network"):
            from_bytes(data)
    objects = np.array([Run(trap)], dtype=object)
    buffer = tmp_path / "objects.npy"
    np.save(buffer, objects, allow_pickle=True)
    tree = json.dumps({"is": "array", "at": 0}).encode()
    whole = to_bytes(0)[:16] + np.array([2, len(tree), buffer.stat().st_size], "<i8").tobytes() + tree
    with pytest.raises(ValueError, match="allow_pickle=False"):
        from_bytes(whole + buffer.read_bytes())
    assert not trap.exists()
    with pytest.raises(ValueError, match="there is no generator system of os"):
        Generator("system", "os", {}).made()


def test_what_is_no_data_is_not_written():
    for value in (object(), print, np.array([object()]), Run("x"), collections.Counter()):
        with pytest.raises((TypeError, ValueError)):
            to_bytes([value])


def test_a_checkpoint_with_a_pickle_is_refused_when_it_is_read(tmp_path: Path):
    trap = tmp_path / "taken"

    running = training(trial(model=ZOO["a counter"].model), (3,), "plain")
    running.advance()
    checkpoint = running.checkpoint()
    (name,) = [name for name in checkpoint if name.endswith("python_state")]
    check_states(checkpoint)
    pickled = torch.frombuffer(bytearray(pickle.dumps(Run(trap))), dtype=torch.uint8)
    with pytest.raises(ValueError, match="no state of a network"):
        check_states({**checkpoint, name: pickled})
    assert not trap.exists()
