"""What every optimiser is: a frozen dataclass that builds the torch optimiser."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from tune_lb.optimizers.groups import Group
from tune_lb.settings.domain import Domain
from tune_lb.settings.setting import HOLDS_PARTS, Settings, setting


def _later(description: str) -> Any:
    """Declare a number above 0 that came later, given by its name alone: optimisers have fields of their own behind it."""
    found = setting(None, description, above=0.0, added_later=True)
    return field(default=None, kw_only=True, metadata=found.metadata)


@dataclass(frozen=True)
class OptimizerSettings(Settings):
    """Base of all optimisers.

    clip_norm, clip_value: the mean gradient of the batch is clipped after remedies that choose its points (SAM) and before noise is
    added, weight decay and momentum. Hoffer et al., 2017, clip the length at 5 in all their runs, in their code.
    """

    element_wise: ClassVar[bool] = False
    """Whether every entry of a tensor is moved by itself, whatever stands beside it."""

    suggested_lr: ClassVar[Domain | None] = None
    """A sensible range of peak rates to search, for optimisers whose rates are not SGD's or Adam's."""

    weight_decay: float = setting(0.0, "L2 coefficient added to the gradient, coupled with the rate", low=0.0)

    clip_norm: float | None = _later("largest length of the gradient, over all parameters; none: as it is")
    clip_value: float | None = _later("largest size of an entry of the gradient, cut before the length; none: as it is")

    groups: tuple[Group, ...] = field(
        default=(),
        kw_only=True,
        metadata={
            "description": "parameters that have settings of their own, the first group that takes one",
            "added_later": True,
            HOLDS_PARTS: True,
        },
    )

    def problems(self, where: str = "") -> list[str]:
        """Also refuse groups that change what the optimiser does not have."""
        found, place = super().problems(where), where or type(self).__name__
        for i, group in enumerate(self.groups if isinstance(self.groups, tuple | list) else (), 1):
            if not isinstance(group, Group):
                found.append(f"{place}.groups: {group!r} is not a Group(...)")
                continue
            found += [
                f"{place}.groups: group {i} gives {name}, which {type(self).__name__} does not have"
                for name in group.changes()
                if not hasattr(self, name)
            ]
        return found

    def build(self, tensors: Iterable[Tensor], lr: float, *, members_first: bool = False) -> torch.optim.Optimizer:
        """Return the torch optimiser over the tensors; members_first: they have a leading member dimension.

        One of the user's own may leave members_first out, and may take `names`, those of the parameters in the same order. What
        it gives a group of parameters as lr is kept as a share of lr. It is called with one member's tensors to learn the groups.
        """
        raise TypeError(f"{type(self).__name__} does not say which torch optimiser it is")

    def effective_momentum(self) -> float:
        """Return the momentum m of the noise scale eta N / (B (1 - m))."""
        return 0.0
