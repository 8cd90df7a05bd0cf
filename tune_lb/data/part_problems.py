"""What is wrong with labelled examples: their number, shapes, labels and values."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from tune_lb.data.targets import not_finite, target_problems
from tune_lb.trees import is_tree, named_leaves, named_shapes

Array = npt.NDArray[Any]


def part_problems(inputs: Any, targets: Array, input_shape: Any, num_classes: int, *, may_be_empty: bool) -> list[str]:
    """Say what is wrong with labelled examples: their number, shape, labels, and values that are not finite."""
    found = [] if len(targets) or may_be_empty else ["empty: there is nothing to train on or to test"]
    given, wanted = named_leaves(inputs), named_shapes(input_shape)
    if given.keys() != wanted.keys():
        return [
            *found,
            f"inputs are {', '.join(given) or 'one array'}, those of the train part {', '.join(wanted) or 'one array'}",
        ]
    for place, leaf in given.items():
        what = f"inputs {place}: " if place else ""
        if len(leaf) != len(targets):
            found.append(f"{what}{len(leaf)} inputs and {len(targets)} labels: there must be one label for each input")
        if len(leaf) and tuple(leaf.shape[1:]) != wanted[place]:
            found.append(
                f"{what}examples of shape {tuple(leaf.shape[1:])}, those of the train part are {wanted[place]}"
            )
    found += target_problems(targets, num_classes)
    for place, leaf in {**given, "targets": targets}.items():
        found += [f"{f'{place}: ' if is_tree(inputs) or leaf is targets else ''}{line}" for line in not_finite(leaf)]
    return found
