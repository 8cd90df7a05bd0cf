"""The printed code trains as tune_lb does: same initial weights and data order, same losses, update by update."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tune_lb.budgets import Epochs, Updates
from tune_lb.data.device import on_device
from tune_lb.data.digits import Digits
from tune_lb.losses import LabelSmoothedCrossEntropy, cross_entropy
from tune_lb.models.initialization import Initialization
from tune_lb.models.mlp import MLP
from tune_lb.optimizers.elementwise import SGD, AdaGrad, Adam, AdamW, RMSprop
from tune_lb.optimizers.lamb import LAMB
from tune_lb.optimizers.lars import LARS
from tune_lb.recipe.recipe import recipe
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.remedies.scaling import Scaling
from tune_lb.remedies.warmup import Warmup
from tune_lb.schedules import Constant, Cosine, Step, Trapezoid
from tune_lb.streams import generator, seed_of
from tune_lb.training.phase import Phase
from tune_lb.training.remedy import Remedy
from tune_lb.training.training import Training
from tune_lb.training.trial import Trial

DATA = Digits(num_train=160, num_validation=100)
SEED = 3
EXACT: dict[str, tuple[Remedy, ...]] = {
    "plain": (),
    "sam": (SAM(rho=0.2),),
    "m_sam": (SAM(rho=0.2, m=20),),
    "ghost": (GhostBatchNorm(ghost_batch_size=10),),
    "warmup": (Warmup(epochs=1.5),),
    "all": (SAM(rho=0.1), GhostBatchNorm(ghost_batch_size=20), Warmup(epochs=1.0)),
}


def trial(*remedies: Remedy, **changes: Any) -> Trial:
    fields: dict[str, Any] = {
        "arm": "tried",
        "data": DATA,
        "model": MLP(hidden=(16, 16)),
        "optimizer": SGD(momentum=0.9),
        "schedule": Cosine(),
        "budget": Epochs(4),
        "loss": cross_entropy,
        "batch_size": 40,
        "lr": 0.3,
        "remedies": remedies,
    }
    return Trial(**(fields | changes))


def losses_of_training(chosen: Trial) -> list[float]:
    """Loss of every update of the member, through tune_lb."""
    training = Training(chosen, [SEED], on_device(DATA.load(0), "cpu"))
    found = []
    while not training.done:
        found += [row.value for row in training.advance(1e-9) if row.name == "running_train_loss"]
    return found


def losses_of_recipe(chosen: Trial) -> list[float]:
    """The same through the printed code, given the member's initial weights and data order."""
    data = DATA.load(0)
    namespace: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(recipe(chosen, data, ["tried"]), "recipe.py", "exec"), namespace)
    torch.manual_seed(seed_of(chosen.draws, SEED, "initialization"))
    model = namespace["build_model"]()
    inputs = (torch.tensor(data.train.inputs).float() - data.offset) / data.scale
    num_updates = chosen.plan(160).num_updates
    streams = (generator(chosen.draws, SEED, "order", epoch) for epoch in range(num_updates))
    order = torch.cat([torch.randperm(160, generator=stream) for stream in streams])
    index = list(order[: num_updates * chosen.batch_size].split(chosen.batch_size))
    found: list[float] = namespace["train"](model, inputs, torch.tensor(data.train.targets), index)
    return found


