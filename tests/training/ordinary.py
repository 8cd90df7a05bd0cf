"""The ordinary PyTorch loop, which trainings are held to."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from tests.trainings import parts_of, training
from tune_lb.streams import generator

WAYS = ["alone", "together"]


def stream(of, seed, size):
    """Return the indices of the first examples: one permutation of the train set after another."""
    n = len(parts_of(of).train.targets)
    orders = [torch.randperm(n, generator=generator("", seed, "order", epoch)) for epoch in range(-(-size // n))]
    return torch.cat(orders)[:size]


def ordinary(of, seed, num_updates, optimizer, loss=F.cross_entropy, change=lambda inputs: inputs, rates=None):
    """Train as anybody would: a module, a torch optimiser, a loop. Return the module and the loss of every step."""
    parts = parts_of(of)
    module = of.model(parts.input_shape, parts.num_classes).double()
    start = next(training(of, (seed,)).trained())
    module.load_state_dict(start.params | start.buffers)
    torch_optimizer = optimizer(module.parameters())
    inputs = (parts.train.inputs.float() - 0.1) / 1.5
    losses = []
    for step, index in enumerate(stream(of, seed, num_updates * of.batch_size).split(of.batch_size)):
        for options in torch_optimizer.param_groups:
            options["lr"] = rates[step] if rates else of.lr
        value = loss(module(change(inputs[index].double())), parts.train.targets[index])
        torch_optimizer.zero_grad()
        value.backward()
        torch_optimizer.step()
        losses.append(value.item())
    return module, losses


def assert_same(member, module, tolerance=1e-12):
    expected = module.state_dict()
    assert (member.params | member.buffers).keys() == expected.keys()
    for name, value in (member.params | member.buffers).items():
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)
