"""Timing the ways to train takes a small share of the work, and says what it does."""

from __future__ import annotations

import pytest

from tests.space.test_space import space
from tests.trainings import Blobs
from tune_lb.cli.output import Output
from tune_lb.cli.progress import Steps
from tune_lb.data.device import on_device
from tune_lb.space.checks import checked_designs
from tune_lb.tuning import execution_choice
from tune_lb.tuning.cost_estimate import typical_trials
from tune_lb.tuning.execution_choice import choose_execution
from tune_lb.tuning.network_findings import network_findings
from tune_lb.tuning.timing_clock import TimingClock


class Time:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_there_are_fifteen_seconds_or_three_hundredths_of_the_work() -> None:
    now = Time()
    clock = TimingClock(now=now)
    now.seconds += 10
    assert clock.allows(5.0)
    assert not clock.allows(5.1)
    clock.work_s = 1000.0
    assert clock.allows(20.0)
    assert not clock.allows(20.1)
    now.seconds += 20.1
    assert not clock.allows()


@pytest.mark.parametrize("is_over", [False, True])
def test_when_the_time_is_over_only_what_must_be_timed_is(is_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    of = space()
    designs = checked_designs(of)
    trials = typical_trials(of, designs)
    parts = dict.fromkeys(trials, on_device(Blobs().load(0), "cpu"))
    timed, said, now = [], [], Time()

    def seconds(trial, parts, way, members, microbatch):
        timed.append((trial.arm, way))
        return 1e-3 * trial.evaluations_per_update

    monkeypatch.setattr(execution_choice, "seconds_per_update", seconds)
    monkeypatch.setattr(execution_choice, "seconds_in_stacks", lambda *rest: {})
    clock = TimingClock(said.append, now)
    now.seconds += 16.0 if is_over else 0.0
    found = choose_execution(
        of,
        designs,
        trials,
        parts,
        findings=network_findings(trials, parts),
        members=2,
        updates=dict.fromkeys(trials, 1),
        processes=1,
        clock=clock,
    )
    sizes = list(dict.fromkeys(trial.batch_size for trial in trials.values()))
    assert [line.partition(" (")[0] for line in said] == [f"timing updates of {size} examples" for size in sizes]
    assert (len(timed) == len(sizes)) == is_over
    assert found.seconds["sharp"] == pytest.approx(2e-3), "by its gradients, where it is not timed"
    assert found.seconds.keys() == trials.keys()


def test_steps_are_said_where_it_was_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Time()
    with Steps(Output(False), 10.0, now) as say:
        for seconds, text in ((1, "a"), (12, "b"), (3, "c"), (9, "d")):
            now.seconds += seconds
            say(text)
    assert capsys.readouterr().out.splitlines() == ["b ...", "d ..."]
    monkeypatch.setenv("FORCE_COLOR", "1")
    with Steps(Output(False)) as say:
        say("loading")
    assert "loading ..." in capsys.readouterr().out
