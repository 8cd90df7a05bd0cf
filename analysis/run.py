"""A run as its files tell it, whatever rules it is reported by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pandas as pd

from analysis.asked import Asked, read_asked
from analysis.frames import Frames, Predictions, at_chance
from analysis.member_columns import metric_values
from tune_lb.results.lock import holder

BOUNDS = ("corner", "one_step")


@dataclass(frozen=True)
class Run:
    """Frames as read, and what follows from them under any design. `confirmed`: the members that are the arms' results."""

    frames: Frames

    @property
    def space(self) -> Mapping[str, Any]:
        """Contents of space.json."""
        return self.frames.space

    @property
    def history(self) -> pd.DataFrame:
        """Tidy history: trial_id, seed, step, epoch, wall_s, name, value."""
        return self.frames.history

    @property
    def parts(self) -> Mapping[str, Run]:
        """The runs that this is made of, by name; none for one that stands by itself."""
        return {}

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Files that could not be read, each with its name."""
        return tuple(dict.fromkeys((*self.frames.problems, *self.stored_predictions.problems)))

    @cached_property
    def is_written(self) -> bool:
        """Whether a search is at work on the run."""
        return self.frames.store is not None and holder(self.frames.store) is not None

    @cached_property
    def asked(self) -> Asked:
        """The protocol, from space.json."""
        return read_asked(self.frames.space)

    @cached_property
    def members(self) -> pd.DataFrame:
        """One row per trained member; diverged ones count at chance."""
        return at_chance(self.frames.members, self.asked).reset_index(drop=True)

    @property
    def arms(self) -> pd.DataFrame:
        """One row per arm."""
        raise NotImplementedError

    @property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration that was tried."""
        raise NotImplementedError

    @property
    def confirmed(self) -> pd.DataFrame:
        """The members that are the arms' results."""
        raise NotImplementedError

    @cached_property
    def sharpness_values(self) -> list[str]:
        """Names of the metric values that some confirmed member has, cheaper bounds on the same values left out."""
        values = [
            name
            for name in metric_values(self.members, self.frames.roles)
            if not name.partition(".")[2].startswith(BOUNDS)
        ]
        return [name for name in values if self.confirmed[name].notna().any()]

    @cached_property
    def stored_predictions(self) -> Predictions:
        """The test predictions of the confirmed members that can be compared example by example."""
        if self.asked.error is not None:
            # what is compared example by example are shares of misclassified examples
            return Predictions()
        apart = [arm.name for arm in self.asked.arms if arm.own_test_part]
        comparable = self.confirmed[~self.confirmed["arm"].isin(apart)]
        return self.frames.predictions(set(comparable["trial_id"]), self.asked.num_classes)
