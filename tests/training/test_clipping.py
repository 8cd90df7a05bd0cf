"""Gradient clipping against torch.nn.utils, and where in an update it stands."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from tests.remedies.test_gradient_noise import ALPHA, drawn
from tests.trainings import flat, same_up_to_rounding, training, trajectory, trial
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.recipe.plain import not_plain
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.schedules import Constant
from tune_lb.settings.identity import identity
from tune_lb.training.stacking import stack_key


def moved(*remedies, **clipping):
    """Return the first update of rate 1, turned around, and the gradients by name as torch has them at the start."""
    of = trial(*remedies, optimizer=SGD(momentum=0.0, **clipping), schedule=Constant(), lr=1.0)
    running = training(of)
    start = next(running.trained()).params
    running.advance(1e-9)
    return flat({name: start[name] - value for name, value in next(running.trained()).params.items()})


@pytest.mark.parametrize("clipping", [{"clip_norm": 0.3}, {"clip_value": 0.02}, {"clip_norm": 0.1, "clip_value": 0.05}])
@pytest.mark.parametrize("remedies", [(), (SAM(rho=0.3),)], ids=str)
def test_as_torch_has_it(clipping, remedies):
    plain = moved(*remedies)
    parameter = torch.nn.Parameter(torch.zeros_like(plain))
    parameter.grad = plain.clone()
    if "clip_value" in clipping:
        torch.nn.utils.clip_grad_value_([parameter], clipping["clip_value"])
    if "clip_norm" in clipping:
        assert parameter.grad.norm() > clipping["clip_norm"]
        torch.nn.utils.clip_grad_norm_([parameter], clipping["clip_norm"])
    assert not torch.allclose(parameter.grad, plain)
    torch.testing.assert_close(moved(*remedies, **clipping), parameter.grad, rtol=1e-10, atol=1e-14)


def test_a_gradient_that_is_short_enough_is_left_and_noise_is_not_cut():
    torch.testing.assert_close(moved(clip_norm=1e6), moved(), rtol=1e-12, atol=0)
    noisy = moved(GradientNoise(alpha=ALPHA), clip_norm=0.3)
    noise = ALPHA**0.5 * drawn(0, 0, len(noisy))
    assert noise.norm() > 1
    torch.testing.assert_close(noisy - moved(clip_norm=0.3), noise, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", [SGD(clip_norm=0.2), Adam(clip_value=0.05)])
def test_members_together_are_clipped_each_by_itself(optimizer):
    of = trial(optimizer=optimizer)
    assert same_up_to_rounding(trajectory(of, (0, 1)), trajectory(of, (0, 1), "together"))


def test_members_of_one_stack_are_clipped_alike():
    keys = [stack_key(training(trial(optimizer=SGD(clip_norm=c)))) for c in (None, 0.2, 0.3)]
    assert len(set(keys)) == 3
    assert None not in keys


def test_what_it_is_called_and_where_it_cannot_be_written_out():
    assert identity(SGD()).keys() == {"type", "weight_decay", "momentum", "nesterov"}
    of = trial(optimizer=SGD(clip_norm=0.2))
    assert of.columns()["clip_norm"] == 0.2
    data = of.data.load(0)
    module = of.plain_network(data.input_shape, data.num_classes)
    assert "gradient clipping" in not_plain(of, data, module)
    assert "gradient clipping" not in not_plain(replace(of, optimizer=SGD()), data, module)
    (line,) = SGD(clip_norm=0.0).problems()
    assert "clip_norm = 0.0: must be above 0" in line
