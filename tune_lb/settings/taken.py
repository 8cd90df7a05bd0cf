"""What a trial takes of another arm of its run: the weights that a member of the same block and seed had there after epochs."""

from __future__ import annotations

from typing import NamedTuple, Self

from tune_lb.settings.domain import Choice, Interval


class Taken(NamedTuple):
    """What is taken: the weights of the arm's member after those epochs, 0 its start; (): after every epoch that is kept."""

    arm: str
    epochs: tuple[int, ...] = ()


class TakesFromArm:
    """What a part of a trial is that may take from another arm of the run (`Watch(keep_weights=...)` keeps what is taken).

    A search trains the members that are taken from before those that take, and has the part completed by the worker
    (tune_lb/tuning/taking.py); by itself such a trial is not known whole.
    """

    def takes(self) -> Taken | None:
        """Return what it takes, at every value of what is searched; None: nothing."""
        raise NotImplementedError

    def at_start(self) -> Self:
        """Return the same that takes what is there at the start of the other arm's training: for runs that end at once."""
        return self


class VariancesAsked(NamedTuple):
    """Of what variances are asked for: gradients of so many examples, on weights or activations, in which layers."""

    small_batch_size: int
    on: str
    layers: str


class TakesVariances(TakesFromArm):
    """What takes the variances that gradients have at the weights that another arm's member had after every kept epoch."""

    def asks(self) -> VariancesAsked:
        """Return of what the variances are."""
        raise NotImplementedError

    def with_profile(self, profile: tuple[tuple[float, ...], ...]) -> Self:
        """Return the same with the variances in the place of the arm: a row for each epoch, a number for each layer."""
        raise NotImplementedError


def whole_numbers(value: int | Interval | Choice) -> tuple[int, ...]:
    """Return every value that a field of whole numbers has."""
    if isinstance(value, Interval):
        return tuple(range(int(value.low), int(value.high) + 1))
    return tuple(value.values) if isinstance(value, Choice) else (value,)
