"""The time left is near the truth from the first second on, and does not jump."""

from __future__ import annotations

import heapq
import itertools
import math

import pytest

from tune_lb.tuning.time_left import TimeLeft

START_S = 8.0
# the small batch takes long and comes first on one of two workers; the rest are short
JOBS = [16.0, *[1.5] * 10, 16.0, *[1.5] * 10, *[16.0] * 4, *[1.5] * 80]


def told(jobs: list[float], slowness: float, start_s: float = START_S, each_s: int = 1) -> list[tuple[float, float]]:
    """Return (true, told) seconds left at every second, of jobs of so many estimated seconds that two workers take in turn."""
    free = [start_s] * 2
    runs = []
    for work in jobs:
        begin = heapq.heappop(free)
        runs.append((begin, begin + work * slowness, work))
        heapq.heappush(free, runs[-1][1])
    finish, time_left = max(free), TimeLeft(2, START_S)
    found = []
    for second in range(0, int(finish), each_s):
        # the first jobs are handed out at once and wait for their workers
        running = {f"job {i}": w for i, (b, e, w) in enumerate(runs) if (b if b > start_s else 0) <= second < e}
        left = sum(work for _, end, work in runs if end > second)
        said = time_left(float(second), running, left)
        found.append((finish - second, float("nan") if said is None else said))
    return found


@pytest.mark.parametrize(("slowness", "tolerance"), [(0.6, 1.7), (1.0, 1.1), (1.5, 1.5), (3.0, 3.2)])
def test_it_is_near_the_truth(slowness: float, tolerance: float) -> None:
    found = told(JOBS, slowness)
    for number, (true, said) in enumerate(found[:-10]):
        assert true / tolerance - 1 <= said <= true * tolerance + 1, f"second {number}"
    later = found[len(found) // 2 : -10]
    assert all(true / 1.3 - 1 <= said <= true * 1.3 + 1 for true, said in later)


@pytest.mark.parametrize("slowness", [0.6, 1.0, 1.5, 3.0])
def test_it_does_not_jump(slowness: float) -> None:
    said = [value for _, value in told(JOBS, slowness)]
    # one result moves it by what it says of the pace of the rest, no more
    assert max(abs(after - before) for before, after in itertools.pairwise(said)) < 0.2 * max(said)


def test_the_start_of_workers_is_not_taken_for_their_pace() -> None:
    late = told(JOBS, 1.0, start_s=40.0)
    # the first results are overdue: nothing is said
    assert [second for second, (_, said) in enumerate(late) if math.isnan(said)] == list(range(24, 42))
    assert all(said < 1.4 * true for true, said in late[45 : len(late) // 2])


def test_while_the_first_jobs_run_it_counts_down() -> None:
    said = [value for _, value in told([1000.0, 1000.0], 1.0, each_s=100)]
    assert said == pytest.approx([1008.0 - second for second in range(0, 1008, 100)])


def test_at_the_end_nothing_is_left() -> None:
    assert TimeLeft(2, 8.0)(5.0, {}, 0.0) == 0.0
