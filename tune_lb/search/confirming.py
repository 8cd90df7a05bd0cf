"""How many blocks the arms of a search are confirmed in, where it is confirmed until differences are known."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tune_lb.inference.effects import differences, paired_t
from tune_lb.inference.looks import is_known, looks, obrien_fleming
from tune_lb.space.until import Until

POINT = 0.01


@dataclass(frozen=True)
class Confirming:
    """One arm's confirm stage, as far as it is trained.

    errors: (S, m) test errors of the first S blocks, by block and seed, nan where a member failed. selection: the variance of its
    selection, V.
    """

    errors: NDArray[np.float64]
    selection: float


def blocks_wanted(
    until: Until, reference: str, arms: Mapping[str, Confirming | None], family: Collection[str]
) -> dict[str, int]:
    """Return in how many blocks each arm is to be confirmed, as far as that is known: up to the next look, or where it stopped.

    arms: the reference among them; None for one of which nothing is known yet. family: the arms over which intervals are
    simultaneous, and looks are corrected. What is returned grows with what is trained, and never falls.
    """
    at = looks(until.max_blocks)
    levels = _levels(until.max_blocks) / max(1, len(family)) if until.early else np.zeros(len(at))
    own = arms.get(reference)
    known = all(arm is not None for arm in arms.values())
    found = {}
    for name, arm in arms.items():
        if name == reference:
            continue
        size = max(1, len(family)) if name in family else 1
        found[name] = at[0]
        for k, number in enumerate(at):
            found[name] = number
            # the floor of one arm's variance hangs on those of all
            if not known or arm is None or own is None or min(len(arm.errors), len(own.errors)) < number:
                break
            selection = arm.selection + own.selection
            effect = paired_t(differences(arm.errors[:number], own.errors[:number]), selection, size)
            half_width = (effect.high - effect.low) / 2
            if is_known(half_width, POINT * until.half_width, selection, size) or effect.p < levels[k]:
                break
    return {reference: max(found.values(), default=at[0]), **found}


@functools.cache
def _levels(max_blocks: int) -> NDArray[np.float64]:
    return obrien_fleming(looks(max_blocks))
