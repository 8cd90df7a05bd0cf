"""Groups of parameters that an optimiser moves with settings of their own: no decay on biases, a smaller rate for the body."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

from torch import Tensor

from tune_lb.settings.domain import Choice, Interval, over
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class Group(Settings):
    """The parameters that a rule takes, and what is other for them: SGD(groups=(Group("bias|norm", weight_decay=0.0),)).

    A parameter is in the first group whose rule takes it, or in none; what is None is as the optimiser says. Its rate is the
    learning rate of the step, as schedule and remedies make it, times `rate`. Fields can be searched, but for the rule; their
    columns are group1.weight_decay and so on, in the order in which groups are given.
    Neutral: every field None and rate 1. A group that takes no parameter of the network is refused before anything starts.
    """

    names: str = setting("", "regular expression, searched in the parameter's name (layer1.0.bn.weight); empty: any")
    vectors: bool = setting(
        False, "only tensors of one dimension or none: biases, and scale and shift of normalisation layers"
    )
    rate: float = setting(
        1.0, "rate as a multiple of the others'; 0 freezes", low=0.0, suggested=over(0.01, 10.0, log=True)
    )
    weight_decay: float | None = setting(None, "as the optimiser's field, for these", low=0.0)
    momentum: float | None = setting(None, "as the optimiser's field, for these", low=0.0, below=1.0)
    beta1: float | None = setting(None, "as the optimiser's field, for these", low=0.0, below=1.0)
    beta2: float | None = setting(None, "as the optimiser's field, for these", low=0.0, below=1.0)
    eps: float | None = setting(None, "as the optimiser's field, for these", above=0.0)

    def problems(self, where: str = "") -> list[str]:
        """Also refuse a rule that is no regular expression, or searched."""
        found = super().problems(where)
        place = where or "Group"
        for name in ("names", "vectors"):
            if isinstance(getattr(self, name), Interval | Choice):
                found.append(f"{place}.{name}: which parameters a group takes cannot be searched; give it one value")
        try:
            re.compile(self.names if isinstance(self.names, str) else "")
        except re.error as error:
            found.append(f"{place}.names = {self.names!r}: no regular expression ({error})")
        return found

    def takes(self, name: str, tensor: Tensor) -> bool:
        """Say whether a parameter is in the group, if none before took it; tensor: one member's."""
        return re.search(self.names, name) is not None and (tensor.ndim <= 1 or not self.vectors)

    def changes(self) -> dict[str, float]:
        """Return the optimiser's fields that are other in the group."""
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in given.items() if name not in RULE and value is not None}


RULE = ("names", "vectors", "rate")
"""Fields of a group that are none of the optimiser's."""


def shared_out(groups: Sequence[Group], params: Mapping[str, Tensor]) -> list[list[str]]:
    """Return the names of the parameters in each group, and last those in none."""
    found: list[list[str]] = [[] for _ in range(len(groups) + 1)]
    for name, tensor in params.items():
        found[next((i for i, group in enumerate(groups) if group.takes(name, tensor)), len(groups))].append(name)
    return found
