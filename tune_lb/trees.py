"""Trees: what one example is, where it is more than one tensor: a tuple or dict of tensors (or arrays), nested as it likes.

All leaves have the same leading length, the examples. A single tensor is a tree of one leaf, so everything here takes it as well.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any


def is_tree(value: Any) -> bool:
    """Say whether a value has leaves inside it: a tuple, a list or a mapping."""
    # what has a shape is a leaf: told first, as this is asked several times in every update
    return not hasattr(value, "shape") and isinstance(value, tuple | list | Mapping)


def mapped(function: Callable[..., Any], tree: Any, *others: Any) -> Any:
    """Return the tree with function(leaf, leaves of the others at its place) in place of each leaf."""
    if hasattr(tree, "shape"):
        return function(tree, *others)
    if isinstance(tree, Mapping):
        return {key: mapped(function, value, *(other[key] for other in others)) for key, value in tree.items()}
    if isinstance(tree, tuple | list):
        return tuple(mapped(function, *values) for values in zip(tree, *others, strict=True))
    return function(tree, *others)


def named_leaves(tree: Any, name: str = "") -> dict[str, Any]:
    """Return the leaves in order, by their places: "0", "mask", "mask.1"; "" for a single one."""
    if not is_tree(tree):
        return {name: tree}
    entries = tree.items() if isinstance(tree, Mapping) else enumerate(tree)
    found: dict[str, Any] = {}
    for key, value in entries:
        found |= named_leaves(value, f"{name}.{key}" if name else str(key))
    return found


def leaves(tree: Any) -> list[Any]:
    """Return the leaves in order."""
    if not is_tree(tree):
        return [tree]
    return list(named_leaves(tree).values())


def first_leaf(tree: Any) -> Any:
    """Return the first leaf: of its length are all. Raises ValueError for a tree without leaves."""
    if hasattr(tree, "shape"):
        return tree
    found = leaves(tree)
    if not found:
        raise ValueError(f"inputs {tree!r}: a tuple or dict of tensors needs at least one")
    return found[0]


def shapes(tree: Any) -> Any:
    """Return the tree of the shapes of one example; for a single array (N, ...) its shape (...)."""
    return mapped(lambda leaf: tuple(leaf.shape[1:]), tree)


def cast(tree: Any, dtype: Any) -> Any:
    """Return the tree of tensors with its real numbers in a dtype; whole numbers and flags stay what they are."""
    return mapped(lambda leaf: leaf.to(dtype) if leaf.is_floating_point() else leaf, tree)


def named_shapes(tree: Any, name: str = "") -> dict[str, tuple[int, ...]]:
    """Return the shapes in a tree of shapes by the places of their leaves; "" for a single shape."""
    if isinstance(tree, Mapping):
        entries = list(tree.items())
    elif isinstance(tree, tuple) and any(is_tree(entry) for entry in tree):
        entries = list(enumerate(tree))
    else:
        return {name: tuple(tree)}
    found: dict[str, tuple[int, ...]] = {}
    for key, value in entries:
        found |= named_shapes(value, f"{name}.{key}" if name else str(key))
    return found
