"""How long it may take to find out which way of training is the fastest: a small share of the work that it is for."""

from __future__ import annotations

import time
from collections.abc import Callable

SHORTEST_S = 15.0
SHARE = 0.03


class TimingClock:
    """Tells whether there is time for one more thing to time: SHORTEST_S, or SHARE of the search's work where that is more.

    say: told what is being timed. What must be timed (one way for each batch size) is timed whatever the clock says.
    """

    def __init__(
        self, say: Callable[[str], None] = lambda text: None, now: Callable[[], float] = time.monotonic
    ) -> None:
        self.say, self.now = say, now
        self.started, self.work_s = now(), 0.0
        """work_s: seconds of the search by the clock, as far as they are known."""

    def allows(self, seconds: float = 0.0) -> bool:
        """Say whether something that takes so long may be timed still."""
        return self.now() - self.started + seconds <= max(SHORTEST_S, SHARE * self.work_s)
