"""Phases: stretches of training that come before the trial's own, with batch, rate and remedies of their own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.schedules import ScheduleShape
from tune_lb.settings.domain import Choice
from tune_lb.settings.setting import Settings, setting
from tune_lb.training.remedy import Remedy


@dataclass(frozen=True)
class Phase(Settings):
    """Some epochs of training whose last weights and batch-norm statistics the next phase starts from.

    A trial is the list of its phases, in order, and then what its other fields say. What a phase leaves None is as in the
    trial. The optimiser's state, the remedies' state and the schedule begin anew in every phase; a weight average that is to
    be evaluated is so in the last one only. Batches and noise of the first phase are those of a trial that is only this
    phase, so that "small batch, then large" begins with the very updates of the small-batch arm of the same seed.

    Source: Keskar et al., 2017, figure 5 (100 large-batch trainings from the iterates of one small-batch training).
    Neutral: epochs = 0 (the phase is not there). Cost: its own updates, counted in the row with the others.
    Raises RequestError (when the space is checked) as a trial of its own would.
    """

    epochs: float = setting(description="length, in passes over the train set; 0 is none", low=0.0)
    batch_size: int | None = setting(None, "examples per update; none: as the trial", low=1)
    lr: float | None = setting(None, "peak learning rate; with neither rate: as the trial", above=0.0)
    eta_over_b: float | None = setting(None, "peak learning rate per example of the phase's batch", above=0.0)
    optimizer: OptimizerSettings | None = None
    schedule: ScheduleShape | None = None
    remedies: tuple[Remedy, ...] | None = None

    def problems(self, where: str = "") -> list[str]:
        """Also refuse what is searched inside the parts of a phase."""
        found = super().problems(where)
        if self.lr is not None and self.eta_over_b is not None:
            found.append(f"{where}: lr and eta_over_b are both given; give one (lr = eta_over_b * batch_size)")
        lists = [one.values if isinstance(one, Choice) else (one,) for one in (self.optimizer, self.schedule)]
        optimizers, schedules = lists
        groups = [group for optimizer in optimizers for group in getattr(optimizer, "groups", ())]
        parts: list[Any] = [*optimizers, *groups, *schedules, *(self.remedies or ())]
        if not all(isinstance(remedy, Remedy) for remedy in self.remedies or ()):
            return [*found, f"{where}.remedies = {self.remedies}: give a tuple of remedies, as in (SAM(rho=0.05),)"]
        for part in parts:
            if isinstance(part, Settings):
                found += part.problems(f"{where}: {type(part).__name__}")
                found += [
                    f"{where}: {type(part).__name__}.{name} is searched; in a phase only its own numbers can be"
                    for name in part.dimensions()
                ]
        return found
