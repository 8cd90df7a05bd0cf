"""One law over the zoo: a member is the same alone, among others, after any history, in another process and resumed."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.networks import ZOO, Body
from tests.trainings import Blobs, flat, training, trial
from tune_lb.data.device import on_device
from tune_lb.remedies.sam import SAM
from tune_lb.training import habits
from tune_lb.training.network_check import check_network
from tune_lb.training.trial import Trial

TRAINED = [name for name, exhibit in ZOO.items() if exhibit.way != "refused"]
SEED = 3


def execution(name: str) -> str:
    return "plain" if ZOO[name].way == "plain" else "alone"


def of(name: str) -> Trial:
    return trial(model=ZOO[name].model)


def weights(name: str, seeds: tuple[int, ...] = (SEED,), way: str | None = None) -> torch.Tensor:
    """Return everything that is left of the member of SEED as one vector."""
    running = training(of(name), seeds, way or execution(name))
    while not running.done:
        running.advance()
    (member,) = [member for member in running.trained() if member.seed == SEED]
    return flat(member.params | member.buffers)


@pytest.fixture(autouse=True)
def nothing_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(habits, "_known", {})


@pytest.mark.parametrize("name", TRAINED)
def test_a_member_alone_is_the_same_among_others_and_after_any_history(name: str) -> None:
    alone = weights(name)
    torch.rand(5), np.random.random(3), random.random()
    assert torch.equal(weights(name, (0, SEED, 8)), alone)
    # what was learnt of the network in the first training is known in the second
    assert torch.equal(weights(name), alone)


@pytest.mark.parametrize("name", TRAINED)
def test_a_member_resumed_is_the_same(name: str) -> None:
    running = training(of(name), (SEED,), execution(name))
    running.advance()
    stored = running.checkpoint()
    torch.rand(5), np.random.random(3), random.random()
    habits._known.clear()
    other = training(of(name), (SEED,), execution(name))
    other.restore(stored)
    while not other.done:
        other.advance()
    (member,) = other.trained()
    assert torch.equal(flat(member.params | member.buffers), weights(name))


STACKED = (
    "plain layers",
    "dropout, one layer used twice",
    "alpha dropout",
    "a buffer assigned",
    "a buffer written into",
    "a shared layer",
    "a frozen parameter",
    "weight norm",
)
"""What torch.func.vmap takes; of the others some cannot be members of a stack, and say so."""


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", [name for name in TRAINED if ZOO[name].way == "fast"])
def test_members_together_are_those_alone_or_cannot_be(name: str) -> None:
    try:
        together = weights(name, (0, SEED), "together")
    except RuntimeError:
        together = None
    assert together is not None or name not in STACKED
    if together is not None:
        assert not ZOO[name].draws
        torch.testing.assert_close(together, weights(name), rtol=1e-9, atol=1e-12)


def test_a_member_is_the_same_in_another_process() -> None:
    code = "import json, tests.training.test_any_network as t; print(json.dumps({n: t.weights(n).tolist() for n in t.TRAINED}))"
    setup = "import torch; torch.set_num_threads(1); torch.rand(3);"
    done = subprocess.run(
        [sys.executable, "-c", setup + code], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    )
    there = json.loads(done.stdout)
    for name in TRAINED:
        habits._known.clear()
        assert torch.equal(torch.tensor(there[name], dtype=torch.float64), weights(name)), name


def reference(name: str, seed: int = SEED) -> torch.Tensor:
    """Train as an ordinary loop does it, on the same batches: torch's own optimiser on the network's own parameters."""
    running = training(of(name), (seed,), "plain")
    network = running.networks.of_seed(seed).train()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9, weight_decay=1e-3)
    for step in range(running.plan.num_updates):
        batch = running.batches.batch(seed, step)
        optimizer.param_groups[0]["lr"] = running.rate(running.plan.position(step))
        optimizer.zero_grad()
        running.trial.loss(network(batch.inputs.clone()), batch.targets).mean().backward()
        optimizer.step()
    return flat(dict(network.named_parameters()) | {n: b for n, b in network.named_buffers() if n != "python_state"})


@pytest.mark.parametrize("name", [name for name in TRAINED if not ZOO[name].draws and "dropout" not in name])
def test_a_member_is_that_of_an_ordinary_loop(name: str) -> None:
    if name == "noise that comes late":
        pytest.skip("an ordinary loop draws other numbers")
    running = training(of(name), (SEED,), execution(name))
    while not running.done:
        running.advance()
    (member,) = running.trained()
    tensors = member.params | {n: b for n, b in member.buffers.items() if n != "python_state"}
    torch.testing.assert_close(flat(tensors), reference(name), rtol=1e-9, atol=1e-12)


def test_the_zoo_is_large_enough() -> None:
    assert len(ZOO) >= 25
    assert {exhibit.way for exhibit in ZOO.values()} == {"fast", "plain", "refused"}


def test_the_check_and_the_training_agree_on_who_draws() -> None:
    parts = on_device(Blobs().load(0), "cpu")
    for name in TRAINED:
        habits._known.clear()
        running = training(of(name), (SEED,), execution(name))
        while not running.done:
            running.advance()
        late = name == "noise that comes late"
        assert running.habits.draws == (bool(check_network(of(name), parts).draws) or late), name
        assert running.habits.writes == (name == "inputs written into")


@pytest.mark.parametrize("name", ["dropout, one layer used twice", "functional dropout", "numbers of NumPy"])
def test_both_passes_of_sam_see_the_same_random_numbers(name: str) -> None:
    plain, ascended = (
        training(trial(*remedies, model=ZOO[name].model), (SEED,)) for remedies in ((), (SAM(rho=1e-7),))
    )
    # what the network does is noticed in the first update
    gradients = [[running.advance(1e-9), running.gradients()[SEED]][1] for running in (plain, ascended)]
    norm = flat(gradients[0]).norm()
    assert (flat(gradients[0]) - flat(gradients[1])).norm() < 1e-5 * norm


def test_a_network_that_writes_into_its_inputs_is_given_copies() -> None:
    clean = training(trial(SAM(rho=0.3), model=Clean), (SEED,))
    writing = training(trial(SAM(rho=0.3), model=ZOO["inputs written into"].model), (SEED,))
    for running in (clean, writing):
        while not running.done:
            running.advance()
    (one,), (other,) = clean.trained(), writing.trained()
    assert torch.equal(flat(one.params), flat(other.params))


class Clean(Body):
    def forward(self, x):
        return super().forward(x.clamp(-0.5, 0.5).mul(3.0))
