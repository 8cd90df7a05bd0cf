"""Proposals of samplers that learn, as events of the ledger: they depend on what was known then, so they are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tune_lb.results.ledger import Ledger
from tune_lb.samplers.coding import coded, decoded
from tune_lb.samplers.sampler import Values
from tune_lb.search.candidates import Candidate, SearchedArm
from tune_lb.space.designs import ArmDesign


def record_proposals(ledger: Ledger, proposals: Iterable[tuple[SearchedArm, Candidate]]) -> None:
    """Record each proposal, before anything is trained because of it."""
    for arm, candidate in proposals:
        facts = {
            "arm": arm.design.name,
            "index": candidate.index,
            "values": coded(arm.dimensions, candidate.values),
        }
        ledger.record(candidate.configuration_id, f"proposed.{candidate.index}", facts)


def recorded_proposals(ledger: Ledger, designs: Sequence[ArmDesign]) -> dict[str, dict[int, Values]]:
    """Return the values of every proposal recorded, by arm and index."""
    dimensions = {design.name: design.dimensions for design in designs}
    found: dict[str, dict[int, Values]] = {}
    for event in ledger.events():
        if event.event.startswith("proposed."):
            facts = event.facts
            found.setdefault(facts["arm"], {})[facts["index"]] = decoded(dimensions[facts["arm"]], facts["values"])
    return found
