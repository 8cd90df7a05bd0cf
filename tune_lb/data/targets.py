"""What targets may be: classes, a class for each token, real numbers, several labels as 0 and 1; and what is wrong with them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
TargetKind = Literal["classes", "tokens", "real"]

IGNORED = -100
"""Whole number that marks a token without a target, as in torch; a loss may name another one."""


def target_kind(targets: Array) -> TargetKind:
    """Return what targets are: classes (N,) of whole numbers, tokens (N, ...) of whole numbers, or real numbers (N, ...)."""
    if np.issubdtype(targets.dtype, np.floating):
        return "real"
    return "classes" if targets.ndim == 1 else "tokens"


def target_problems(targets: Array, num_classes: int) -> list[str]:
    """Say what is wrong with the targets of a part (N, ...): their type, and classes out of range.

    Of tokens, negative numbers are left to the loss, which may ignore them; see training/target_checks.py.
    """
    if targets.ndim == 0 or not (np.issubdtype(targets.dtype, np.integer) or np.issubdtype(targets.dtype, np.floating)):
        return [
            f"labels are {targets.dtype} of shape {targets.shape}: they must be whole numbers (N,) for classes, whole numbers "
            "(N, ...) for a class of each token, or real numbers"
        ]
    kind = target_kind(targets)
    if kind == "real" or not targets.size:
        return []
    wrong = np.argwhere((targets >= num_classes) | ((targets < 0) if kind == "classes" else False))
    if not len(wrong):
        return []
    first = tuple(int(i) for i in wrong[0])
    place = f"example {first[0]}" + (f", token {', '.join(map(str, first[1:]))}" if len(first) > 1 else "")
    what = "examples" if kind == "classes" else "tokens"
    return [f"label {targets[first]} of {place} is out of range 0 .. {num_classes - 1} ({len(wrong)} such {what})"]


def not_finite(values: Array) -> list[str]:
    """Say which examples of an array (N, ...) have values that are NaN or infinite. Those in files are not looked through."""
    if not len(values) or not isinstance(values, np.ndarray) or not np.issubdtype(values.dtype, np.floating):
        return []
    pieces = np.array_split(values, 1 + len(values) // 4096)
    finite = [np.isfinite(piece).reshape(len(piece), -1).all(1) for piece in pieces]
    bad = np.flatnonzero(~np.concatenate(finite))
    if not len(bad):
        return []
    return [
        f"example {bad[0]} has values that are not finite (NaN or infinite) ({len(bad)} such examples): "
        "leave these out, or put values in their place"
    ]
