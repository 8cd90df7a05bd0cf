"""How long an arm is confirmed, where that is no number of blocks but a width."""

from __future__ import annotations

from dataclasses import dataclass

from tune_lb.settings.setting import Settings, setting


@dataclass(frozen=True)
class Until(Settings):
    """Confirm blocks are added until the intervals are narrow enough: `Space(confirm_blocks=Until(half_width=0.2))`.

    It is looked after 10, 14, 18 ... blocks. An arm stops whose interval of the whole procedure, simultaneous over the arms, has at
    most this half-width, or never will have it: the variance of the searches is not lowered by blocks. The reference goes on as
    long as any arm does. A width says nothing of a difference, so it may be looked at without a correction. early: an arm also
    stops that is told from the reference, at the levels of O'Brien and Fleming (1979), so that all looks together err in 5 %.
    """

    half_width: float = setting(0.2, "half-width to reach, in points (hundredths) of test error", above=0.0)
    max_blocks: int = setting(60, "blocks at which an arm stops in any case", low=2, high=90_000)
    early: bool = setting(False, "also stop an arm that is told from the reference")