@pytest.mark.parametrize("name", EXACT)
def test_recipe_repeats_training(name: str) -> None:
    chosen = trial(*EXACT[name])
    expected = losses_of_training(chosen)
    assert len(expected) == 16
    np.testing.assert_allclose(losses_of_recipe(chosen), expected, atol=2e-6, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": Adam(beta1=0.8, weight_decay=1e-3), "lr": 1e-2},
        {"optimizer": SGD(momentum=0.5, nesterov=True, weight_decay=1e-2), "schedule": Constant()},
        {"budget": Updates(7), "schedule": Cosine(final=0.1), "batch_size": 48},
        {"model": MLP(hidden=(8,), batch_norm=False), "lr": None, "eta_over_b": 1e-3},
        {"optimizer": LARS(trust_coefficient=0.02, weight_decay=1e-3), "lr": 2.0, "schedule": Step()},
        {"optimizer": LAMB(weight_decay=0.1), "lr": 1e-2, "schedule": Trapezoid()},
        {"optimizer": AdamW(), "lr": 1e-2, "loss": LabelSmoothedCrossEntropy(0.2)},
        {"optimizer": AdaGrad(), "lr": 1e-2, "initialization": Initialization("he_normal", 0.5)},
        {"optimizer": RMSprop(momentum=0.5), "lr": 1e-3, "remedies": (Scaling(base_batch_size=20, power=0.5),)},
    ],
)
def test_recipe_repeats_training_with_other_settings(changes: dict[str, Any]) -> None:
    chosen = trial(**changes)
    np.testing.assert_allclose(losses_of_recipe(chosen), losses_of_training(chosen), atol=2e-6, rtol=0)


def test_recipe_differs_without_its_remedy() -> None:
    """The comparison above can fail."""
    with_sam, without = losses_of_recipe(trial(SAM(rho=0.2))), losses_of_recipe(trial())
    assert max(abs(a - b) for a, b in zip(with_sam, without, strict=True)) > 1e-3


def test_recipe_adds_noise_of_the_variance_said() -> None:
    alpha = 1e-4
    code = recipe(
        trial(GradientNoise(alpha=alpha, gamma=0.0), optimizer=SGD(momentum=0.0), budget=Updates(1)), DATA.load(0), []
    )
    namespace: dict[str, Any] = {"__name__": "recipe"}
    exec(compile(code, "recipe.py", "exec"), namespace)
    namespace["backward"] = lambda model, x, y: (
        sum(p.sum() * 0 for p in model.parameters()).backward() or torch.tensor(0.0)
    )
    model = torch.nn.Linear(100, 100)
    before = model.weight.detach().clone()
    namespace["train"](model, torch.zeros(40, 100), torch.zeros(40, dtype=torch.long))
    drawn = (before - model.weight.detach()) / 0.3
    # 10,000 normal numbers: the standard deviation is known to 0.7 %, six of which are 4.2 %
    assert float(drawn.std()) == pytest.approx(alpha**0.5, rel=0.042)


@pytest.mark.slow
def test_recipe_runs_as_a_file(tmp_path: Path) -> None:
    remedies = (*EXACT["all"], GradientNoise(alpha=1e-6))
    file = tmp_path / "recipe.py"
    file.write_text(recipe(trial(*remedies, budget=Epochs(1)), DATA.load(0), ["one epoch"]))
    done = subprocess.run(
        [sys.executable, "-W", "error", str(file)],
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2]), "OMP_NUM_THREADS": "1"},
    )
    assert done.stderr == ""
    assert "test error" in done.stdout


def test_recipe_names_a_remedy_that_it_cannot_write_out() -> None:
    from tests.cli.gradient_sign import GradientSign

    code = recipe(trial(GradientSign(share=0.5)), DATA.load(0), [])
    assert "NOT WRITTEN OUT: GradientSign(share=0.5)" in code


def test_forms_of_a_known_remedy_that_are_not_written_out_are_said():
    plain, cubic = (recipe(trial(SAM(rho=0.1, p=p)), DATA.load(0), ["facts"]) for p in (None, 3.0))
    assert "SAM_RHO = 0.1" in plain
    assert "NOT WRITTEN OUT" not in plain
    assert "SAM_P" not in plain
    assert "# NOT WRITTEN OUT: SAM(rho=0.1, m=None, p=3.0" in cubic
    assert "SAM_RHO" not in cubic


def test_phases_before_the_last_are_said():
    code = recipe(trial(phases=(Phase(epochs=1.0, batch_size=4),)), DATA.load(0), ["facts"])
    assert "# NOT WRITTEN OUT: start from the weights after Phase(epochs=1.0, batch_size=4" in code
    assert "phases=(Phase(epochs=1.0, batch_size=4" in code
