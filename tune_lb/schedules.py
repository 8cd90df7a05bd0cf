"""Learning-rate schedules as pure functions of the position in training.

A schedule is a factor on the peak rate. Remedies wrap it: Warmup multiplies it by its ramp, Scaling moves the peak with the batch.
Positions are counted in examples, so a schedule means the same at every batch size.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from tune_lb.settings.domain import Choice, Interval, over
from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class ScheduleShape(Settings):
    """Base of all schedules: a factor on the peak rate."""

    def factor(self, position: Position) -> float:
        """Return the factor on the peak learning rate, in [0, 1]."""
        return 1.0


@dataclass(frozen=True)
class Constant(ScheduleShape):
    """The peak rate throughout."""


@dataclass(frozen=True)
class Cosine(ScheduleShape):
    """Half a cosine from the peak to a share of it: final + (1 - final) (1 + cos(pi x)) / 2, x the share of examples seen.

    Source: Loshchilov and Hutter, 2017, eq. 5, one cycle. x is counted before the step: the first step has the full rate.
    """

    final: float = setting(0.0, "rate at the end as a share of the peak", low=0.0, high=1.0)

    def factor(self, position: Position) -> float:
        """Return the factor at the examples seen before the step."""
        x = min(1.0, position.examples / position.total_examples)
        return self.final + (1.0 - self.final) * (1.0 + math.cos(math.pi * x)) / 2.0


@dataclass(frozen=True)
class Linear(ScheduleShape):
    """A straight line from the peak to a share of it: 1 - (1 - final) x, x the share of examples seen before the step."""

    final: float = setting(0.0, "rate at the end as a share of the peak", low=0.0, high=1.0)

    def factor(self, position: Position) -> float:
        """Return the factor at the examples seen before the step."""
        return 1.0 - (1.0 - self.final) * min(1.0, position.examples / position.total_examples)


@dataclass(frozen=True)
class Step(ScheduleShape):
    """The rate falls by a factor at each milestone: drop^k, k the milestones at or before the examples seen.

    milestones are epochs, or shares of the training (regime adaptation stretches them with the budget), as milestone_unit
    says; after the last one, or from the start where there are none, every further `every` is one more. A step that crosses
    a milestone has the rate from before it.

    Source: Jaiswal and Taura, "Overcoming Generalization Gap in Large Mini-Batch Training of Deep Neural Networks": milestones 25
    and 40 epochs, every 10; "by 10 %" is a drop of 0.9 or 0.1.
    """

    milestones: tuple[float, ...] = setting(
        (0.5, 0.75), "where the rate falls, ascending", suggested=over([(0.5, 0.75), (0.6, 0.8), (0.3, 0.6, 0.8)])
    )
    drop: float = setting(0.1, "factor at each milestone", above=0.0, high=1.0, suggested=over([0.1, 0.2, 0.5, 0.9]))
    every: float | None = setting(None, "distance of further milestones after the last; none: no more", above=0.0)
    milestone_unit: str = setting("share", "what milestones and every count", one_of=("epochs", "share"))

    def problems(self, where: str = "") -> list[str]:
        """Also refuse milestones that are no ascending positive numbers, or shares beyond the end."""
        found = super().problems(where)
        for given in self.milestones.to_check() if isinstance(self.milestones, Choice) else (self.milestones,):
            if not isinstance(given, tuple | list):
                continue
            place = f"{where or 'Step'}.milestones = {given}"
            if not all(isinstance(at, int | float) and at > 0 for at in given) or list(given) != sorted(set(given)):
                found.append(f"{place}: must be numbers above 0, ascending")
            elif self.milestone_unit == "share" and given and given[-1] >= 1:
                found.append(
                    f"{place}: must be below 1 where milestone_unit is 'share'; give milestone_unit='epochs' for epochs"
                )
        return found

    def factor(self, position: Position) -> float:
        """Return the factor at the examples seen before the step."""
        whole = position.epoch_examples if self.milestone_unit == "epochs" else position.total_examples
        # 0.1 N is not a whole number of examples to the last bit
        seen = position.examples + 1e-6
        passed = sum(seen >= at * whole for at in self.milestones)
        last = self.milestones[-1] * whole if self.milestones else 0.0
        if self.every is not None and seen > last:
            passed += math.floor((seen - last) / (self.every * whole))
        return float(self.drop**passed)


@dataclass(frozen=True)
class Trapezoid(ScheduleShape):
    """A ramp up, a plateau, a straight line down: min(1, start + (1 - start) x'/rise, final + (1 - final) (1 - x)/fall).

    x and x' are the shares of examples seen before and after the step: no step has rate 0 but where final is.
    Source: Xing et al., 2018, appendix C, where the ramp starts at the lowest rate of a cycle: start = Cyclical.lowest. Rise 0.5
    with fall 0.5 is one cycle of Cyclical. Cost: none.
    """

    rise: float = setting(0.25, "share of the training in which the rate rises", low=0.0, suggested=over(0.0, 0.4))
    fall: float = setting(0.25, "share of the training in which it falls", low=0.0, suggested=over(0.1, 0.6))
    final: float = setting(0.0, "rate at the end as a share of the peak", low=0.0, high=1.0)
    start: float = setting(0.0, "rate from which it rises as a share of the peak", low=0.0, high=1.0, added_later=True)

    def problems(self, where: str = "") -> list[str]:
        """Also refuse a rise and a fall that together are longer than the training."""
        found = super().problems(where)
        longest = [max(v.to_check()) if isinstance(v, Interval | Choice) else v for v in (self.rise, self.fall)]
        if not found and sum(longest) > 1 + 1e-9:
            found.append(f"{where or 'Trapezoid'}: rise + fall may be {sum(longest):g}, longer than the training (1)")
        return found

    def factor(self, position: Position) -> float:
        """Return the factor of the step."""
        before, after = position.examples / position.total_examples, position.examples_after / position.total_examples
        up = self.start + (1.0 - self.start) * after / self.rise if self.rise > 0 else 1.0
        down = max(0.0, 1.0 - before) / self.fall if self.fall > 0 else 1.0
        return min(1.0, up, self.final + (1.0 - self.final) * down)


@dataclass(frozen=True)
class Cyclical(ScheduleShape):
    """A triangle wave between a share of the peak and the peak: lowest + (1 - lowest) shrink^c tri(p).

    p is the position in cycle c = 0, 1, ..., counted in examples seen before the step; tri rises from 0 to 1 in the first half
    of a period and falls in the second.

    Source: Smith, 2017, section 3.1 (CLR; Xing et al., 2018, appendix C): triangular, and with shrink 0.5 triangular2; lowest
    0.25 to 0.33 and half periods of 2 to 10 epochs are its rules of thumb.
    Cost: none. Trap: where training ends inside a cycle its last rate is a high one.
    """

    period_epochs: float = setting(8.0, "length of a cycle, in epochs", above=0.0, suggested=over(2.0, 20.0, log=True))
    lowest: float = setting(
        0.25, "lowest rate as a share of the peak", low=0.0, high=1.0, suggested=over(0.01, 0.5, log=True)
    )
    shrink: float = setting(1.0, "height of each cycle as a share of the one before", above=0.0, high=1.0)

    def factor(self, position: Position) -> float:
        """Return the factor at the examples seen before the step."""
        cycles = position.examples / (self.period_epochs * position.epoch_examples)
        number = math.floor(cycles + 1e-9)
        height = max(0.0, 1.0 - abs(2.0 * (cycles - number) - 1.0))
        return self.lowest + (1.0 - self.lowest) * self.shrink**number * height


class Position(NamedTuple):
    """Where in training a step stands; schedules are pure functions of it."""

    step: int
    batch_size: int
    examples: int
    """Examples seen before this step."""
    examples_after: int
    """Examples seen when this step is done."""
    total_examples: int
    epoch_examples: int
    """Size of the train set."""


Schedule = Callable[[Position], float]
"""Position -> learning rate."""
