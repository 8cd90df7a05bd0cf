"""What a data source of one's own may return, brought to three parts of arrays: the one place where that is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune_lb.data.labels import numbered
from tune_lb.data.mapped import in_file
from tune_lb.errors import RequestError
from tune_lb.trees import mapped

Array = npt.NDArray[Any]

EXPECTED = (
    "a DataSet, or three parts as a tuple (train, validation, test) or a dict of them, each a pair (inputs, labels) of arrays, "
    "tensors or lists, a torch.utils.data.Dataset, or a dict or table with labels"
)
PARTS = ("train", "validation", "test")
VALIDATION_NAMES = ("validation", "val", "valid", "dev")
LABELS = ("labels", "label", "targets", "target", "y")
INPUTS = ("inputs", "images", "image", "img", "features", "pixel_values", "x")


class Converted(NamedTuple):
    """Three parts, each (inputs, targets); inputs are one array or a tree of them."""

    parts: tuple[tuple[Any, Array], tuple[Any, Array], tuple[Any, Array]]
    num_classes: int
    notes: tuple[str, ...]


def converted(returned: Any, where: str) -> Converted:
    """Return what `load` returned as arrays; where: what messages call it. Raises RequestError with what it is and what it must be.

    A dict may leave the validation part out. Numbers become float32 or int64 and bytes stay; strings as labels become classes in
    sorted order. A Dataset is read once, from its first item to its last.
    """
    given = _three(returned, where)
    parts = {name: _part(part, f"{where}, {name} part") for name, part in given.items() if part is not None}
    notes = [f"inputs are as {where} gives them: nothing is standardized"]
    targets = {name: part[1] for name, part in parts.items()}
    num_classes = 1
    if all(array.dtype.kind in "USOb" or (array.dtype.kind in "iu" and array.ndim == 1) for array in targets.values()):
        found = numbered(targets, (), where)
        targets, num_classes = found.labels, found.num_classes
        notes += [found.note] if found.note else []
    else:
        num_classes = num_outputs(targets["train"])
        if targets["train"].dtype.kind == "f":
            notes.append(
                "targets are real numbers, not classes: labels that are classes must be whole numbers or strings"
            )
    train, test = ((parts[name][0], targets[name]) for name in ("train", "test"))
    validation = (parts["validation"][0], targets["validation"]) if "validation" in parts else None
    if validation is None:
        validation = (mapped(lambda leaf: leaf[:0], train[0]), train[1][:0])
    return Converted((train, validation, test), num_classes, tuple(notes))


def num_outputs(targets: Array) -> int:
    """Return the outputs that targets (N, ...) need: the largest class plus one, or the real numbers of an example."""
    if targets.dtype.kind in "iu":
        return int(targets.max()) + 1 if targets.size else 1
    return int(np.prod(targets.shape[1:]))


def fitted(parts: Mapping[str, Any], where: str) -> tuple[dict[str, tuple[Any, Array]], tuple[str, ...]]:
    """Return inputs and targets of the parts of a DataSet as arrays that torch takes, and notes. Such arrays are given back.

    Of a part with chosen rows they are all that it chooses from.

    Values stay: only byte order, strides and types that torch does not have change; labels become int64.
    """
    found: dict[str, tuple[Any, Array]] = {}
    for name, part in parts.items():
        here = f"{where}, {name} part"
        inputs, targets = (part.all_inputs, part.all_targets) if hasattr(part, "all_inputs") else _pair(part, here)
        fitting = mapped(lambda leaf, here=here: _leaf(leaf, f"{here}, inputs"), _lists_as_arrays(inputs, here))
        labels = as_array(targets, f"{here}, labels")
        labels = labels.astype(np.int64, copy=False) if labels.dtype.kind in "iub" else labels
        found[name] = (fitting, labels)
    if not any(part[1].dtype.kind in "USO" for part in found.values()):
        return found, ()
    strings = numbered({name: part[1] for name, part in found.items() if len(part[1])}, (), where)
    empty = np.zeros(0, np.int64)
    return {name: (part[0], strings.labels.get(name, empty)) for name, part in found.items()}, (strings.note,)


def _lists_as_arrays(inputs: Any, where: str) -> Any:
    """Return inputs with an array in place of each list: of trees, tuples and dicts are meant."""
    if isinstance(inputs, Mapping):
        return {name: _lists_as_arrays(inside, where) for name, inside in inputs.items()}
    if isinstance(inputs, tuple):
        return tuple(_lists_as_arrays(inside, where) for inside in inputs)
    return _inputs(inputs, f"{where}, inputs") if isinstance(inputs, list) else inputs


def _leaf(leaf: Any, where: str) -> Array:
    array = as_array(leaf, where)
    if array.dtype.kind not in "biuf":
        raise RequestError(f"{where} are {array.dtype}: numbers are needed")
    if array.dtype in (np.uint16, np.uint32, np.uint64):
        return array.astype(np.int64)
    return array.astype(np.float64) if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array


def native(array: Array) -> Array:
    """Return the array in this machine's byte order, its values one after another, as torch takes it."""
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return in_file(array) if array.flags.c_contiguous else np.ascontiguousarray(array)


