"""How many members a job holds."""

from __future__ import annotations

import pytest

from tests.search.test_planner import compared
from tune_lb.search.job import Member
from tune_lb.search.job_size import JobSize
from tune_lb.space.checks import checked_designs

TRIAL = checked_designs(compared())[0].template
MEMBERS = [Member(TRIAL, f"trial{number}", seed=0, block=number) for number in range(12)]


def weighed(arm, stage, member):
    """The first four blocks take five times as long as a mean member, the others a tenth."""
    return 5.0 if member.block < 4 else 0.1


@pytest.mark.parametrize(
    ("first", "left", "held"),
    [
        # two workers, two jobs each: a fourth of 40 members is 10, of which two of the first weigh all
        (0, 40, 2),
        # a fourth of 12 is 3: one alone weighs more
        (0, 12, 1),
        # 5 + 2 * 0.1 fit into 6, the other first ones being trained
        (3, 24, 5),
        # light ones: their number counts
        (4, 12, 3),
    ],
)
def test_a_job_holds_no_more_work_than_the_share_of_a_worker(first, left, held):
    size = JobSize(most=5, workers=2, weigh=weighed)
    most, share = size("arm", left, 100)
    assert len(size.job("arm", "confirm", MEMBERS[first:], most, share).members) == held


def test_without_weights_members_are_counted():
    size = JobSize(most=64, of_arms={"slow": 2}, workers=2)
    assert size("arm", left=40, ready=100) == (10, 10)
    assert size("slow", left=40, ready=100) == (2, 10)
    assert size("arm", left=40, ready=5) == (3, 3)
    assert len(size.job("arm", "confirm", MEMBERS, 10, 10).members) == 10
