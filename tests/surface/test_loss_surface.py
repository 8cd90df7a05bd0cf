from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from tests.metrics.cases import (
    Partial,
    cross_entropy,
    data,
    dense_hessian,
    first,
    network,
    quadratic,
    reference_loss,
    surface,
)
from tune_lb.surface.evaluation_mode import chunk_size
from tune_lb.surface.loss_surface import LossSurface
from tune_lb.testing.side_effects import assert_leaves_no_trace

MODES = ("running", "batch")
DRAWS = torch.Generator()


def vector(n, seed=0):
    return torch.randn(n, generator=DRAWS.manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch_norm", MODES)
def test_value_gradient_and_hessian_are_those_of_the_formula(batch_norm):
    net, (inputs, targets) = network(), data()
    f = surface(net, inputs, targets, batch_norm=batch_norm)

    def reference(flat):
        return reference_loss(net, flat, inputs, targets, batch_norm)

    for point in (None, f.point + 0.1 * vector(99)):
        at = f.point if point is None else point
        value, gradient = f.value_and_gradient(point)
        assert value == pytest.approx(float(reference(at)), rel=1e-12)
        assert f.value(point) == pytest.approx(value, rel=1e-12)
        torch.testing.assert_close(gradient, torch.func.grad(reference)(at), rtol=1e-8, atol=1e-10)
    hessian = dense_hessian(reference, f.point)
    product = torch.stack([f.hvp(row) for row in torch.eye(99, dtype=torch.float64)])
    torch.testing.assert_close(product, hessian, rtol=1e-8, atol=1e-10)
    torch.testing.assert_close(product, product.T, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize("chunk", [1, 3, 4, 9, 10, 99])
def test_running_mode_does_not_depend_on_chunks_or_order(chunk):
    inputs, targets = data()
    order = torch.randperm(10, generator=DRAWS.manual_seed(3))
    whole, parts = surface(network(), inputs, targets), surface(network(), inputs[order], targets[order], chunk=chunk)
    assert parts.value() == pytest.approx(whole.value(), rel=1e-13)
    assert parts.value_and_gradient()[0] == pytest.approx(whole.value(), rel=1e-13)
    torch.testing.assert_close(parts.value_and_gradient()[1], whole.value_and_gradient()[1], rtol=1e-11, atol=1e-13)
    torch.testing.assert_close(parts.hvp(vector(99)), whole.hvp(vector(99)), rtol=1e-11, atol=1e-13)


def test_batch_mode_is_the_mean_over_chunks_of_their_own_statistics():
    net, (inputs, targets) = network(), data(10)
    f = surface(net, inputs, targets, batch_norm="batch", chunk=4)
    pieces = [reference_loss(net, f.point, inputs[i], targets[i], "batch") for i in torch.arange(10).split(4)]
    assert f.value() == pytest.approx(float((4 * pieces[0] + 4 * pieces[1] + 2 * pieces[2]) / 10), rel=1e-12)
    assert f.protocol() == {"split": "train", "num_samples": 10, "batch_norm": "batch", "dtype": "float64", "chunk": 4}


@pytest.mark.parametrize("chunk", [None, 2])
def test_frozen_parameters_are_left_out_and_unused_ones_have_zero_derivatives(chunk):
    f = surface(Partial(), torch.ones(3, 2), torch.zeros(3), loss=first, chunk=chunk)
    assert f.num_parameters == 3
    assert f.value() == pytest.approx(1 * 3 + 4 * 4)
    torch.testing.assert_close(f.value_and_gradient()[1], torch.tensor([6.0, 16.0, 0.0]))
    torch.testing.assert_close(f.hvp(torch.tensor([1.0, 1.0, 1.0])), torch.tensor([6.0, 8.0, 0.0]))
    assert {name: tuple(part.shape) for name, part in f.unflatten(f.point).items()} == {"used": (2,), "unused": (1, 1)}


def test_a_linear_loss_has_zero_hessian_and_a_constant_one_zero_gradient():
    linear = quadratic(torch.zeros(4, 4, dtype=torch.float64), b=vector(4))
    torch.testing.assert_close(linear.value_and_gradient()[1], vector(4))
    assert not linear.hvp(vector(4)).any()
    constant = surface(nn.Linear(2, 1), torch.ones(3, 2), torch.zeros(3), loss=lambda outputs, targets: targets + 7)
    assert constant.value_and_gradient()[0] == 7
    assert not constant.value_and_gradient()[1].any()
    assert not constant.hvp(torch.ones(3)).any()


def test_the_graph_is_built_once_and_evaluations_are_counted():
    f = surface(network(), *data())
    with f:
        for seed in range(3):
            f.hvp(vector(99, seed))
        f.value_and_gradient()
        assert (f.num_values, f.num_gradients, f.num_hvps) == (0, 1, 3)
        kept = f.hvp(vector(99))
    torch.testing.assert_close(f.hvp(vector(99)), kept, rtol=0, atol=0)
    assert f.num_gradients == 2


def test_dtype_and_transform_apply_to_uint8_data():
    net = nn.Linear(4, 3)
    inputs, targets = torch.arange(20, dtype=torch.uint8).view(5, 4), torch.tensor([0, 1, 2, 0, 1])
    f = surface(net, inputs, targets, transform=lambda x: x.float() / 255, dtype=torch.float64, chunk=2)
    scores = inputs.double() / 255 @ net.weight.double().T + net.bias.double()
    assert f.value() == pytest.approx(float(cross_entropy(scores, targets).mean().detach()), rel=1e-7)
    assert f.point.dtype == f.hvp(f.point).dtype == torch.float64


def test_later_training_of_the_module_does_not_move_the_surface():
    net = network()
    f = surface(net, *data())
    before = f.value(f.point)
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.add_(1)
    assert f.value(f.point) == before


def test_a_subset_is_fixed_and_part_of_the_data():
    inputs, targets = data(50)
    f = surface(network(), inputs, targets)
    part = f.subset(7)
    assert part.num_samples == part.protocol()["num_samples"] == 7
    assert part.value() == f.subset(7).value() != f.subset(8).value()
    rows = [i for i in range(50) if any(torch.equal(inputs[i], row) for row in part._inputs)]
    assert len(rows) == 7
    assert part.value() == pytest.approx(surface(network(), inputs[rows], targets[rows]).value(), rel=1e-13)


@pytest.mark.parametrize(("num_samples", "expected"), [(2048, 2048), (2731, 1366), (60000, 2609)])
def test_automatic_chunks_are_equal_and_bounded(num_samples, expected):
    inputs = torch.zeros(1, 784).expand(num_samples, 784)
    assert chunk_size(inputs) == expected
    assert expected * 784 <= 2**21


@pytest.mark.parametrize("batch_norm", MODES)
@pytest.mark.parametrize("chunk", [None, 4])
@pytest.mark.parametrize("training", [True, False])
def test_nothing_is_left_behind(batch_norm, chunk, training):
    net = network()
    net.train(training)
    net[0].eval()
    net[0].weight.grad = torch.ones_like(net[0].weight)

    def everything():
        with torch.no_grad():
            f = surface(net, *data(), batch_norm=batch_norm, chunk=chunk)
            f.value(f.point + 1), f.value_and_gradient(f.point + 1), f.hvp(f.point), f.subset(6).value(), f.close()

    assert_leaves_no_trace(everything, net)


@pytest.mark.parametrize("call", ["value", "value_and_gradient", "hvp"])
def test_nothing_is_left_behind_when_the_loss_raises(call):
    net = network()

    def fail(outputs, targets):
        raise ArithmeticError("no loss today")

    f = surface(net, *data(), loss=fail, batch_norm="batch")
    with pytest.raises(ArithmeticError, match="no loss today"):
        assert_leaves_no_trace(lambda: getattr(f, call)(f.point), net)


def test_a_module_that_draws_random_numbers_is_refused_and_the_generator_put_back():
    class Noisy(nn.Linear):
        def forward(self, inputs):
            return super().forward(inputs) + torch.randn(())

    net = Noisy(6, 3).double()
    f = surface(net, *data())
    with pytest.raises(ValueError, match="draws random numbers"):
        assert_leaves_no_trace(f.value, net)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_norm": "eval"}, "'running' or 'batch'"),
        ({"batch_norm": "batch", "chunk": 3}, "chunk of one example"),
        ({"batch_norm": "batch", "chunk": 1}, "chunk of one example"),
        ({"chunk": 0}, "chunk = 0"),
        ({"dtype": torch.float16}, "torch.float16"),
    ],
)
def test_options_that_cannot_work_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        surface(network(), *data(), **options)


