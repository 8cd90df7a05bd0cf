"""Ghost batch norm against ordinary batch norm of every group."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tests.trainings import batch, flat, stacked_batch, training, trial
from tune_lb.losses import cross_entropy
from tune_lb.models.mlp import MLP
from tune_lb.remedies.ghost_batch_norm import STATISTICS, GhostBatchNorm, ghost_batch_norm
from tune_lb.remedies.sam import SAM
from tune_lb.training.gradient import by_autograd, by_functorch, mean_gradient, on_targets, over_members, stack

SHAPES = {"1d": (12, 3), "1d with a length": (12, 3, 4), "2d": (12, 3, 4, 2)}


def norm(shape, **options):
    """Return a batch norm with values of its own."""
    torch.manual_seed(0)
    layer = (nn.BatchNorm2d if len(shape) == 4 else nn.BatchNorm1d)(shape[1], **options).double()
    for value in layer.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.5, 2.0)
    return layer


def ghost(layer, size):
    return GhostBatchNorm(ghost_batch_size=size).model(copy.deepcopy(layer))


def inputs(shape):
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=draws).double() * torch.arange(1.0, 13).view(-1, *[1] * (len(shape) - 1))
    return x.requires_grad_(), torch.randn(shape, generator=draws).double()


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@pytest.mark.parametrize("size", [2, 3, 6, 12])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.3, "affine": False}, {"track_running_stats": False}], ids=str)
def test_every_strided_group_is_normalised_by_itself(shape, size, options):
    layer = norm(shape, **options)
    layer_ghost, (x, weights), num_groups = ghost(layer, size), inputs(shape), 12 // size
    y = layer_ghost(x)
    own = torch.autograd.grad((y * weights).sum(), [x, *layer_ghost.parameters()])

    expected, states = torch.empty_like(x), []
    for s in range(num_groups):
        group = copy.deepcopy(layer)
        # the group's own statistics, the layer's shared scale and shift
        expected[s::num_groups] = torch.func.functional_call(group, dict(layer.named_parameters()), x[s::num_groups])
        states.append(group.state_dict())
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-12)
    theirs = torch.autograd.grad((expected * weights).sum(), [x, *layer.parameters()])
    for a, b in zip(own, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
    for name, value in layer_ghost.state_dict().items():
        # running statistics: each group's update from the same start, averaged, is one update with the averaged statistics
        mean = torch.stack([state[name].double() for state in states]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-12, atol=1e-12, msg=name)


def test_running_statistics_in_numbers():
    layer = GhostBatchNorm(ghost_batch_size=2).model(nn.BatchNorm1d(1).double())
    layer(torch.tensor([[0.0], [10.0], [2.0], [16.0]]).double())
    # groups {0, 2} and {10, 16}: means 1 and 13, unbiased variances 2 and 18
    assert layer.running_mean.item() == pytest.approx(0.1 * 7, rel=1e-14)
    assert layer.running_var.item() == pytest.approx(0.9 + 0.1 * 10, rel=1e-14)
    assert layer.num_batches_tracked.item() == 1


@pytest.mark.parametrize(("statistics", "momentum"), [("sequential", 0.3), ("scaled", 0.3 / 4)])
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_groups_one_after_the_other(shape, statistics, momentum):
    layer, (x, _) = norm(shape, momentum=0.3), inputs(shape)
    together = GhostBatchNorm(ghost_batch_size=3, statistics=statistics).model(copy.deepcopy(layer))
    y, average = together(x), ghost(layer, 3)
    assert torch.equal(y, average(x))
    layer.momentum = momentum
    for s in range(4):
        layer(x[s::4])
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(together, name), getattr(layer, name), rtol=1e-12, atol=1e-12)
        assert not torch.allclose(getattr(together, name), getattr(average, name), rtol=1e-3)


@pytest.mark.parametrize("statistics", ["sequential", "scaled"])
def test_the_way_of_merging_does_not_touch_the_weights(statistics):
    found = []
    for how in ("average", statistics):
        running = training(trial(GhostBatchNorm(ghost_batch_size=2, statistics=how)))
        running.advance(2.0)
        found.append(next(running.trained()))
    assert torch.equal(flat(found[0].params), flat(found[1].params))
    assert not torch.equal(flat(found[0].buffers), flat(found[1].buffers))


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_evaluation_is_that_of_batch_norm(shape):
    layer, (x, _) = norm(shape), inputs(shape)
    changed = ghost(layer, 4)
    assert torch.equal(changed.eval()(x), layer.eval()(x))
    assert torch.equal(changed(x[:5]), layer(x[:5]))
    assert {k: v.shape for k, v in changed.state_dict().items()} == {k: v.shape for k, v in layer.state_dict().items()}


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3)).double()


def members(num, size=12):
    found = []
    for i in range(num):
        draws = torch.Generator().manual_seed(i)
        params = {k: v.detach() + 0.1 * torch.randn(v.shape, generator=draws) for k, v in network().named_parameters()}
        x, targets = torch.randn(size, 4, generator=draws).double(), torch.randint(3, (size,), generator=draws)
        found.append((params, dict(network().named_buffers()), batch(x, targets, {"sam.rho": 0.1})))
    return found


def test_stacked_members_are_each_as_if_alone():
    module = GhostBatchNorm(ghost_batch_size=4).model(network())
    one = mean_gradient(module, on_targets(cross_entropy), by_autograd)
    together = over_members(mean_gradient(module, on_targets(cross_entropy), by_functorch), vectorize=True)
    given = members(3)
    found = together(
        stack([p for p, _, _ in given]), stack([b for _, b, _ in given]), stacked_batch([x for _, _, x in given])
    )
    for i, (params, buffers, x) in enumerate(given):
        loss, gradients, updated = one(params, buffers, x)
        assert found[0][i].item() == pytest.approx(loss.item(), rel=1e-12)
        torch.testing.assert_close(flat({k: v[i] for k, v in found[1].items()}), flat(gradients), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(flat({k: v[i] for k, v in found[2].items()}), flat(updated), rtol=1e-12, atol=1e-12)


def test_pieces_of_m_sam_keep_the_groups():
    # pieces of m = g examples have one group each: ghost norm inside m-SAM is m-SAM with plain batch norm
    params, buffers, x = members(1)[0]
    results = []
    for module in (network(), GhostBatchNorm(ghost_batch_size=4).model(network())):
        gradient = SAM(rho=0.1, m=4).gradient(mean_gradient(module, on_targets(cross_entropy), by_autograd))
        results.append(torch.cat([value.reshape(-1) for value in map(flat, gradient(params, buffers, x)[1:])]))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    # and the mean gradient over the pieces is that of the whole batch, group by group
    whole = mean_gradient(GhostBatchNorm(ghost_batch_size=2).model(network()), on_targets(cross_entropy), by_autograd)
    pieces = [whole(params, buffers, x.piece(j, 3)) for j in range(3)]
    mean = torch.stack([flat(gradients) for _, gradients, _ in pieces]).mean(0)
    torch.testing.assert_close(flat(whole(params, buffers, x)[1]), mean, rtol=1e-10, atol=1e-12)


def test_a_group_as_large_as_the_batch_trains_as_batch_norm_does():
    found = []
    for remedies in ([], [GhostBatchNorm(ghost_batch_size=8)]):
        running = training(trial(*remedies))
        running.advance(2.0)
        found.append(next(running.trained()))
        assert found[-1].params.keys() == found[0].params.keys()
    torch.testing.assert_close(flat(found[0].params), flat(found[1].params), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(flat(found[0].buffers), flat(found[1].buffers), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("size", "others", "model", "words"),
    [
        (3, [], MLP(), ["ghost_batch_size = 3", "batch_size = 8", "1, 2, 4, 8"]),
        (4, [SAM(rho=0.1, m=2)], MLP(), ["ghost_batch_size = 4", "sam.m = 2", "1, 2"]),
        (1, [], MLP(), ["ghost_batch_size = 1", "no variance"]),
        (4, [], MLP(batch_norm=False), ["no batch normalization"]),
        (4, [SAM(rho=0.0, m=2)], MLP(), []),
        (None, [], MLP(batch_norm=False), []),
    ],
)
def test_what_cannot_be_done_is_refused(size, others, model, words):
    remedy = GhostBatchNorm(ghost_batch_size=size)
    lines = remedy.conflicts(trial(remedy, *others), 24, model((5,), 3))
    assert len(lines) == bool(words)
    assert all(word in lines[0] for word in words)


def test_a_cumulative_average_is_refused():
    layer = GhostBatchNorm(ghost_batch_size=2).model(nn.BatchNorm1d(1, momentum=None))
    with pytest.raises(ValueError, match="momentum"):
        layer(torch.zeros(4, 1))


@pytest.mark.parametrize("tracked", [True, False])
@pytest.mark.parametrize("statistics", STATISTICS)
def test_images_with_channels_last_stay_so_and_give_the_same(statistics, tracked):
    x = torch.randn(12, 5, 4, 3, generator=torch.Generator().manual_seed(0)).double()
    found = []
    for form in (torch.contiguous_format, torch.channels_last):
        layer = nn.BatchNorm2d(5, track_running_stats=tracked).double()
        with torch.no_grad():
            layer.weight.copy_(torch.linspace(0.5, 2.0, 5))
            layer.bias.copy_(torch.linspace(-1.0, 1.0, 5))
        inputs = x.to(memory_format=form, copy=True).requires_grad_()
        y = ghost_batch_norm(layer, inputs, 4, statistics)
        assert y.is_contiguous(memory_format=form)
        y.square().sin().sum().backward()
        running = [value.double() for value in layer.buffers()]
        found.append([y.detach(), inputs.grad, layer.weight.grad, layer.bias.grad, *running])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)
