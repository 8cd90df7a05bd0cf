"""A run, read once: its frames, and the tables made from them when they are first asked for."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from analysis import adequacy, measured
from analysis.adequacy import Adequacy
from analysis.arms import arms_table, as_printed
from analysis.blocks import confirmed_members, selected_configurations
from analysis.comparison import Comparison, compare
from analysis.configurations import configurations
from analysis.decisions import Decision, decisions, selection_variances
from analysis.drops import GapClosed, drop_reason, tuning_closed
from analysis.frames import at_chance
from analysis.how_large import HowLarge, how_large
from analysis.member_columns import usable
from analysis.run import Run
from analysis.test_sets import TestSets, read_test_sets

OF_BLOCKS = {"block": "Int64", "configuration_id": "str", "validation_soft_error": "float64"}


@dataclass(frozen=True)
class Results(Run):
    """The results of one run of blocks (docs/inference.md). Tables are pandas frames: `configurations`, `arms`, `measured` ..."""

    @cached_property
    def members(self) -> pd.DataFrame:
        """One row per trained member; diverged ones count at chance. With the columns of blocks, whatever files there are."""
        found = at_chance(self.frames.members, self.asked).reset_index(drop=True)
        missing = {
            name: pd.Series(None, found.index, dtype=kind) for name, kind in OF_BLOCKS.items() if name not in found
        }
        return found.assign(**missing)

    @cached_property
    def selected(self) -> dict[str, str]:
        """Arm -> configuration_id of what was confirmed."""
        return selected_configurations(self.members, self.asked)

    @cached_property
    def confirmed(self) -> pd.DataFrame:
        """The members that are the arms' results."""
        return confirmed_members(self.members, self.asked)

    @property
    def one_block(self) -> bool:
        """Whether the run asked for a single confirm block: nothing then has an interval."""
        return len(self.confirmed) > 0 and self.asked.design is not None and self.asked.design.confirm_blocks == 1

    @cached_property
    def decisions(self) -> dict[str, Decision]:
        """Arm -> how its configuration was decided for, of the arms that searched."""
        return decisions(self.members, self.asked)

    @cached_property
    def comparison(self) -> Comparison:
        """Every arm against the reference."""
        variances = selection_variances(self.decisions, self.asked)
        return compare(self.confirmed, self.asked, variances, self.test_sets)

    @cached_property
    def test_sets(self) -> TestSets:
        """What the arms get wrong of which test example."""
        return read_test_sets(self.confirmed, self.stored_predictions, self.asked)

    @cached_property
    def configurations(self) -> pd.DataFrame:
        """One row per configuration tried; see `configurations`."""
        return configurations(self.members, self.asked, self.decisions, self.selected, self.frames.roles)

    @cached_property
    def searches(self) -> dict[str, Adequacy]:
        """Arm -> how its search went."""
        errors = self.comparison.errors.get(str(self.asked.reference))
        reference = math.nan if errors is None else float(np.nanmean(errors))
        return adequacy.searches(self.members, self.asked, self.decisions, self.selected, reference)

    @cached_property
    def arms(self) -> pd.DataFrame:
        """One row per arm; see `arms_table`."""
        return arms_table(self.members, self.comparison, self.searches, self.frames.roles, self.no_gap_reason)

    @cached_property
    def printed(self) -> list[dict[str, Any]]:
        """The rows of arms as they are printed; see `as_printed`."""
        return as_printed(self.arms, is_share=self.asked.is_share)

    @cached_property
    def how_large(self) -> HowLarge | None:
        """How large a batch may be, where the arms have three batch sizes or more; see `how_large`."""
        return how_large(self)

    @cached_property
    def curves(self) -> pd.DataFrame:
        """What the best of k points reaches in the search: arm, k, value."""
        return adequacy.curves(usable(self.members), self.asked)

    @cached_property
    def tuning_closed(self) -> GapClosed:
        """What tuning alone closes."""
        return tuning_closed(self.comparison)

    @cached_property
    def no_gap_reason(self) -> str:
        """Why no share of the drop can be given, "" where it can."""
        return drop_reason(self.comparison)

    @cached_property
    def measured(self) -> pd.DataFrame:
        """Sharpness, gap and train loss of every arm against the reference; see `measured_differences`."""
        values = [*self.sharpness_values, "generalization_gap", "train_loss"]
        return measured.measured_differences(self.confirmed, self.asked, values)

    @cached_property
    def correlations(self) -> pd.DataFrame:
        """Rank correlations of every sharpness value with the gap and the train loss, over the arms."""
        return measured.correlations(self.confirmed, self.sharpness_values)
