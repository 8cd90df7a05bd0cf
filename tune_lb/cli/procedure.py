"""The procedure of a space in words, as the plan and `show` say it."""

from __future__ import annotations

from tune_lb.space.space import Space


def stages_text(space: Space) -> str:
    """Return what an arm is searched, decided and confirmed with."""
    decided = ""
    if space.candidates > 1 and space.num_samples > 1:
        decided = (
            f"the {min(space.candidates, space.num_samples)} best decided between in {space.decide_blocks} blocks, "
        )
    return (
        f"{space.num_samples} searched, {decided}one confirmed in {space.confirm_blocks} blocks of {space.block_seeds}"
    )
