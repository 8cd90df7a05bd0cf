"""Recorded steps: a stand-in on the CPU runs the step again on the recording's own tensors; a capture itself needs a GPU."""

from __future__ import annotations

import pytest
import torch

from tests.trainings import flat, trial
from tune_lb.data.device import on_device
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.swa import SWA
from tune_lb.training import compiled_step, cuda_graph
from tune_lb.training.cuda_graph import MOST, WARM_UP, Recordings, are_wanted
from tune_lb.training.gradient import Batch
from tune_lb.training.training import Training

RATE = 0.5


def batch(number, size=3, **more):
    value = torch.full((size,), float(number))
    return Batch(value, value, torch.tensor(number), {}, more.pop("values", {"lr": torch.tensor(1.0)}), {}, **more)


class Walk:
    """w <- w - rate lr mean(x); the buffer counts the steps. Whoever replays runs it again."""

    def __init__(self, *, wrong=False, fails=False):
        self.weight, self.wrong, self.fails, self.recorded, self.eager = torch.zeros(()), wrong, fails, 0, 0
        self.recordings = Recordings(self.step, lambda: [self.weight], self.record)

    def step(self, buffers, given):
        self.eager += 1
        self.weight.sub_(RATE * given.values["lr"] * given.inputs.mean())
        return self.weight.square(), {"count": buffers["count"] + 1}

    def record(self, once):
        if self.fails:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        self.recorded += 1

        def replay():
            self.eager -= 1
            once()
            if self.wrong:
                self.weight.add_(1.0)

        # captured, not run
        before = self.weight.clone()
        once()
        self.weight.copy_(before)
        self.eager -= 1
        return replay


def walked(walk, batches):
    buffers, losses = {"count": torch.tensor(0)}, []
    for each in batches:
        loss, buffers = walk.recordings(buffers, each)
        losses.append(loss)
    return float(walk.weight), [float(loss) for loss in losses], int(buffers["count"])


def expected(numbers, rates):
    weight, losses = 0.0, []
    for number, rate in zip(numbers, rates, strict=True):
        weight -= RATE * rate * number
        losses.append(weight**2)
    return weight, pytest.approx(losses), len(losses)


def test_replayed_steps_are_those_of_the_step_itself():
    walk, numbers = Walk(), range(1, 11)
    assert walked(walk, [batch(n) for n in numbers]) == expected(numbers, [1.0] * 10)
    # the step itself runs while it warms up, and once beside its first replay
    assert (walk.recorded, walk.eager) == (1, WARM_UP + 1)


def test_another_training_of_the_same_program_brings_its_own_values_and_buffers():
    walk, numbers = Walk(), range(1, 11)
    rates = [1.0] * 5 + [0.25] * 5
    values = {rate: {"lr": torch.tensor(rate)} for rate in rates}
    batches = [batch(n, values=values[rate]) for n, rate in zip(numbers, rates, strict=True)]
    assert walked(walk, batches) == expected(numbers, rates)
    _, buffers = walk.recordings({"count": torch.tensor(100)}, batch(0))
    assert int(buffers["count"]) == 101


def test_steps_of_other_shapes_or_of_remedies_that_are_due_have_recordings_of_their_own():
    walk, numbers = Walk(), list(range(1, 21))
    batches = [batch(n, size=2 + n % 2, due={"sam": n % 4 == 0}) for n in numbers]
    assert walked(walk, batches) == expected(numbers, [1.0] * 20)
    assert walk.recorded == 3
    many = [batch(n, size=size) for size in range(1, MOST + 3) for n in range(5)]
    walked(walk, many)
    assert walk.recorded == MOST


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("fails", "RuntimeError: operation not permitted when stream is capturing"),
        ("wrong", "its replay does something else than the step itself"),
    ],
)
def test_a_step_that_cannot_be_recorded_stays_as_it_is_with_one_warning(fault, said):
    walk, numbers = Walk(**{fault: True}), range(1, 11)
    with pytest.warns(RuntimeWarning, match=f"^steps are made without CUDA graphs: {said}$") as seen:
        assert walked(walk, [batch(n) for n in numbers]) == expected(numbers, [1.0] * 10)
    assert len(seen) == 1
    assert walk.eager == 10


def test_a_network_that_draws_is_not_recorded():
    walk = Walk()
    with pytest.warns(RuntimeWarning, match="the network draws"):
        walked(walk, [batch(n, is_seeded=True) for n in range(5)])
    assert walk.recorded == 0


def test_graphs_are_for_gpus_and_can_be_switched_off(monkeypatch):
    assert are_wanted(torch.device("cuda"))
    assert not are_wanted(torch.device("cpu"))
    monkeypatch.setenv("TUNE_LB_CUDA_GRAPHS", "0")
    assert not are_wanted(torch.device("cuda"))


@pytest.mark.parametrize("execution", ["compiled_alone", "compiled_together"])
def test_trainings_that_share_a_program_are_the_same_with_recordings_and_without(execution, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda step, **options: step)
    monkeypatch.setattr(cuda_graph, "recorded", lambda once: replays.append(once) or once)
    replays, found = [], {}
    for wanted in (False, True):
        monkeypatch.setattr(compiled_step, "are_wanted", lambda device, wanted=wanted: wanted)
        monkeypatch.setattr(compiled_step, "_programs", {})
        members = []
        for rate in (0.05, 0.1):
            of = trial(SAM(rho=rate), GhostBatchNorm(ghost_batch_size=4), SWA(start=0.25, every=0.5), lr=rate)
            running = Training(of, (0, 1), on_device(of.data.load(0), "cpu"), execution=execution, dtype=torch.float64)
            while not running.done:
                running.advance()
            members += [flat(member.params | member.buffers) for member in running.trained()]
        found[wanted] = torch.stack(members)
    torch.testing.assert_close(found[True], found[False], rtol=0, atol=0)
    assert (
        len(replays) == 2
    )  # of steps after which the weights are averaged, and of the others; one program serves both rates
