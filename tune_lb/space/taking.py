"""What arms of a space take from each other: who lends, and every mistake in it that can be seen without the data.

An arm takes the weights that members of another arm had after epochs (`StoredWeights(arm=..., epoch=...)`), block by block and seed
by seed; `Watch(keep_weights=...)` says after which epochs they are kept.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from tune_lb.errors import nearest
from tune_lb.settings.domain import Choice, Interval
from tune_lb.settings.taken import Taken
from tune_lb.space.circles import circle, reached
from tune_lb.space.designs import ArmDesign
from tune_lb.space.observation import Watch
from tune_lb.space.space import Space
from tune_lb.training.taking import taken_by, taken_in_phases


def lenders(designs: Sequence[ArmDesign]) -> dict[str, frozenset[str]]:
    """Return the arms that others take from, each with the stages of its members that they may take from."""
    names = {taken.arm for design in designs for taken in taken_by(design.template)}
    lent = {design.name: {stage for stage, placebo in design.lent if not placebo} for design in designs}
    return {name: frozenset({"lent", "confirm", *lent[name]}) for name in names}


def lenders_of(arm: str, designs: Sequence[ArmDesign]) -> list[str]:
    """Return the arms that an arm takes from, and those that these take from, and so on. designs: without circles."""
    return reached(arm, {design.name: [taken.arm for taken in taken_by(design.template)] for design in designs})


def taking_problems(space: Space, designs: Sequence[ArmDesign]) -> list[str]:
    """Return what stands in the way of arms that take from others. designs: of a space that has no other mistakes."""
    own = {arm.name: arm for arm in space.arms}
    found = []
    takes: dict[str, list[str]] = {}
    for design in designs:
        if design.name not in own:
            continue
        taken = taken_by(design.template)
        for one in taken:
            found += [f"arm {design.name!r} {line}" for line in _problems(one, own, space.watch)]
        if taken_in_phases(design.template):
            found.append(f"arm {design.name!r}: a phase takes from another arm; give what takes to the arm itself")
        takes[design.name] = [*own[design.name].combines, *(str(one.arm) for one in taken)]
    return found or _circles(takes)


def _problems(taken: Taken, arms: Collection[str], watch: Watch | None) -> list[str]:
    if isinstance(taken.arm, Choice | Interval):
        return ["searches the arm that it takes from; give each an arm of its own"]
    if taken.arm not in arms:
        return [f"takes from {taken.arm!r}, which is not an arm of the space{nearest(taken.arm, arms)}"]
    if watch is None or watch.keep_weights is None:
        return [
            f"takes weights of arm {taken.arm!r}, which keeps none: give the space watch=Watch(keep_weights=...), the epochs"
        ]
    if not watch.is_kept_of(taken.arm):
        return [f"takes weights of arm {taken.arm!r}, which is not in the watch's keep_weights_of: add it"]
    missing = [epoch for epoch in taken.epochs if not watch.keeps(epoch)]
    return [
        f"takes the weights that arm {taken.arm!r} has after epoch {missing[0]}, and Watch(keep_weights={watch.keep_weights}) does "
        "not keep them: add the epoch, or take another"
        for _ in missing[:1]
    ]


def _circles(takes: Mapping[str, Sequence[str]]) -> list[str]:
    told: set[frozenset[str]] = set()
    found = []
    for arm in takes:
        way = circle(arm, takes)
        if way and frozenset(way) not in told:
            told.add(frozenset(way))
            found.append(
                f"arm {arm!r} takes from itself; name another arm"
                if len(way) == 1
                else f"arms take from each other in a circle ({' -> '.join([*way, arm])}), so none could begin; leave one out"
            )
    return found
