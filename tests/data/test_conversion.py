"""What a data source of one's own may return, and what it is told where it is something else."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset
from torch.utils.data import Dataset as TorchDataset

from tune_lb.data import DataSet, DataSource, Part
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError

X = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
Y = np.arange(9) % 3


@dataclass(frozen=True)
class Given(DataSource):
    """Returns what `make` makes."""

    make: object = None

    def load(self, split_seed):
        return self.make()


def loaded(make) -> DataSet:
    data = Given(make).load(0)
    assert isinstance(data, DataSet)
    assert data.problems == []
    on_device(data, "cpu")
    return data


def line_of(make):
    with pytest.raises(RequestError) as raised:
        Given(make).load(0)
    (line,) = raised.value.problems
    assert line.startswith("Given.load")
    return line


class Items(TorchDataset):
    def __init__(self, items):
        self.items, self.reads = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.reads += 1
        return self.items[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(zip(torch.tensor(X), Y, strict=True))


def fake_hugging_face(**columns):
    """Return a table as `datasets.Dataset` is one: names, columns by name, rows by number."""

    class Table:
        column_names = tuple(columns)

        def __len__(self):
            return len(Y)

        def __getitem__(self, key):
            return columns[key] if isinstance(key, str) else {name: column[key] for name, column in columns.items()}

    return Table()


PAIRS = {
    "arrays": lambda: (X, Y),
    "part": lambda: Part(X, Y),
    "tensors": lambda: (torch.tensor(X), torch.tensor(Y)),
    "tensors that need gradients": lambda: (torch.tensor(X, requires_grad=True), torch.tensor(Y)),
    "lists": lambda: (X.tolist(), Y.tolist()),
    "a list of tensors": lambda: (list(torch.tensor(X)), list(torch.tensor(Y))),
    "int32 labels": lambda: (X, Y.astype(np.int32)),
    "int8 labels": lambda: (X, torch.tensor(Y, dtype=torch.int8)),
    "foreign byte order": lambda: (X.astype(">f4"), Y.astype(">i8")),
    "negative strides": lambda: (X[::-1][::-1], np.ascontiguousarray(Y[::-1])[::-1]),
    "columns apart": lambda: (np.asfortranarray(X), Y),
    "a frame": lambda: (pd.DataFrame(X), pd.Series(Y)),
    "a dict": lambda: {"features": X, "labels": Y},
    "a dataset": lambda: Items(list(zip(torch.tensor(X), Y.tolist(), strict=True))),
    "a tensor dataset": lambda: TensorDataset(torch.tensor(X), torch.tensor(Y)),
    "items that are dicts": lambda: Items([{"x": x, "label": y} for x, y in zip(X, Y, strict=True)]),
    "a stream": Stream,
    "a table": lambda: fake_hugging_face(x=X.tolist(), label=Y.tolist()),
}


@pytest.mark.parametrize("of", PAIRS)
@pytest.mark.parametrize("held", ["tuple", "list", "dict", "dict with val", "DataSet"])
def test_b13_whatever_holds_three_parts_is_taken(of, held):
    pair = PAIRS[of]
    make = {
        "tuple": lambda: (pair(), pair(), pair()),
        "list": lambda: [pair(), pair(), pair()],
        "dict": lambda: {"train": pair(), "test": pair()},
        "dict with val": lambda: {"train": pair(), "val": pair(), "test": pair()},
        "DataSet": lambda: DataSet("own", 3, pair(), pair(), pair()),
    }[held]
    data = loaded(make)
    for part in (data.train, data.test) if held == "dict" else (data.train, data.validation, data.test):
        np.testing.assert_array_equal(part.inputs, X)
        np.testing.assert_array_equal(part.targets, Y)
        assert part.inputs.dtype == np.float32
        assert part.targets.dtype == np.int64
    assert len(data.validation.targets) == (0 if held == "dict" else 9)
    assert data.num_classes == 3


def test_b13_a_dataset_is_read_once():
    items = Items([(np.zeros(2), i % 2) for i in range(5)])
    loaded(lambda: (items, (np.zeros((1, 2)), [0]), (np.zeros((1, 2)), [0])))
    assert items.reads == 5


def test_a_dataset_that_needs_nothing_is_given_back_as_it_is():
    given = DataSet("own", 3, Part(X, Y), Part(X, Y), Part(X, Y), notes=("mine",))
    assert Given(lambda: given).load(0) is given


def test_constants_of_a_dataset_may_be_arrays():
    part = Part(X, Y)
    mean, deviation = X.mean(0), torch.tensor(X.std(0))
    data = loaded(lambda: DataSet("own", np.int64(3), part, part, part, offset=mean, scale=deviation))
    np.testing.assert_allclose(data.standardized(X).std(0), 1, atol=1e-5)
    assert isinstance(data.offset, tuple)
    one = loaded(lambda: DataSet("own", 3, part, part, part, offset=np.float32(0.5), scale=torch.tensor(2.0)))
    assert (one.offset, one.scale) == (0.5, 2.0)


def test_b2_tokens_stay_whole_numbers_and_bytes_are_pixels():
    tokens = torch.randint(0, 9, (9, 5), dtype=torch.int32)
    data = Given(lambda: ((tokens, Y),) * 3).load(0)
    assert data.train.inputs.dtype == np.int64
    assert data.keeps_whole_numbers
    pixels = Given(lambda: ((tokens.to(torch.uint8), Y),) * 3).load(0)
    assert pixels.train.inputs.dtype == np.uint8


def test_inputs_may_be_a_dict_or_a_tuple_of_arrays():
    ids, mask = np.ones((9, 5), np.int32), np.ones((9, 5), bool)
    data = Given(lambda: (({"ids": ids, "mask": mask}, Y),) * 3).load(0)
    assert (data.train.inputs["ids"].dtype, data.train.inputs["mask"].dtype) == (np.int64, np.bool_)
    table = fake_hugging_face(input_ids=ids.tolist(), attention_mask=mask.astype(int).tolist(), labels=Y.tolist())
    data = Given(lambda: {"train": table, "test": table}).load(0)
    assert data.train.inputs.keys() == {"input_ids", "attention_mask"}
    data = Given(lambda: (((X, torch.tensor(X)), Y),) * 3).load(0)
    assert [leaf.shape for leaf in data.train.inputs] == [(9, 4), (9, 4)]


@pytest.mark.parametrize("as_dataset", [False, True])
def test_b14_strings_are_classes(as_dataset):
    words = np.array(["dog", "cat", "emu"] * 3)
    pair = (X, words.tolist())
    data = Given(lambda: DataSet("own", 3, pair, pair, pair) if as_dataset else (pair, pair, pair)).load(0)
    np.testing.assert_array_equal(data.train.targets, [1, 0, 2] * 3)
    assert any("cat = 0, dog = 1" in note for note in data.notes)
    assert data.problems == []


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: None, ["None", "return", "expected a DataSet, or three parts"]),
        (lambda: (X, Y), ["a tuple of 2 (ndarray)", "three parts"]),
        (lambda: X, ["a ndarray of shape (9, 4)", "three parts"]),
        (lambda: {"train": (X, Y)}, ["a dict of train", "three parts"]),
        (lambda: {"train": (X, Y), "val": (X, Y), "valid": (X, Y), "test": (X, Y)}, ["val", "valid"]),
        (lambda: SimpleNamespace(), ["a SimpleNamespace"]),
        (lambda: (X, X, X), ["train part is a ndarray of shape (9, 4)", "pair (inputs, labels)"]),
        (lambda: ((X, Y), (X, Y), (X, Y, Y)), ["test part", "a tuple of 3"]),
        (lambda: ((X, Y), (X, Y), {"a": X, "b": X}), ["test part has a, b", "labels"]),
        (lambda: (([[1], [1, 2]], [0, 1]),) * 3, ["train part, inputs", "different shapes"]),
        (lambda: (([torch.ones(1), torch.ones(2)], [0, 1]),) * 3, ["different shapes", "pad"]),
        (lambda: ((["text", "more"], [0, 1]),) * 3, ["inputs are <U4", "numbers"]),
        (lambda: ((X.astype(complex), Y),) * 3, ["complex128"]),
        (lambda: (DataLoader(TensorDataset(torch.tensor(X), torch.tensor(Y))),) * 3, ["DataLoader", "its dataset"]),
        (lambda: (Items([(1, 2, 3)]),) * 3, ["an item of the data set is a tuple of 3"]),
        (lambda: (fake_hugging_face(text=["a"] * 9, label=Y.tolist()),) * 3, ["<U1"]),
        (lambda: DataSet("own", 3, X, Part(X, Y), Part(X, Y)), ["train part is a ndarray"]),
    ],
)
def test_b13_anything_else_is_refused_with_what_it_is(make, words):
    line = line_of(make)
    for word in words:
        assert word in line
    assert "\n" not in line


@dataclass(frozen=True)
class Broken(DataSource):
    """Raises."""

    error: type = ValueError

    def load(self, split_seed):
        raise self.error("two\nlines")


@pytest.mark.parametrize("error", [ValueError, KeyError, ZeroDivisionError, FileNotFoundError, NotImplementedError])
def test_b13_an_exception_of_load_is_one_line_with_its_place(error):
    with pytest.raises(RequestError) as raised:
        Broken(error).load(0)
    (line,) = raised.value.problems
    assert line.startswith(f"Broken.load: {error.__name__}: ")
    assert __file__ in line
    assert "\n" not in line


def test_b13_a_load_of_the_wrong_form_is_one_line():
    @dataclass(frozen=True)
    class Without(DataSource):
        """Has no load."""

    @dataclass(frozen=True)
    class Unseeded(DataSource):
        """Takes no seed."""

        def load(self):
            return None

    with pytest.raises(RequestError, match=r"Without does not say how it is loaded: give it a method load"):
        Without().load(0)
    with pytest.raises(RequestError, match=r"Unseeded.load: TypeError: .*takes 1 positional argument") as raised:
        Unseeded().load(0)
    assert __file__ in raised.value.problems[0]


def test_what_load_refuses_itself_is_said_as_it_is():
    with pytest.raises(RequestError, match=r"^mine$"):
        Broken(lambda text: RequestError("mine")).load(0)
