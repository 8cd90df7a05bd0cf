"""Values of Python as bytes, and back, without pickle: reading them makes data and nothing else, whoever wrote them.

A JSON tree, then the arrays that it names, as their bytes, or in NumPy's own format where their type has fields. Numbers, texts and
None stand as they are; every other value is {"is": kind, ...}. Floats come back to the last bit (repr), NaN and infinities too.
"""

from __future__ import annotations

import collections
import io
import json
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from tune_lb.training.python_values import Generator, Tensor

MARK: Final = b"tune_lb state 1\n"
PLAIN: Final = (type(None), bool, int, float, str)
CONTAINERS: Final[dict[str, Callable[[list[Any]], Any]]] = {
    "list": list,
    "tuple": tuple,
    "set": set,
    "frozenset": frozenset,
}
MAPPINGS: Final = {"dict": dict, "OrderedDict": collections.OrderedDict}


def to_bytes(value: Any) -> bytes:
    """Return a value as bytes. Raises TypeError for what is none of these kinds."""
    arrays: list[bytes] = []
    tree = json.dumps(_tree(value, arrays), separators=(",", ":")).encode()
    sizes = np.array([len(tree), *map(len, arrays)], "<i8")
    return b"".join([MARK, np.array([len(sizes)], "<i8").tobytes(), sizes.tobytes(), tree, *arrays])


def from_bytes(data: bytes) -> Any:
    """Return the value that bytes hold. Raises ValueError for anything else, pickles of earlier versions among them."""
    if data[: len(MARK)] != MARK:
        raise ValueError("this is no state of a network as this version of tune_lb writes it")
    try:
        place = len(MARK) + 8
        (count,) = np.frombuffer(data, "<i8", 1, len(MARK))
        sizes = np.frombuffer(data, "<i8", int(count), place).tolist()
        place += 8 * len(sizes)
        parts = []
        for size in sizes:
            parts.append(data[place : place + size])
            place += size
        return _value(json.loads(parts[0]), parts[1:])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError(f"the state of a network is damaged: {type(error).__name__}: {error}") from error


def _tree(value: Any, arrays: list[bytes]) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is np.ndarray or isinstance(value, np.generic):
        return {"is": "array" if kind is np.ndarray else "scalar", **_of_array(np.asarray(value), arrays)}
    if kind is Tensor:
        return {"is": "tensor", "device": value.kind, **_of_array(value.array, arrays)}
    if kind is Generator:
        return {"is": "generator", "kind": value.kind, "bits": value.bits, "state": _tree(value.state, arrays)}
    if kind.__name__ in MAPPINGS and MAPPINGS[kind.__name__] is kind:
        return {"is": kind.__name__, "of": [[_tree(key, arrays), _tree(own, arrays)] for key, own in value.items()]}
    if kind.__name__ in CONTAINERS and CONTAINERS[kind.__name__] is kind:
        return {"is": kind.__name__, "of": [_tree(part, arrays) for part in value]}
    if kind is collections.deque:
        return {"is": "deque", "most": value.maxlen, "of": [_tree(part, arrays) for part in value]}
    if kind is bytes:
        return {"is": "bytes", "at": _kept(value, arrays)}
    if kind is complex:
        return {"is": "complex", "of": [value.real, value.imag]}
    if kind in (range, slice):
        return {"is": kind.__name__, "of": [_tree(part, arrays) for part in (value.start, value.stop, value.step)]}
    raise TypeError(f"{kind.__module__}.{kind.__name__} is no part of a network's state")


def _value(tree: Any, arrays: list[bytes]) -> Any:
    if not isinstance(tree, dict):
        return tree
    kind = tree["is"]
    if kind in ("array", "scalar"):
        found = _array(tree, arrays)
        return found if kind == "array" else found[()]
    if kind == "tensor":
        return Tensor(_array(tree, arrays), tree["device"])
    if kind == "generator":
        return Generator(tree["kind"], tree["bits"], _value(tree["state"], arrays))
    if kind == "bytes":
        return arrays[tree["at"]]
    if kind in MAPPINGS:
        return MAPPINGS[kind]((_value(key, arrays), _value(own, arrays)) for key, own in tree["of"])
    parts = [_value(part, arrays) for part in tree["of"]]
    if kind in CONTAINERS:
        return CONTAINERS[kind](parts)
    if kind == "deque":
        return collections.deque(parts, tree["most"])
    if kind == "complex":
        return complex(*parts)
    return {"range": range, "slice": slice}[kind](*parts)


def _of_array(array: np.ndarray[Any, Any], arrays: list[bytes]) -> dict[str, Any]:
    if array.dtype.kind in "biufcSU":
        return {"type": array.dtype.str, "shape": array.shape, "at": _kept(array.tobytes(), arrays)}
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return {"at": _kept(buffer.getvalue(), arrays)}


def _array(tree: dict[str, Any], arrays: list[bytes]) -> np.ndarray[Any, Any]:
    data = arrays[tree["at"]]
    found: np.ndarray[Any, Any]
    if "type" in tree:
        dtype = np.dtype(tree["type"])
        if dtype.hasobject:
            raise ValueError("an array of objects is no part of a network's state")
        found = np.frombuffer(data, dtype).reshape(tree["shape"]).copy()
    else:
        found = np.lib.format.read_array(io.BytesIO(data), allow_pickle=False)
    return found


def _kept(data: bytes, arrays: list[bytes]) -> int:
    arrays.append(data)
    return len(arrays) - 1
