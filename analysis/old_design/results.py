"""A run of the old design, read once: its frames, and the tables made from them when they are first asked for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from analysis.member_columns import usable
from analysis.old_design import adequacy
from analysis.old_design.arms import arms_table, confirmed_members, drop_reason_of
from analysis.old_design.comparisons import GapClosed, tuning_closed
from analysis.old_design.configurations import configurations
from analysis.old_design.correlations import correlations
from analysis.old_design.predictions import ArmPredictions, SplitPredictions
from analysis.old_design.two_level_bootstrap import Resamples, resample
from analysis.run import Run


@dataclass(frozen=True)
class OldResults(Run):
    """The results of one run of the old design. The tables are pandas frames: `configurations`, `arms`, `curves`."""

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration tried; see `configurations`."""
        return configurations(self.members, self.asked, self.frames.roles)

    @cached_property
    def resamples(self) -> Resamples:
        """The procedure as found and as drawn again; see `resample`."""
        return resample(usable(self.members), self.asked)

    @cached_property
    def arms(self) -> pd.DataFrame:
        """One row per arm; see `arms_table`."""
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
    def correlations(self) -> pd.DataFrame:
        """Rank correlations of every sharpness value with the gap and the training loss."""
        return correlations(self.confirmed, self.sharpness_values)

    @cached_property
    def predictions(self) -> dict[str, ArmPredictions]:
        """Test predictions of confirmed members that have them: arm -> split_seed -> classes."""
        stored = self.stored_predictions
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