def kind_of(value: Any) -> str:
    """Return what a value is, in a few words."""
    if isinstance(value, Mapping):
        return f"a dict of {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, tuple | list):
        inside = ", ".join(dict.fromkeys(type(entry).__name__ for entry in value[:4]))
        return f"a {type(value).__name__} of {len(value)} ({inside or 'nothing'})"
    if value is None:
        return "None: is there a `return`?"
    shape = getattr(value, "shape", None)
    return f"a {type(value).__name__}" + (f" of shape {tuple(shape)}" if isinstance(shape, tuple) else "")


def as_array(value: Any, where: str) -> Array:
    """Return an array of numbers or strings for an array, tensor, list, table or column of them.

    Raises RequestError where there is none, as for examples of different shapes.
    """
    value = _as_numpy(value)
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        entries = [as_array(entry, where) if isinstance(entry, list | tuple) else _as_numpy(entry) for entry in value]
        shapes = sorted({entry.shape for entry in entries if isinstance(entry, np.ndarray)})
        if len(shapes) > 1:
            raise RequestError(
                f"{where}: examples are of different shapes, {shapes[0]} and {shapes[-1]}: pad or cut them"
            )
        try:
            value = np.asarray(entries)
        except ValueError as error:
            raise RequestError(f"{where}: examples are of different shapes: pad or cut them ({error})") from error
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        raise RequestError(f"{where} is {kind_of(value)}: an array, tensor or list is needed")
    return native(value)


