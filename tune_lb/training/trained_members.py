"""What is left of members when they are looked at: each by itself, with the weights that are to be evaluated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from tune_lb.training.gradient import Params
from tune_lb.training.members import Members, TrainedMember
from tune_lb.training.remedy import Remedy, overrides


def trained_members(
    group: Members, remedies: Sequence[Remedy], names: Sequence[str], *, stacked: bool
) -> Iterator[TrainedMember]:
    """Yield every member of a group with the parameters to be evaluated. names: of all parameters, frozen ones too."""
    params = group.params
    others: dict[str, Params] = {}
    for remedy in remedies:
        if overrides(remedy, "evaluated"):
            of_one, other = remedy.evaluated, remedy.alternatives
            evaluated = torch.func.vmap(of_one) if stacked else of_one
            alternatives = torch.func.vmap(other) if stacked else other
            state = group.states[remedy.name]
            others |= alternatives(params, state) if overrides(remedy, "alternatives") else {}
            params = evaluated(params, state)
    for position, seed in enumerate(group.seeds):
        values = one_member(params, position, stacked, remedies) | one_member(group.buffers, position, stacked)
        yield TrainedMember(
            seed,
            {name: values.pop(name) for name in names},
            values,
            group.diverged_at.get(seed),
            group.stopped_at.get(seed),
            {key: one_member(tree, position, stacked, remedies) for key, tree in others.items()},
        )


def one_member(
    tree: dict[str, Tensor], position: int, stacked: bool, remedies: Sequence[Remedy] = ()
) -> dict[str, Tensor]:
    """Return a copy of one member's part of a tree. remedies: those that train something else in place of the parameters."""
    params = {name: (value[position] if stacked else value).detach().clone() for name, value in tree.items()}
    for remedy in reversed(remedies):
        params = remedy.merged(params)
    return params
