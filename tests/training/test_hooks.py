"""Every hook of a remedy, by a small remedy with a known effect."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F

from tests.training.hooked import Averaged, Hooked
from tests.training.ordinary import WAYS, assert_same, ordinary
from tests.trainings import flat, history, training, trial
from tune_lb.budgets import Epochs, Updates
from tune_lb.optimizers.elementwise import SGD
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant


@dataclass(frozen=True)
class Recorded(Hooked):
    """Records the batches that it sees."""

    def batch(self, inner):
        def recorded(batch):
            RECORDS.append(batch)
            return inner(batch)

        return recorded


RECORDS: list = []


def test_every_epoch_covers_the_train_set_once_in_full_batches():
    RECORDS.clear()
    running = training(trial(Recorded(), batch_size=7, budget=Epochs(3.0)))
    history(running)
    assert [len(batch.targets) for batch in RECORDS] == [7] * 10
    inputs = torch.cat([batch.inputs for batch in RECORDS])
    wanted = running.parts.train.standardized().double().sort(0).values
    epochs = [inputs[i : i + 24] for i in (0, 24)]
    for seen in epochs:
        assert torch.equal(seen.sort(0).values, wanted)
    assert not torch.equal(*epochs)


def test_both_passes_of_sam_see_the_same_changed_batch():
    RECORDS.clear()
    history(training(trial(Recorded(), SAM(rho=0.1))))
    assert [int(batch.step) for batch in RECORDS] == list(range(6))


@dataclass(frozen=True)
class Flipped(Hooked):
    """Changes the sign of the inputs."""

    def batch(self, inner):
        return lambda batch: inner(batch._replace(inputs=-batch.inputs))


@dataclass(frozen=True)
class Smoothed(Hooked):
    """Label smoothing (Szegedy et al., 2016): a share of the target goes to all classes alike."""

    def loss(self, inner):
        share = self.size
        return lambda outputs, targets: (
            (1 - share) * inner(outputs, targets) - share * F.log_softmax(outputs, -1).mean(-1)
        )


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    ("remedy", "loss", "change"),
    [
        (Flipped(), F.cross_entropy, lambda inputs: -inputs),
        (Smoothed(0.2), lambda o, t: F.cross_entropy(o, t, label_smoothing=0.2), lambda inputs: inputs),
    ],
    ids=["batch", "loss"],
)
def test_the_batch_and_the_loss_can_be_wrapped(way, remedy, loss, change):
    of = trial(remedy, optimizer=SGD(momentum=0.9), schedule=Constant())
    running = training(of, (2, 3), way)
    history(running)
    for member in running.trained():
        module, _ = ordinary(of, member.seed, 6, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9), loss, change)
        assert_same(member, module)


@dataclass(frozen=True)
class Doubling(Hooked):
    """Doubles the batch after the first epoch."""

    def batch_size(self, inner, num_train):
        return lambda examples: inner(examples) * (2 if examples >= num_train else 1)


def test_the_batch_size_can_be_wrapped():
    running = training(trial(Doubling(), budget=Epochs(4.0)))
    assert running.plan.boundaries == (0, 8, 16, 24, 40, 56, 72, 88)
    history(running)
    assert (running.step, running.epoch, running.done) == (7, 88 / 24, True)


@dataclass(frozen=True)
class Twice(Hooked):
    """Takes two inner steps on every batch."""

    def step(self, inner):
        def twice(params, buffers, batch, rate):
            _, buffers = inner(params, buffers, batch, rate)
            return inner(params, buffers, batch, rate)

        return twice


@pytest.mark.parametrize("way", WAYS)
def test_the_step_can_be_wrapped(way):
    # with the whole train set as the batch, two inner steps in 3 updates are 6 updates
    whole = {"batch_size": 24, "schedule": Constant()}
    twice = training(trial(Twice(), **whole, budget=Updates(3)), (0, 1), way)
    once = training(trial(**whole, budget=Updates(6)), (0, 1))
    history(twice), history(once)
    for a, b in zip(twice.trained(), once.trained(), strict=True):
        torch.testing.assert_close(flat(a.params), flat(b.params), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(flat(a.buffers), flat(b.buffers), rtol=1e-9, atol=1e-12)


@dataclass(frozen=True)
class Adapted(Hooked):
    """Layer-wise scaling as in LARS (You et al., 2017): the step of a layer is as long as the rate times its weights."""

    def update(self, inner):
        def scaled(params, gradients, rate):
            def length(value):
                return value.flatten(1).norm(dim=1).view(-1, *[1] * (value.dim() - 1))

            scaled = {k: g * length(params[k]) / length(g).clamp_min(1e-300) for k, g in gradients.items()}
            inner(params, scaled, rate)

        return scaled


@pytest.mark.parametrize("way", WAYS)
def test_the_update_can_be_wrapped_and_norms_are_each_members_own(way):
    running = training(trial(Adapted(), optimizer=SGD(momentum=0.0), schedule=Constant(), lr=0.03), (0, 1), way)
    before = list(running.trained())
    running.advance(1e-9)
    for start, end in zip(before, running.trained(), strict=True):
        for name, value in start.params.items():
            assert (end.params[name] - value).norm().item() == pytest.approx(0.03 * value.norm().item(), rel=1e-9)


@pytest.mark.parametrize("way", WAYS)
def test_state_is_each_members_own(way):
    seeds = (0, 5)
    plain, averaged = training(trial(), seeds), training(trial(Averaged()), seeds, way)
    expected = {member.seed: flat(member.params) for member in plain.trained()}
    largest = dict.fromkeys(seeds, 0.0)
    while not plain.done:
        plain.advance(1e-9)
        for member in plain.trained():
            expected[member.seed] = 0.7 * expected[member.seed] + 0.3 * flat(member.params)
            largest[member.seed] = max(largest[member.seed], flat(member.params).norm().item())
    history(averaged)
    for member in averaged.trained():
        torch.testing.assert_close(flat(member.params), expected[member.seed], rtol=1e-9, atol=1e-12)
    states = [group.states["hooked"]["largest"] for group in averaged.groups]
    assert torch.stack(states).flatten().tolist() == pytest.approx(list(largest.values()), rel=1e-9)
