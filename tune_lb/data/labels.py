"""Labels as class numbers: whole numbers as they are, strings in sorted order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from tune_lb.errors import RequestError

Array = npt.NDArray[Any]

SHOWN = 6


class Numbered(NamedTuple):
    """Labels of all parts as class numbers (N,) int64, and how many classes there are; note: what strings were mapped to."""

    labels: dict[str, Array]
    num_classes: int
    note: str


def numbered(labels: Mapping[str, Array], classes: Sequence[str], where: str) -> Numbered:
    """Return the labels of the parts, the train part first, as class numbers.

    Strings get numbers in sorted order of those of the train part, or in the order of `classes` where these are given. The number
    of classes is that of the names, or the largest label of the train part plus one. Raises RequestError for labels that are
    no classes, strings among numbers, and strings that the train part does not have.
    """
    plain = {
        part: _plain(array, f"{where}, {part} part" if len(labels) > 1 else where) for part, array in labels.items()
    }
    train = next(iter(plain.values()))
    words = {part for part, array in plain.items() if array.dtype.kind == "U"}
    if words and len(words) < len(plain):
        raise RequestError(
            f"{where}: labels are strings in the {' and the '.join(sorted(words))} part and numbers in the others"
        )
    if not words:
        num_classes = len(classes) or (int(train.max()) + 1 if len(train) else 0)
        return Numbered(plain, num_classes, "")
    names = list(classes) or sorted(set(train.tolist()))
    number = {name: i for i, name in enumerate(names)}
    for part, array in plain.items():
        unknown = sorted(set(array.tolist()) - set(names))
        if unknown:
            known = "`classes`" if len(classes) else "the train part"
            raise RequestError(
                f"{where}, {part} part: labels that {known} has not: {', '.join(map(repr, unknown[:SHOWN]))}"
            )
    mapped = {
        part: np.array([number[name] for name in array.tolist()], dtype=np.int64) for part, array in plain.items()
    }
    shown = ", ".join(f"{name} = {i}" for name, i in list(number.items())[:SHOWN]) + (
        ", ..." if len(names) > SHOWN else ""
    )
    order = "the order of `classes`" if len(classes) else "sorted order"
    return Numbered(mapped, len(names), f"labels are strings, numbered in {order}: {shown} ({len(names)} classes)")


def _plain(labels: Array, where: str) -> Array:
    """Return labels (N,) as int64 or as strings; raise RequestError where they are neither."""
    if labels.dtype.kind == "O":
        if all(isinstance(label, str) for label in labels.flat):
            labels = labels.astype(str)
        elif all(isinstance(label, int | np.integer) for label in labels.flat):
            labels = labels.astype(np.int64)
    if labels.dtype.kind == "f":
        whole = bool(np.isfinite(labels).all() and (labels == np.floor(labels)).all())
        advice = "write them as whole numbers, labels.astype('int64')" if whole else "number the classes from 0"
        raise RequestError(
            f"{where}: labels are {labels.dtype}: classes must be whole numbers or strings; {advice}; for real numbers call the "
            "array targets"
        )
    if labels.dtype.kind not in "iubUS":
        raise RequestError(f"{where}: labels are {labels.dtype}: they must be whole numbers or strings")
    if labels.size != len(labels):
        raise RequestError(
            f"{where}: labels are of shape {labels.shape}: there must be one whole number for each example, not a row; for a class "
            "of each token, or several labels, call the array targets"
        )
    labels = labels.reshape(-1)
    if labels.dtype.kind == "S":
        return np.char.decode(labels, "utf-8")
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)
