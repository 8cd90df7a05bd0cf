"""A run, read once: its frames, and the tables made from them when they are first asked for."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis import adequacy, sharpness
from analysis.arms import arms_table, confirmed_members, drop_reason_of
from analysis.asked import Asked, read_asked
from analysis.comparisons import GapClosed, tuning_closed
from analysis.configurations import configurations, metric_values, usable
from analysis.frames import Frames, Predictions, at_chance, read_frames
from analysis.predictions import ArmPredictions, SplitPredictions
from analysis.two_level_bootstrap import Resamples, resample
from tune_lb.results.storage import Store

BOUNDS = ("corner", "one_step")


@dataclass(frozen=True)
class Results:
    """The results of one run.

    frames: as read. The tables are pandas frames: `members`, `history`, `configurations`, `arms`, `curves`.
    """

    frames: Frames

    @property
    def space(self) -> Mapping[str, Any]:
        """Contents of space.json."""
        return self.frames.space

    @property
    def history(self) -> pd.DataFrame:
        """Tidy history: trial_id, seed, step, epoch, wall_s, name, value."""
        return self.frames.history

    @cached_property
    def problems(self) -> tuple[str, ...]:
        """Files that could not be read, each with its name."""
        return tuple(dict.fromkeys((*self.frames.problems, *self._stored_predictions.problems)))

    @cached_property
    def asked(self) -> Asked:
        """The protocol, from space.json."""
        return read_asked(self.frames.space)

    @cached_property
    def members(self) -> pd.DataFrame:
        """One row per trained member; diverged ones count at chance."""
        return at_chance(self.frames.members, self.asked).reset_index(drop=True)

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration tried; see `analysis.configurations`."""
        return configurations(self.members, self.asked, self.frames.roles)

    @cached_property
    def resamples(self) -> Resamples:
        """The procedure as found and as drawn again; see `resample`."""
        return resample(usable(self.members), self.asked)

    @cached_property
    def arms(self) -> pd.DataFrame:
        """One row per arm; see `analysis.arms.arms_table`."""
        return arms_table(self.members, self.asked, self.resamples, self.predictions, self.frames.roles)

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        """The members that are the arms' results."""
        return confirmed_members(self.members, self.asked)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """Best-of-k curves: arm, split_seed, k, test_error."""
        return adequacy.curves(usable(self.members), self.asked)

    @cached_property
    def tuning_closed(self) -> GapClosed:
        """What tuning alone closes."""
        return tuning_closed(self.resamples, self.asked)

    @cached_property
    def no_gap_reason(self) -> str:
        """Why no share of the drop can be given, "" where it can."""
        return drop_reason_of(self.asked, self.resamples, self.predictions)

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
    def correlations(self) -> pd.DataFrame:
        """Rank correlations of every sharpness value with the gap and the training loss."""
        return sharpness.correlations(self.confirmed, self.sharpness_values)

    @cached_property
    def predictions(self) -> dict[str, ArmPredictions]:
        """Test predictions of confirmed members that have them: arm -> split_seed -> classes."""
        stored = self._stored_predictions
        found: dict[str, dict[int, SplitPredictions]] = {}
        for (arm, _), rows in self.confirmed.groupby(["arm", "split_seed"]):
            split = int(rows["split_seed"].iloc[0])
            keys = zip(rows["trial_id"], rows["seed"].astype(int), strict=True)
            known = sorted(key for key in keys if key in stored.classes)
            if known and split in stored.targets:
                seeds = np.array([seed for _, seed in known], dtype=np.int64)
                classes = np.stack([stored.classes[key] for key in known])
                found.setdefault(str(arm), {})[split] = SplitPredictions(seeds, classes, stored.targets[split])
        return dict(found)

    @cached_property
    def _stored_predictions(self) -> Predictions:
        if self.asked.error is not None:
            # what is compared example by example are shares of misclassified examples
            return Predictions()
        apart = [arm.name for arm in self.asked.arms if arm.own_test_part]
        comparable = self.confirmed[~self.confirmed["arm"].isin(apart)]
        return self.frames.predictions(set(comparable["trial_id"]), self.asked.num_classes)


def load(run: str | os.PathLike[str], storage: str | os.PathLike[str] = "runs") -> Results:
    """Read a run: a folder with a space.json (path or URI), or the name of a run in storage.

    Raises RequestError where there is no such run. Reads members and history; predictions when a table needs them.
    """
    return Results(read_frames(run_store(run, storage)))


def run_store(run: str | os.PathLike[str], storage: str | os.PathLike[str] = "runs") -> Store:
    """The folder of a run: a folder with a space.json (path or URI), else the one of that name in storage."""
    text = os.fspath(run)
    here = Store(text)
    return here if here.exists("space.json") else Store(os.fspath(storage)).child(text)
