"""A search that may train some members alone: those that failed before, and no others."""

from __future__ import annotations

from tests.search.test_planner import ARMS, FACTS, compared, score
from tune_lb.search.planner import Search


def test_no_other_members_are_handed_out() -> None:
    whole = Search(compared(*ARMS), FACTS)
    ready = {arm: whole.ready(arm) for arm in whole.arms}
    wanted = {ready["small"][1], ready["noisy"][0], ready["noisy"][4], ("of another space", 3)}
    state = Search(compared(*ARMS), FACTS)
    state.only = wanted
    given = []
    while (job := state.take()) is not None:
        given += [member.key for member in job.members]
    assert set(given) == wanted - {("of another space", 3)}
    assert len(given) == 3
    assert not state.finished, "they run"
    state.observe({key: score("x", key) for key in given})
    assert state.finished
    assert sum(arm.done for arm in state.progress()) == 3
