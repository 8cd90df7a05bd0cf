"""The confirm stage as arrays: errors of every arm by block and seed, the same blocks and seeds for all arms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.asked import Asked
from analysis.member_columns import usable
from tune_lb.inference.effects import differences


def selected_configurations(members: pd.DataFrame, asked: Asked) -> dict[str, str]:
    """The configuration that stands for each arm: arm -> configuration_id, of arms with confirm members.

    The one that space.json calls selected. Where that has no confirm members (the search was broken off, or goes on), the one
    with the most, which is what an earlier decision selected.
    """
    confirm = usable(members[members["stage"] == "confirm"])
    counts = confirm.groupby(["arm", "configuration_id"]).size().reset_index(name="n")
    told = counts["arm"].map(asked.selected_configurations) == counts["configuration_id"]
    ranked = counts.assign(told=told).sort_values(["told", "n", "configuration_id"], ascending=[False, False, True])
    chosen = ranked.drop_duplicates("arm")
    return dict(zip(chosen["arm"].map(str), chosen["configuration_id"].map(str), strict=True))


def confirmed_members(members: pd.DataFrame, asked: Asked) -> pd.DataFrame:
    """The rows that are the arms' results: usable confirm members of the selected configurations, by block and seed."""
    chosen = selected_configurations(members, asked)
    confirm = usable(members[members["stage"] == "confirm"])
    own = confirm["arm"].map(chosen) == confirm["configuration_id"]
    return confirm[own].sort_values(["arm", "block", "seed"]).reset_index(drop=True)


@dataclass(frozen=True)
class Layout:
    """Where the members of the confirm stage stand in arrays of shape (S, m): block s, seed j."""

    row: dict[int, int]
    column: dict[tuple[int, int], int]
    num_seeds: int

    @property
    def blocks(self) -> tuple[int, ...]:
        """The numbers of the blocks, in the order of the rows."""
        return tuple(self.row)

    def array(self, rows: pd.DataFrame, column: str) -> FloatArray:
        """A column of one arm's confirm members, (S, m), nan where there is none."""
        found = np.full((len(self.row), self.num_seeds), np.nan)
        if column in rows:
            at = zip(rows["block"], rows["seed"], rows[column].to_numpy(np.float64), strict=True)
            for block, seed, value in at:
                found[self.row[int(block)], self.column[int(block), int(seed)]] = value
        return found


def layout(confirmed: pd.DataFrame) -> Layout:
    """The blocks and seeds that any arm has, seeds of a block in their order."""
    pairs = sorted({(int(b), int(s)) for b, s in zip(confirmed["block"], confirmed["seed"], strict=True)})
    ordered: dict[int, list[int]] = {}
    for block, seed in pairs:
        ordered.setdefault(block, []).append(seed)
    column = {(block, seed): j for block, of_block in ordered.items() for j, seed in enumerate(of_block)}
    row = {block: s for s, block in enumerate(ordered)}
    return Layout(row, column, max((len(of_block) for of_block in ordered.values()), default=0))


def arrays(confirmed: pd.DataFrame, column: str) -> dict[str, FloatArray]:
    """A column of the confirm members of every arm: arm -> (S, m), rows and seeds the same for all arms."""
    where = layout(confirmed)
    return {str(arm): where.array(rows, column) for arm, rows in confirmed.groupby("arm")}


def block_means(table: FloatArray) -> FloatArray:
    """Mean of each block over its seeds; blocks without a member are left out."""
    return differences(table, np.zeros_like(table))


def common_differences(*tables: tuple[FloatArray, FloatArray]) -> list[FloatArray]:
    """Block means of several differences (first minus second), over the pairs of block and seed that all of them have."""
    there = np.all([np.isfinite(first) & np.isfinite(second) for first, second in tables], axis=0)
    return [differences(np.where(there, first, np.nan), second) for first, second in tables]
