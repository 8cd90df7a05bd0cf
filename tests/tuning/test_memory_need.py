"""Memory that does not suffice is said before training: what is needed, and what there is."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import pytest
from torch import nn

from tests.trainings import Blobs, parts_of, trial
from tune_lb.errors import RequestError
from tune_lb.remedies import SAM
from tune_lb.results.storage import Store
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.tuning import preparation
from tune_lb.tuning.cost_estimate import typical_trials
from tune_lb.tuning.memory_need import memory_problems
from tune_lb.tuning.request import Request
from tune_lb.tuning.resources import available_bytes

WEIGHTS = 4 * (5 * 100 + 100 * 3)
EXAMPLE = 4 * (5 + 100 + 3)
"""Input, hidden layer and log probabilities in float32; targets are those of the data."""


@dataclass(frozen=True)
class Network:
    def __call__(self, input_shape, num_classes):
        return nn.Sequential(nn.Linear(5, 100, bias=False), nn.Tanh(), nn.Linear(100, num_classes, bias=False))


def space(*arms, **settings):
    given = {"question": "?", "data": Blobs(num_train=2000), "model": Network(), "crossings": None, "lr": 0.1}
    return Space(arms=arms or (Arm("a", batch_size=1000),), derived=False, placebo=False, **(given | settings))


def problems(of, available, processes=1):
    designs = checked_designs(of)
    parts = parts_of(trial(data=of.data))
    every = {design.name: parts for design in designs}
    asked = {"processes": processes, "microbatch": of.microbatch}
    return memory_problems(designs, typical_trials(of, designs), every, available=available, **asked)


NEED = 4 * WEIGHTS + 1000 * EXAMPLE


def test_what_is_needed_is_what_the_gradient_keeps():
    assert problems(space(), NEED) == problems(space(), None) == []
    (line,) = problems(space(), NEED - 1)
    assert line.startswith(
        "arm 'a': an update of 1,000 examples takes at least 445 kB of memory, of which 445 kB are left: "
    )
    assert problems(space(), 2 * NEED, processes=2) == []
    (line,) = problems(space(), 2 * NEED - 1, processes=2)
    assert (
        "in each of 2 processes, of which 890 kB are left: give --max-concurrent 1, microbatch, a smaller batch" in line
    )
    assert problems(space(microbatch=500), NEED - 1) == []
    # which takes the gradients of pieces, or may
    assert problems(space(Arm("a", SAM(rho=0.1), batch_size=1000)), 1) == []


def test_it_is_said_before_anything_is_trained(monkeypatch, tmp_path):
    monkeypatch.setattr(preparation, "available_bytes", lambda: 300_000)
    monkeypatch.setattr(preparation, "choose_execution", lambda *args, **kwargs: pytest.fail("it trains"))
    of = space(Arm("small", batch_size=10), Arm("large", batch_size=2000))
    request = Request(of, "r", Store(tmp_path))
    with pytest.raises(RequestError) as raised:
        preparation.prepare(dataclasses.replace(request, max_concurrent=1))
    (line,) = raised.value.problems
    assert "arm 'large': an update of 2,000 examples takes at least 877 kB of memory" in line
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    monkeypatch.undo()
    monkeypatch.setattr(preparation, "available_bytes", lambda: 300_000)
    dry = preparation.prepare(dataclasses.replace(request, max_concurrent=1), write=False)
    assert dry.estimate.notes[0] == f"too large for this machine, where the search is refused: {line}"


def test_the_memory_that_there_is(tmp_path):
    meminfo, cgroups = tmp_path / "meminfo", tmp_path / "cgroup"
    cgroups.mkdir()
    assert available_bytes(meminfo, cgroups) is None
    meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    5000 kB\n")
    assert available_bytes(meminfo, cgroups) == 5000 * 1024
    (cgroups / "memory.max").write_text("max\n")
    (cgroups / "memory.current").write_text("4000000\n")
    assert available_bytes(meminfo, cgroups) == 5000 * 1024
    (cgroups / "memory.max").write_text("5000000\n")
    assert available_bytes(meminfo, cgroups) == 1_000_000
    (cgroups / "memory.stat").write_text("anon 3000000\nfile 500000\n")
    assert available_bytes(meminfo, cgroups) == 1_500_000
