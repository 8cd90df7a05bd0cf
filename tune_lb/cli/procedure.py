"""The procedure of a space in words, as the plan and `show` say it."""

from __future__ import annotations

from tune_lb.space.space import Space
from tune_lb.space.until import Until


def stages_text(space: Space) -> str:
    """Return what an arm is searched, decided and confirmed with."""
    decided = ""
    if space.candidates > 1 and space.num_samples > 1:
        decided = (
            f"the {min(space.candidates, space.num_samples)} best decided between in {space.decide_blocks} blocks, "
        )
    until = space.confirm_blocks
    blocks = (
        f"blocks of {space.block_seeds} until half-widths are {until.half_width:g} points, at most {until.max_blocks}"
        if isinstance(until, Until)
        else f"{until} blocks of {space.block_seeds}"
    )
    return f"{space.num_samples} searched, {decided}one confirmed in {blocks}"
