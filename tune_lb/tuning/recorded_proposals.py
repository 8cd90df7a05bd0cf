"""Proposals of samplers that learn, as events of the ledger: they depend on what was known then, so they are remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tune_lb.results.ledger import Ledger
from tune_lb.samplers.sampler import Values
from tune_lb.samplers.tpe import coded, decoded
from tune_lb.search.arm_in_split import ArmInSplit, Candidate
from tune_lb.space.designs import ArmDesign


def record_proposals(ledger: Ledger, proposals: Iterable[tuple[ArmInSplit, Candidate]]) -> None:
    """Record each proposal, before anything is trained because of it."""
    for pair, candidate in proposals:
        facts = {
            "arm": pair.design.name,
            "split_seed": pair.split_seed,
            "index": candidate.index,
            "values": coded(pair.dimensions, candidate.values),
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
