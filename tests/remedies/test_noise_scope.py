"""Noise in some layers only, and noise on what is propagated back, against the loss that has that gradient."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.remedies.test_gradient_noise import first_step
from tests.remedies.test_measured_noise import gradients
from tests.trainings import batch, flat, parts_of, training, trial
from tune_lb.losses import cross_entropy
from tune_lb.models.dropout import keyed_normal
from tune_lb.models.mlp import MLP
from tune_lb.observation.variance_profile import variance_profile
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.layer_noise import LayerNoise
from tune_lb.remedies.sam import SAM
from tune_lb.settings.identity import identity
from tune_lb.settings.setting import Settings
from tune_lb.streams import generator
from tune_lb.training.gradient import by_autograd, by_functorch, mean_gradient, on_targets
from tune_lb.training.noise_scope import FIRST_NUMBER, chosen_layers, chosen_parameters
from tune_lb.training.pieces import over_microbatches

ALPHA, SIZE = 0.3, 12


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 2, 2), nn.ReLU(), nn.Conv2d(2, 3, 2), nn.Flatten(), nn.Linear(12, 4)).double()


def data():
    draws = torch.Generator().manual_seed(1)
    keys = torch.randint(1 << 62, (SIZE,), generator=draws)
    return torch.randn(SIZE, 1, 4, 4, generator=draws).double(), torch.arange(SIZE) % 4, keys


def found_gradient(remedy, values, differentiate=by_autograd, microbatch=None):
    module = remedy.network(network(), (1, 4, 4)).train()
    x, targets, keys = data()
    given = batch(x, targets, values, step=3)._replace(examples={"dropout_key": keys})
    inner = over_microbatches(mean_gradient(module, on_targets(cross_entropy), differentiate), microbatch)
    params = {name: value.detach() for name, value in module.named_parameters()}
    buffers = {name: value.double() if value.is_floating_point() else value for name, value in module.named_buffers()}
    loss, gradient, updated = remedy.gradient(inner)(params, buffers, given)
    assert all(torch.equal(updated[name], buffers[name]) for name in buffers)
    return loss, flat(gradient)


def expected_gradient(sigmas):
    """Return loss and gradient of L + sum_l sigma_l <n_l, y_l>, whose gradient at y_l is that of L plus sigma_l n_l."""
    module, (y, targets, keys) = network(), data()
    more, number = 0.0, 0
    for place, layer in enumerate(module):
        y = layer(y)
        if place in sigmas:
            more = more + sigmas[place] * (keyed_normal(keys, y.shape, FIRST_NUMBER + number) * y).sum()
            number += 1
    loss = cross_entropy(y, targets).mean()
    return loss, flat(dict(enumerate(torch.autograd.grad(loss + more, tuple(module.parameters())))))


@pytest.mark.parametrize(("layers", "places"), [("all", (0, 2, 4)), ("convolutions", (0, 2)), ("[24]", (2, 4))])
@pytest.mark.parametrize("differentiate", [by_autograd, by_functorch])
def test_noise_on_what_is_propagated_back(layers, places, differentiate):
    remedy = GradientNoise(alpha=ALPHA, gamma=0.7, layers=layers, on="activation")
    found = found_gradient(remedy, {"gradient_noise.alpha": ALPHA, "gradient_noise.gamma": 0.7}, differentiate)
    sigma = (ALPHA / (1 + 3) ** 0.7) ** 0.5
    loss, expected = expected_gradient(dict.fromkeys(places, sigma))
    assert found[0].item() == pytest.approx(loss.item(), rel=1e-12)
    torch.testing.assert_close(found[1], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("microbatch", [4, 6])
def test_microbatches_have_the_noise_of_their_examples(microbatch):
    remedy = GradientNoise(alpha=ALPHA, on="activation")
    values = {"gradient_noise.alpha": ALPHA, "gradient_noise.gamma": 0.55}
    whole, parts = found_gradient(remedy, values), found_gradient(remedy, values, microbatch=microbatch)
    torch.testing.assert_close(parts[1], whole[1], rtol=1e-10, atol=1e-12)


def test_layer_noise_on_what_is_propagated_back():
    profile = ((9.0, 9.0), (4.0, 1.0))
    remedy = LayerNoise(scale=0.5, small_batch_size=3, layers="convolutions", on="activation", profile=profile)
    # steps of 12 of 24 examples: step 3 is in the second epoch, whose row goes on
    found = found_gradient(remedy, {"layer_noise.scale": 0.5, "plan.num_train": 24.0})
    sigmas = {place: (0.5 * v * (SIZE / 3 - 1)) ** 0.5 / SIZE for place, v in ((0, 4.0), (2, 1.0))}
    torch.testing.assert_close(found[1], expected_gradient(sigmas)[1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("layer", [0, 1, FIRST_NUMBER])
def test_keyed_numbers_are_standard_normal_and_layers_have_their_own(layer):
    keys = torch.randint(1 << 62, (100,), generator=torch.Generator().manual_seed(2))
    n = 100 * 500
    found, other = (
        keyed_normal(keys, torch.Size((100, 20, 25)), number).double().flatten() for number in (layer, layer + 1)
    )
    assert abs(found.mean()) < 5 / n**0.5
    assert abs(found.var() - 1) < 5 * (2 / n) ** 0.5
    assert abs((found**4).mean() - 3) < 5 * (96 / n) ** 0.5
    assert abs((found * other).mean()) < 5 / n**0.5
    assert abs((found[::2] * found[1::2]).mean()) < 5 / (n / 2) ** 0.5


@pytest.mark.parametrize("others", [[], [SAM(rho=0.2)]], ids=str)
def test_noise_on_some_weights_leaves_the_others(others):
    inside, start = first_step(*others)
    outside, _ = first_step(*others, GradientNoise(alpha=ALPHA, layers="4.*"))
    drawn = GradientNoise().draws(generator("", 0, "gradient_noise", 0), 8, len(start), start)
    # tensors of 30, 6, 6, 18 and 3 numbers; the last two are the output layer's
    expected = torch.cat([torch.zeros(42).double(), ALPHA**0.5 * drawn[42:]])
    torch.testing.assert_close(outside - inside, expected, rtol=1e-9, atol=1e-12)


def test_layer_noise_on_some_weights():
    profile = ((4.0, 9.0),)
    remedy = LayerNoise(scale=1.0, small_batch_size=6, profile=profile, layers="b")
    sigma, _ = gradients(remedy, False, {"variances": torch.zeros(2).double()}, 0, scale=2.0)
    torch.testing.assert_close(sigma, torch.tensor([0.0, 0, 3, 3, 3]).double(), rtol=1e-12, atol=1e-12)


def test_which_layers_and_parameters_are_chosen():
    module = network()
    params = dict(module.named_parameters())
    assert chosen_parameters(params, "convolutions") == {"0.weight", "2.weight"}
    assert chosen_parameters(params, "*.bias") == {"0.bias", "2.bias", "4.bias"}
    assert chosen_parameters(params, "all") == params.keys()
    assert [name for name, _ in chosen_layers(module, "convolutions")] == ["0", "2"]
    assert [name for name, _ in chosen_layers(module, "all")] == ["0", "2", "4"]


@dataclass(frozen=True)
class Positions(Settings):
    """A network with a tensor of three dimensions that is no kernel."""

    def __call__(self, input_shape, num_classes):
        module = MLP(hidden=(6,), batch_norm=False)(input_shape, num_classes)
        module.register_parameter("place", nn.Parameter(torch.zeros(1, 2, 3)))
        return module


@pytest.mark.parametrize(
    ("remedy", "words"),
    [
        (GradientNoise(alpha=1.0, layers="convolutions"), "no parameter of that name; it has 1.weight, "),
        (GradientNoise(alpha=1.0, layers="convolutions", on="activation"), "no linear or convolution layer"),
        (GradientNoise(alpha=1.0, layers="features.*"), "layers = 'features.*'"),
        (LayerNoise(scale=1.0, layers="features.*"), "layers = 'features.*'"),
        (LayerNoise(scale=1.0, on="activation"), "needs a profile"),
        (LayerNoise(scale=1.0, on="activation", profile=((1.0,) * 5,)), "rows of 5 numbers, the network 2 layers"),
        (LayerNoise(scale=1.0, on="activation", profile=((1.0,) * 2,)), ""),
        (GradientNoise(alpha=1.0, layers="1.*"), ""),
    ],
)
def test_places_that_there_are_not_are_refused(remedy, words):
    lines = remedy.conflicts(trial(remedy), 24, MLP(hidden=(6,))((5,), 3))
    assert bool(lines) == bool(words), lines
    assert all(words in line for line in lines)


def test_a_tensor_that_only_has_the_shape_of_a_kernel_is_refused():
    (line,) = GradientNoise(alpha=1.0, layers="convolutions").conflicts(trial(), 24, Positions()((5,), 3))
    assert "place is no kernel" in line
    (line,) = GradientNoise(alpha=1.0, on="elsewhere").problems()
    assert "'weight', 'activation'" in line


def test_trials_without_the_fields_are_those_of_before():
    assert identity(GradientNoise(alpha=0.1)).keys() == {"type", "alpha", "gamma"}
    assert identity(GradientNoise(alpha=0.1, on="activation"))["on"] == "activation"


def test_the_profile_of_what_is_propagated_back():
    of = trial(batch_size=2, lr=1e-9, model=MLP(hidden=(6,), batch_norm=False))
    parts = parts_of(of)
    found = variance_profile(of, parts, seed=4, num_pieces=12, on="activation")
    module = training(of, (4,)).evaluation_module
    module.load_state_dict(next(training(of, (4,)).trained()).params)
    hidden = module[1](parts.train.standardized(slice(None)).double()).detach().requires_grad_()
    outputs = module[3](F.relu(hidden))
    (at_hidden, at_outputs) = torch.autograd.grad(of.loss(outputs, parts.train.targets).sum(), (hidden, outputs))
    expected = [float(value.var(0).mean()) for value in (at_hidden, at_outputs)]
    # the 12 pairs are all 24 examples, at weights that stay where they are
    assert list(found[0]) == pytest.approx(expected, rel=1e-6)
    assert list(found[-1]) == pytest.approx(expected, rel=1e-4)
    one = variance_profile(replace(of), parts, seed=4, num_pieces=12, on="activation", layers="3")
    assert one[0] == pytest.approx([found[0][1]], rel=1e-9)