def _as_numpy(value: Any) -> Any:
    """Return a tensor, sparse matrix, frame or column as an array, anything else as it is."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.to_dense() if getattr(value, "is_sparse", False) else value
        # NumPy has no bfloat16
        return (value.float() if str(value.dtype) == "torch.bfloat16" else value).numpy()
    for method in ("toarray", "to_numpy"):
        if hasattr(value, method):
            return getattr(value, method)()
    return value


def _three(returned: Any, where: str) -> dict[str, Any]:
    """Return the three parts by name; the validation part may be None."""
    if isinstance(returned, Mapping):
        names = {str(name).lower(): name for name in returned}
        held_out = [names[name] for name in VALIDATION_NAMES if name in names]
        if "train" in names and "test" in names and len(held_out) <= 1:
            found = {"train": returned[names["train"]], "test": returned[names["test"]]}
            return found | {"validation": returned[held_out[0]] if held_out else None}
    elif isinstance(returned, tuple | list) and len(returned) == len(PARTS):
        return dict(zip(PARTS, returned, strict=True))
    raise RequestError(f"{where} returned {kind_of(returned)}: expected {EXPECTED}")


def _part(part: Any, where: str) -> tuple[Any, Array]:
    """Return inputs and targets of a part."""
    inputs, targets = _pair(part, where)
    return _inputs(inputs, f"{where}, inputs"), as_array(targets, f"{where}, labels")


def _pair(part: Any, where: str) -> tuple[Any, Any]:
    if isinstance(part, tuple | list) and len(part) == 2:
        return part[0], part[1]
    if hasattr(part, "all_inputs"):
        return part.inputs, part.targets
    if isinstance(part, Mapping):
        return _columns(dict(part), where)
    tensors = getattr(part, "tensors", None)
    if isinstance(tensors, tuple) and len(tensors) == 2:
        return tensors[0], tensors[1]
    names = getattr(part, "column_names", None)
    if names is not None and hasattr(part, "__getitem__"):
        return _columns({name: list(part[name]) for name in names}, where)
    if hasattr(part, "dataset") and hasattr(part, "batch_size"):
        raise RequestError(f"{where} is a {type(part).__name__}: give its dataset; batches are drawn here")
    if (
        hasattr(part, "__getitem__")
        and hasattr(part, "__len__")
        and not hasattr(part, "shape")
        and not isinstance(part, str | list | tuple)
    ):
        return _items([part[i] for i in range(len(part))], where)
    if hasattr(part, "__iter__") and type(part).__module__ != "builtins" and not hasattr(part, "shape"):
        return _items(list(part), where)
    raise RequestError(f"{where} is {kind_of(part)}: expected a pair (inputs, labels)")


def _items(items: list[Any], where: str) -> tuple[Any, Any]:
    """Return the items of a Dataset, one example each, as columns."""
    if items and all(isinstance(item, Mapping) for item in items):
        return _columns({name: [item[name] for item in items] for name in items[0]}, where)
    if any(not isinstance(item, tuple | list) or len(item) != 2 for item in items):
        wrong = next(item for item in items if not isinstance(item, tuple | list) or len(item) != 2)
        raise RequestError(
            f"{where}: an item of the data set is {kind_of(wrong)}: expected a pair (input, label) or a dict"
        )
    inputs = [item[0] for item in items]
    if inputs and isinstance(inputs[0], Mapping):
        return {name: [one[name] for one in inputs] for name in inputs[0]}, [item[1] for item in items]
    return inputs, [item[1] for item in items]


def _columns(columns: dict[str, Any], where: str) -> tuple[Any, Any]:
    """Return inputs and labels of columns: all that are no labels are inputs, one by itself or a dict of them."""
    labels = [name for name in LABELS if name in columns]
    rest = {name: column for name, column in columns.items() if name not in labels}
    if len(labels) != 1 or not rest:
        raise RequestError(
            f"{where} has {', '.join(columns) or 'nothing'}: expected inputs, and labels as one of {', '.join(LABELS)}"
        )
    return (next(iter(rest.values())) if len(rest) == 1 else rest), columns[labels[0]]


def _inputs(value: Any, where: str, *, in_tree: bool = False) -> Any:
    """Return one array of inputs, or a tree of them, where flags stay: a tuple or dict is a tree, a list is an array."""
    if isinstance(value, Mapping):
        return {name: _inputs(inside, f"{where} {name!r}", in_tree=True) for name, inside in value.items()}
    if isinstance(value, tuple):
        return tuple(_inputs(inside, f"{where} {i}", in_tree=True) for i, inside in enumerate(value))
    if isinstance(value, list) and value and hasattr(value[0], "getbands"):
        value = [np.asarray(image) for image in value]
        value = [image.transpose(2, 0, 1) if image.ndim == 3 else image for image in value]
    array = as_array(value, where)
    if array.dtype.kind not in "biuf":
        raise RequestError(
            f"{where} are {array.dtype}: numbers are needed; leave such columns out, or turn them into numbers"
        )
    if array.dtype == np.uint8 or (in_tree and array.dtype == bool):
        return array
    return array.astype(np.int64 if array.dtype.kind in "iu" else np.float32, copy=False)
