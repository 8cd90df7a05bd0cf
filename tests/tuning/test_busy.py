"""What is said while workers wait for what others use."""

from __future__ import annotations

from tune_lb.tuning.busy import AGAIN_S, CHANGED_S, START_S, Busy, waiting_line
from tune_lb.tuning.resources import Resources

FREE, THERE = {"CPU": 6.0, "GPU": 0.5, "memory": 1e9}, {"CPU": 64.0, "GPU": 8.0}


def test_the_line_says_how_many_for_what_and_what_there_is() -> None:
    assert waiting_line(2, 6, Resources(4, 1, 8), FREE, THERE) == (
        "6 worker(s) wait for 4 CPU and 1 GPU each, 2 work: of the cluster 6 of 64 CPUs and 0.5 of 8 GPUs are free, the rest is "
        "used by others or by this search; they start when something is given back, or nodes are added"
    )
    assert waiting_line(0, 1, Resources(1, 0, 1), {}, {"CPU": 2.0}).startswith(
        "1 worker(s) wait for 1 CPU each, none works yet: of the cluster 0 of 2 CPUs are free"
    )


def test_it_is_said_after_a_while_and_when_it_changes_and_now_and_then() -> None:
    now = 0.0
    busy = Busy(Resources(1, 0, 4), lambda: (FREE, THERE), lambda: now)

    def said(at: float, running: int, waiting: int) -> bool:
        nonlocal now
        now = at
        return busy.line(running, waiting) is not None

    assert not said(1, 0, 4), "workers take a while to start"
    assert not said(1 + START_S - 1, 0, 4)
    assert said(1 + START_S, 0, 4)
    assert not said(1 + START_S + 1, 1, 3)
    assert said(1 + START_S + CHANGED_S, 1, 3)
    assert not said(START_S + CHANGED_S + AGAIN_S, 1, 3)
    assert said(1 + START_S + CHANGED_S + AGAIN_S, 1, 3)
    assert not said(500, 4, 0)
    assert not said(501, 3, 1), "one that ended and is followed by another does not wait"
