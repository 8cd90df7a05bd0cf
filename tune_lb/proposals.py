"""Proposals of samplers that learn, as events of the ledger: they depend on what was known then, so they are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tune_lb.cell import Candidate, Cell
from tune_lb.ledger import Ledger
from tune_lb.sampling import Values, coded, decoded
from tune_lb.space import ArmDesign


def record_proposals(ledger: Ledger, proposals: Iterable[tuple[Cell, Candidate]]) -> None:
    """Record each proposal, before anything is trained because of it."""
    for cell, candidate in proposals:
        facts = {
            "arm": cell.design.name,
            "split_seed": cell.split_seed,
            "index": candidate.index,
            "values": coded(cell.dimensions, candidate.values),
        }
        ledger.record(candidate.trial_id, f"proposed.{candidate.index}", facts)


def recorded_proposals(ledger: Ledger, designs: Sequence[ArmDesign]) -> dict[tuple[str, int], dict[int, Values]]:
    """Return the values of every proposal recorded, by (arm, split seed) and index."""
    dimensions = {design.name: design.dimensions for design in designs}
    found: dict[tuple[str, int], dict[int, Values]] = {}
    for event in ledger.events():
        if event.event.startswith("proposed."):
            facts = event.facts
            values = decoded(dimensions[facts["arm"]], facts["values"])
            found.setdefault((facts["arm"], facts["split_seed"]), {})[facts["index"]] = values
    return found
