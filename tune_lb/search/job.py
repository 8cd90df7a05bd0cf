"""Jobs: members of one trial that one worker trains, and the stages they are trained for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tune_lb.training.trial import Trial

FIRST_SEED = {"search": 0, "rescreen": 1000, "confirm": 2000}
"""Seeds of the stages never meet: what selected a configuration does not measure it."""


STAGES = tuple(FIRST_SEED)


@dataclass(frozen=True)
class Job:
    """Members of one trial to be trained by one worker."""

    trial: Trial
    trial_id: str
    arm: str
    split_seed: int
    stage: str
    seeds: tuple[int, ...]
    values: Mapping[str, Any] = field(compare=False)

    @property
    def key(self) -> tuple[str, int]:
        """Return what tells it from every other job of the run."""
        return self.trial_id, self.seeds[0]

    @property
    def is_watched(self) -> bool:
        """Say whether its members are those of the arm that are looked at while they train: the first confirmed ones."""
        return self.stage == "confirm" and self.seeds[0] == FIRST_SEED["confirm"]
