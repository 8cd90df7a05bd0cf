"""A search that is asked for more configurations later: those that are there are the first of them."""

from __future__ import annotations

import pytest

from tests.search.test_planner import ARMS, BOTH, Run, compared, selections


@pytest.mark.parametrize("sampler", ["sobol", "random"])
def test_more_configurations_are_searched_and_nothing_is_trained_again(sampler):
    first = Run(compared(*ARMS, BOTH, sampler=sampler))
    of = compared(*ARMS, BOTH, num_samples=11, sampler=sampler)
    more, whole = Run(of, known=first.scores, order=5), Run(of)
    assert not set(more.members) & set(first.scores)
    assert selections(more) == selections(whole), "as if so many had been asked for at first"
    assert set(whole.members) <= set(more.members) | set(first.scores)
    searched = [job for job in more.jobs if job.stage == "search"]
    numbers = {arm: sum(len(job.members) for job in searched if job.arm == arm) for arm in ("small", "noisy")}
    assert numbers == {"small": 6, "noisy": 6}
    assert not Run(of, known=more.scores | first.scores).jobs


def test_a_learning_sampler_goes_on_from_what_it_proposed():
    first = Run(compared(sampler="tpe"))
    of = compared(sampler="tpe", num_samples=8)
    more = Run(of, known=first.scores, proposed=first.search.proposed)
    assert not set(more.members) & set(first.scores)
    assert len([m for m in more.of("small", "search")]) == 3