def test_networks_and_data_that_cannot_work_are_refused():
    net, (inputs, targets) = network(), data()
    with pytest.raises(ValueError, match="no trainable parameter"):
        surface(nn.Flatten(), inputs, targets)
    with pytest.raises(ValueError, match="0 inputs and 0 targets"):
        surface(net, inputs[:0], targets[:0])
    with pytest.raises(ValueError, match="10 inputs and 9 targets"):
        surface(net, inputs, targets[:9])
    with pytest.raises(ValueError, match="bfloat16"):
        surface(net.bfloat16(), inputs, targets)
    with pytest.raises(ValueError, match=r"missing \['bias', 'weight'\]"):
        LossSurface(nn.Linear(6, 3), {}, {}, cross_entropy, inputs, targets)
    stacked = {"weight": torch.zeros(5, 3, 6), "bias": torch.zeros(5, 3)}
    with pytest.raises(ValueError, match="one member's"):
        LossSurface(nn.Linear(6, 3), stacked, {}, cross_entropy, inputs, targets)


def test_points_and_losses_of_the_wrong_shape_are_refused():
    f = surface(network(), *data())
    with pytest.raises(ValueError, match=r"points of shape \(99,\)"):
        f.hvp(torch.ones(98))
    with pytest.raises(ValueError, match=r"shape \(\) for 10 examples"):
        surface(network(), *data(), loss=nn.CrossEntropyLoss()).value()


def test_weights_that_are_not_finite_are_named_and_give_no_derivatives():
    net = network()
    with torch.no_grad():
        net[4].bias[0] = math.inf
    f = surface(net, *data())
    assert f.defect() == "the weights are not finite"
    with pytest.raises(ValueError, match="diverged member"):
        f.hvp(f.point)
    overflowing = quadratic(torch.eye(2), c=math.nan)
    assert overflowing.defect() == "the loss at the weights is nan"
    assert surface(network(), *data()).defect() is None
