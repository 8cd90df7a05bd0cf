"""The procedure of a space in words, as the plan and `show` say it."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.search.expected import expected_members
from tune_lb.space.designs import ArmDesign
from tune_lb.space.space import Space
from tune_lb.space.until import Until


def stages_text(space: Space, designs: Sequence[ArmDesign]) -> str:
    """Return what an arm is searched, decided and confirmed with."""
    decided = ""
    if space.candidates > 1 and space.num_samples > 1:
        decided = (
            f"the {min(space.candidates, space.num_samples)} best decided between in {space.decide_blocks} blocks, "
        )
    until = space.confirm_blocks
    blocks = (
        f"blocks of {_seeds(space)} until half-widths are {until.half_width:g} points, at most {until.max_blocks}"
        if isinstance(until, Until)
        else f"{until} blocks of {_seeds(space)}"
    )
    if not any(design.dimensions and design.num_samples > 1 for design in designs):
        return f"nothing is searched, its one configuration is trained in {blocks}"
    return f"{space.num_samples} searched, {decided}one confirmed in {blocks}"


def stopping_text(space: Space, designs: Sequence[ArmDesign]) -> str:
    """Return how the searches of the arms are stopped early, and what that spares; nothing where none is."""
    searched = {expected_members(space, design)["search"] for design in designs} - {0}
    if space.stopping is None or not searched:
        return ""
    number = max(searched)
    counts = (number, *space.stopping.going_on(number, space.candidates))
    shares = (*(f"{100 * share:.3g} %" for share in space.stopping.looks), "the end")
    ways = ", ".join(f"{count} to {share}" for count, share in zip(counts, shares, strict=True))
    trainings = space.stopping.trainings(number, space.candidates)
    spared = 100 * (1 - trainings / number)
    return f"of an arm's configurations {ways}: {trainings:.3g} whole trainings in place of {number} ({spared:.0f} % spared)"


def _seeds(space: Space) -> str:
    return "one seed" if space.block_seeds == 1 else f"{space.block_seeds} seeds"
