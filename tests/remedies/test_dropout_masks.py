"""Dropout while training: one mask per example and step, for every pass, piece, member and remedy."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pytest
import torch
from torch import nn

from tests.trainings import batch, flat, same_bits, same_up_to_rounding, training, trajectory, trial
from tune_lb.losses import cross_entropy
from tune_lb.models.dropout import keyed
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb.remedies.sam import SAM
from tune_lb.settings.setting import Settings, setting
from tune_lb.training.gradient import by_autograd, mean_gradient, on_targets


@dataclass(frozen=True)
class Dropping(Settings):
    """A network with two layers of dropout, without batch norm."""

    p: float = setting(0.5, "probability of a zero")

    def __call__(self, input_shape: Sequence[int], num_classes: int) -> nn.Module:
        layers = [nn.Linear(math.prod(input_shape), 6), nn.ReLU(), nn.Dropout(self.p), nn.Linear(6, 6), nn.Tanh()]
        return keyed(nn.Sequential(*layers, nn.Dropout(self.p), nn.Linear(6, num_classes)))


def of(*remedies):
    return trial(*remedies, model=Dropping())


def test_masks_are_those_of_seed_and_step_alone():
    plain, again = trajectory(of(), (0, 3)), trajectory(of(), (3, 0))
    assert same_bits(plain, again)
    assert same_up_to_rounding(plain, trajectory(of(), (0, 3), "together"))
    assert not same_up_to_rounding(plain, trajectory(trial(model=Dropping(0.0)), (0, 3)))
    keys = [training(of()).batches.batch(seed, step).examples["dropout_key"] for seed, step in ((0, 0), (0, 1), (1, 0))]
    assert len(torch.cat(keys).unique()) == 24


def test_a_remedy_does_not_move_the_masks():
    first = [training(of(*remedies)).batches.batch(0, 2) for remedies in ([], [GradientNoise(alpha=1.0)])]
    assert torch.equal(first[0].examples["dropout_key"], first[1].examples["dropout_key"])


def gradient_of(remedy, rho, keys):
    torch.manual_seed(1)
    module = Dropping()((5,), 3).double()
    params, buffers = dict(module.named_parameters()), dict(module.named_buffers())
    plain = mean_gradient(module, on_targets(cross_entropy), by_autograd)
    draws = torch.Generator().manual_seed(0)
    given = batch(torch.randn(8, 5, generator=draws).double(), torch.arange(8) % 3, {"sam.rho": rho, "sam.eta": 0.01})
    given = given._replace(examples={"dropout_key": keys})
    return plain, remedy.gradient(plain), params, buffers, given


@pytest.mark.parametrize("m", [None, 4])
def test_both_passes_of_sam_have_the_same_masks_unless_it_is_said(m):
    keys = torch.randint(1 << 62, (8,), generator=torch.Generator().manual_seed(2))
    found = {}
    for same in (True, False):
        # a radius of nothing leaves the masks alone to make a difference
        plain, sam, params, buffers, given = gradient_of(SAM(rho=1e-12, m=m, same_masks=same), 1e-12, keys)
        found[same] = (flat(sam(params, buffers, given)[1]), flat(plain(params, buffers, given)[1]))
    torch.testing.assert_close(*found[True], rtol=1e-9, atol=1e-9)
    assert (found[False][0] - found[False][1]).abs().max() > 0.01


def test_pieces_have_the_masks_of_their_examples():
    keys = torch.randint(1 << 62, (8,), generator=torch.Generator().manual_seed(2))
    plain, _, params, buffers, given = gradient_of(SAM(rho=0.1), 0.1, keys)
    pieces = [flat(plain(params, buffers, given.piece(j, 4))[1]) for j in range(4)]
    torch.testing.assert_close(
        torch.stack(pieces).mean(0), flat(plain(params, buffers, given)[1]), rtol=1e-12, atol=1e-14
    )


def test_the_layers_own_key_is_left_as_it_was():
    running = training(of())
    running.advance(1.0)
    member = next(running.trained())
    assert all(value.numel() == 0 for name, value in member.buffers.items() if name.endswith("dropout_key"))
