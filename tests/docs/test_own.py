"""What the README and docs/own.md show does what they say."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from tests.docs.blocks import ROOT, block_with, own, saved
from tests.trainings import batch, history, same_bits, training, trajectory, trial
from tune_lb import Arm, Space, Watch, measure, over
from tune_lb.cli.asked import asked_space
from tune_lb.data import Digits
from tune_lb.data.device import on_device
from tune_lb.losses import cross_entropy
from tune_lb.models import MLP
from tune_lb.samplers.sampler import Dimensions
from tune_lb.space.checks import checked_designs
from tune_lb.space.loading import load_space
from tune_lb.testing import check_remedy, small_trial
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.training import Training

# The README, and docs/own.md

SPACE = """
from smoothing import Smoothing

from tune_lb import Arm, Space, Watch, measure, over
from tune_lb.data import Digits
from tune_lb.models import MLP

SPACE = Space(
    question="Does label smoothing help?",
    data=Digits(num_train=200, num_validation=200),
    model=MLP(hidden=(16,)),
    eta_over_b=1e-3,
    batch_size=100,
    arms=(Arm("plain"), ARM),
    reference="plain",
)
"""


@pytest.mark.parametrize("document", ["README.md", "docs/own.md"])
def test_the_remedy_shown_is_one_file_and_one_entry(document, folder):
    (folder / "smoothing.py").write_text(block_with(ROOT / document, "class Smoothing").text)
    arm = re.search(r"`(Arm\(\"smoothing\".*?)`", (ROOT / document).read_text())
    (folder / "does_it_help.py").write_text(SPACE.replace("ARM", arm[1]))
    space = load_space(str(folder / "does_it_help.py")).space
    design = next(design for design in checked_designs(space) if design.name == "smoothing")
    assert design.dimensions.keys() == {"smoothing.epsilon"}
    off, on = (design.template.resolved({"smoothing.epsilon": epsilon}).remedies for epsilon in (0.0, 0.2))
    plain = trajectory(trial())
    assert same_bits(trajectory(trial(*off)), plain)
    assert not same_bits(trajectory(trial(*on)), plain)
    assert trial(*on).columns()["smoothing.epsilon"] == 0.2


@pytest.mark.parametrize("document", ["README.md", "docs/own.md"])
def test_the_remedy_shown_is_its_formula(document, folder):
    smoothing = saved(block_with(ROOT / document, "class Smoothing"), folder, "smoothing").Smoothing
    outputs, targets = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 3

    def inner(outputs, batch):
        return cross_entropy(outputs, batch.targets)

    def smoothed(epsilon):
        return smoothing().loss(inner)(outputs, batch(outputs, targets, {"smoothing.epsilon": epsilon}))

    plain = cross_entropy(outputs, targets)
    every = torch.stack([cross_entropy(outputs, torch.full((7,), k)) for k in range(3)]).mean(0)
    assert torch.equal(smoothed(0.0), plain)
    torch.testing.assert_close(smoothed(0.2), 0.8 * plain + 0.2 * every)


def test_the_space_of_the_readme_has_the_arms_and_takes_the_changes_that_its_commands_name(folder):
    block = block_with(ROOT / "README.md", "SPACE = Space(")
    (folder / "mine.py").write_text(block.text)
    space = load_space(str(folder / "mine.py")).space
    names = [design.name for design in checked_designs(space)]
    assert {"small_batch", "large_batch", "sam", "large_batch_copied", "large_batch_scaled"} < set(names)
    _, changed = asked_space(str(folder / "mine.py"), ["epochs=30", "sam.batch_size=200"])
    (sam,) = (design for design in checked_designs(changed) if design.name == "sam")
    assert (sam.template.budget.epochs, sam.template.batch_size) == (30, 200)


def test_the_space_of_own_loads_and_its_network_trains(folder):
    (folder / "mine.py").write_text(block_with(ROOT / "docs" / "own.md", "def network").text)
    labels = np.arange(900) % 3
    images = np.random.default_rng(0).random((900, 4, 5)) + labels[:, None, None]
    np.savez(folder / "photos.npz", images=images, labels=labels)
    space = load_space(str(folder / "mine.py")).space
    data = space.data.load(0)
    design = next(design for design in checked_designs(space) if design.name == "small_batch")
    of = design.template.resolved({"eta_over_b": 1e-3})
    assert check_against_data(of, data) == []
    running = Training(of, [0], on_device(data, "cpu"))
    running.advance()
    assert {row.name: row.value for row in running.evaluate()}["train_error"] < 0.05


def test_network_data_loss_optimiser_and_schedule_of_own_train_together(folder):
    wide, rings, focal = (own(text, folder) for text in ("class Wide", "class Rings", "class Focal"))
    rates = own("class NAdam", folder)
    of = small_trial(
        data=rings.Rings(num_train=96),
        model=wide.Wide(width=32),
        loss=focal.Focal(gamma=1.0),
        optimizer=rates.NAdam(),
        schedule=rates.InverseRoot(),
        batch_size=16,
        lr=0.01,
    )
    assert of.problems() == []
    assert check_against_data(of, of.data.load(0)) == []
    assert of.columns()["model.width"] == 32
    assert of.columns()["loss.gamma"] == 1.0
    assert of.columns()["momentum_decay"] == 4e-3
    rows = history(training(of, (0, 1), "together"))
    losses = [row.value for row in rows if row.name == "running_train_loss" and row.seed == 0]
    rates_of = [row.value for row in rows if row.name == "lr" and row.seed == 0]
    assert losses[-1] < losses[0]
    assert rates_of[-1] < rates_of[0] <= 0.01
    assert wide.MODEL.dimensions().keys() == {"width", "depth"}
    assert focal.LOSS.dimensions().keys() == {"gamma"}


def test_the_loss_of_own_is_cross_entropy_at_zero(folder):
    focal = own("class Focal", folder)
    outputs, targets = torch.randn(7, 3, dtype=torch.float64), torch.arange(7) % 3
    found = cross_entropy(outputs, targets)
    assert torch.equal(focal.Focal(gamma=0.0)(outputs, targets), found)
    p = outputs.softmax(-1)[torch.arange(7), targets]
    torch.testing.assert_close(focal.Focal(gamma=2.0)(outputs, targets), -((1 - p) ** 2) * p.log())


def test_the_gradient_hook_of_own_shortens_the_gradient(folder):
    clipping = own("class Clipping", folder).Clipping
    plain = small_trial(optimizer=own("class NAdam", folder).NAdam())
    assert not same_bits(trajectory(small_trial(clipping(largest=0.01))), trajectory(small_trial()))
    assert same_bits(trajectory(small_trial(clipping(largest=1e9))), trajectory(small_trial()))
    assert check_against_data(plain, plain.data.load(0)) == []


def test_the_clipping_of_own_keeps_the_laws(folder):
    check_remedy(own("class Clipping", folder).Clipping(largest=0.05))


@pytest.mark.parametrize(
    ("subject", "test"),
    [("class Smoothing", "def test_smoothing"), ("class GradientNorm", "def test_gradient_norm")],
)
def test_the_tests_of_own_pass(subject, test, folder):
    own(subject, folder)
    tests = [value for name, value in vars(own(test, folder)).items() if name.startswith("test_")]
    assert tests
    for shown in tests:
        shown()


def small_space(**settings: object) -> Space:
    return Space(
        question="?",
        data=Digits(num_train=100, num_validation=100),
        model=MLP(hidden=(4,)),
        eta_over_b=over(1e-4, 1e-2, log=True),
        batch_size=100,
        arms=(Arm("small", batch_size=20), Arm("large")),
        baseline="small",
        reference="large",
        **settings,
    )


def test_the_metric_of_own_goes_where_the_text_says(folder):
    metric = own("class GradientNorm", folder).GradientNorm()
    watch = Watch(metrics=(metric,), epochs=(1, 10))
    assert checked_designs(small_space(metrics=(metric,), metrics_on="all", watch=watch))
    model, loss = torch.nn.Linear(3, 2), torch.nn.CrossEntropyLoss()
    inputs, targets = torch.randn(20, 3), torch.arange(20) % 2
    found = measure(model, loss, inputs, targets, metrics=metric)["gradient_norm"]
    loss(model(inputs), targets).backward()
    assert found == pytest.approx(float(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()), rel=1e-5)


def test_the_sampler_of_own_gives_arms_the_same_points(folder):
    halton = own("class Halton", folder).Halton()
    rates = over(1e-4, 1e-2, log=True)
    assert len(checked_designs(small_space(sampler=halton))) > 2
    small, large = (
        halton.proposer(Dimensions(name, {"eta_over_b": rates}, ["eta_over_b"], 0, True, 0)) for name in ("a", "b")
    )
    found = [small.propose(i, ())["eta_over_b"] for i in range(5)]
    assert found == [large.propose(i, ())["eta_over_b"] for i in range(5)]
    assert len(set(found)) == 5
    assert all(1e-4 <= rate <= 1e-2 for rate in found)
