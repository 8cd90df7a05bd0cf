"""Products with the Hessian where kernels or functions of one's own have no right second derivative."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.autograd.function import once_differentiable
from torch.utils.checkpoint import checkpoint

from tests.metrics.cases import cross_entropy, dense_hessian, surface
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure
from tune_lb.surface.example_gradients import slopes
from tune_lb.surface.member_surfaces import MemberSurfaces
from tune_lb.surface.products import by_differences

EXACT = LambdaMax(tolerance=1e-6)


def reference(net, inputs, targets):
    """Return the largest eigenvalue of the full Hessian of the mean cross entropy in float64, attention written out."""
    net = net.double().eval()
    names, shapes = zip(*((name, p.shape) for name, p in net.named_parameters()), strict=True)
    flat = torch.cat([p.detach().reshape(-1) for p in net.parameters()])

    def loss(point):
        parts = torch.split(point, [shape.numel() for shape in shapes])
        values = {name: part.view(shape) for name, part, shape in zip(names, parts, shapes, strict=True)}
        return F.cross_entropy(torch.func.functional_call(net, values, (inputs.double(),)), targets)

    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
            return float(torch.linalg.eigvalsh(dense_hessian(loss, flat))[-1])
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


class OwnAttention(nn.Module):
    """Attention as users write it: the fused function, here causal."""

    def __init__(self, size, causal):
        super().__init__()
        self.qkv, self.causal = nn.Linear(size, 3 * size), causal

    def forward(self, x):
        q, k, v = self.qkv(x)[:, None].chunk(3, -1)
        return F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)[:, 0]


class Pooled(nn.Module):
    """Sequences (N, T, 4) to 3 classes."""

    def __init__(self, body):
        super().__init__()
        self.body, self.head = body, nn.Linear(4, 3)

    def forward(self, x):
        return self.head(self.body(x).mean(1))


class SelfAttention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def layer(**options):
    return nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, **options)


ATTENTION = {
    "encoder layer": lambda: layer(),
    "without dropout": lambda: layer(dropout=0.0, norm_first=True, activation="gelu"),
    "encoder": lambda: nn.TransformerEncoder(layer(), 2, enable_nested_tensor=False),
    "multi-head": SelfAttention,
    "own": lambda: OwnAttention(4, False),
    "own causal": lambda: OwnAttention(4, True),
}


def sequences(num=12):
    draws = torch.Generator().manual_seed(3)
    return torch.randn(num, 5, 4, generator=draws), torch.randint(3, (num,), generator=draws)


@pytest.mark.parametrize("kind", ATTENTION)
def test_attention_has_the_eigenvalue_of_the_full_hessian(kind):
    torch.manual_seed(0)
    net, (inputs, targets) = Pooled(ATTENTION[kind]()), sequences()
    row = measure(net, F.cross_entropy, inputs, targets, EXACT)
    assert row["lambda_max.products"] == "exact"
    assert torch.backends.mha.get_fastpath_enabled()
    assert row["lambda_max"] == pytest.approx(reference(net, inputs, targets), rel=1e-3)


class OnceSiLU(torch.autograd.Function):
    """A custom activation whose backward cannot be differentiated, and does not say so."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x.sigmoid()

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return grad * s * (1 + x * (1 - s))


class DataSiLU(OnceSiLU):
    @staticmethod
    def backward(ctx, grad):
        x = ctx.saved_tensors[0].data
        s = x.sigmoid()
        return grad * s * (1 + x * (1 - s))


class NoGradSiLU(OnceSiLU):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        with torch.no_grad():
            s = x.sigmoid()
            slope = s * (1 + x * (1 - s))
        return grad * slope


class DetachedSiLU(OnceSiLU):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return (grad * s * (1 + x * (1 - s))).detach()


class RightSiLU(OnceSiLU):
    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = x.sigmoid()
        return grad * s * (1 + x * (1 - s))


class Single(torch.autograd.Function):
    """Computes in float32 whatever it is given, as a kernel of one's own does."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (x.float() * x.float().sigmoid()).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        s = x.float().sigmoid()
        return (grad.float() * s * (1 + x.float() * (1 - s))).to(grad.dtype)


class OnlySingle(Single):
    """Refuses float64."""

    @staticmethod
    def forward(ctx, x):
        if x.dtype == torch.float64:
            raise RuntimeError("expected scalar type Float but found Double")
        return Single.forward(ctx, x)


class Activation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def mlp(activation, seed=0, width=16):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(5, width), activation, nn.Linear(width, width), activation, nn.Linear(width, 3))


def vectors(num=60):
    draws = torch.Generator().manual_seed(3)
    return torch.randn(num, 5, generator=draws), torch.randint(3, (num,), generator=draws)


WRONG = {kind.__name__: kind for kind in (OnceSiLU, DataSiLU, NoGradSiLU, DetachedSiLU, Single, OnlySingle)}


@pytest.mark.parametrize("kind", WRONG)
def test_functions_without_a_right_second_backward_are_found_and_go_by_differences(kind):
    """A19: lambda_max 0.184 where the same network with nn.SiLU has 0.263."""
    inputs, targets = vectors()
    row = measure(mlp(Activation(WRONG[kind].apply)), F.cross_entropy, inputs, targets)
    right = reference(mlp(nn.SiLU()), inputs, targets)
    assert row["lambda_max.products"] == "differences"
    assert row["lambda_max"] == pytest.approx(right, rel=3e-3)


def test_products_by_differences_in_float64_are_as_good_as_exact_ones():
    inputs, targets = vectors()
    row = measure(mlp(Activation(OnceSiLU.apply)), F.cross_entropy, inputs, targets, EXACT, dtype=torch.float64)
    assert row["lambda_max"] == pytest.approx(reference(mlp(nn.SiLU()), inputs, targets), rel=1e-6)
    assert row["lambda_max.converged"]


def test_a_right_function_of_one_s_own_stays_exact():
    inputs, targets = vectors()
    row = measure(mlp(Activation(RightSiLU.apply)), F.cross_entropy, inputs, targets, EXACT)
    assert row["lambda_max.products"] == "exact"
    assert row["lambda_max"] == pytest.approx(reference(mlp(nn.SiLU()), inputs, targets), rel=1e-3)


class ByHand(nn.Module):
    def forward(self, x):
        return (x / 6 + 0.5).clamp(0, 1)


def test_an_operation_that_torch_cannot_differentiate_twice_goes_by_differences():
    inputs, targets = vectors()
    row = measure(mlp(nn.Hardsigmoid()), F.cross_entropy, inputs, targets, EXACT, dtype=torch.float64)
    assert row["lambda_max.products"] == "differences", "derivative for aten::hardsigmoid_backward is not implemented"
    assert row["lambda_max"] == pytest.approx(reference(mlp(ByHand()), inputs, targets), rel=1e-5)


@pytest.mark.parametrize("together", [True, False])
def test_several_members_go_the_same_way(together):
    inputs, targets = vectors()
    nets = [mlp(Activation(OnceSiLU.apply), seed) for seed in (0, 1)]
    members = [(dict(net.named_parameters()), dict(net.named_buffers())) for net in nets]
    with MemberSurfaces(nets[0], members, cross_entropy, inputs, targets, together=together) as both:
        draws = torch.randn(2, both.surfaces[0].num_parameters, generator=torch.Generator().manual_seed(0))
        found = both.hvps({0: draws[0], 1: draws[1]})
    for k in (0, 1):
        plain = surface(mlp(nn.SiLU(), k), inputs, targets)
        torch.testing.assert_close(found[k], plain.hvp(draws[k]), rtol=1e-2, atol=1e-3)


def test_slopes_of_single_examples_are_right_as_well():
    inputs, targets = vectors()
    own, plain = (
        surface(mlp(Activation(function)).double(), inputs.double(), targets) for function in (OnceSiLU.apply, F.silu)
    )
    direction = torch.randn(own.num_parameters, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(slopes(own, direction), slopes(plain, direction), rtol=1e-6, atol=1e-8)


class Checkpointed(nn.Module):
    def __init__(self, body):
        super().__init__()
        self.body = body

    def forward(self, x):
        return checkpoint(self.body, x, use_reentrant=False)


def image_net(*layers):
    body = nn.Sequential(nn.Conv2d(1, 8, 3, padding=1), *layers)
    with torch.no_grad():
        size = body(torch.zeros(2, 1, 8, 8)).flatten(1).shape[1]
    return nn.Sequential(body, nn.Flatten(), nn.Linear(size, 3))


ZOO = {
    "relu": lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 3)
    ),
    "leaky": lambda: image_net(nn.LeakyReLU(), nn.AvgPool2d(2)),
    "max pooling": lambda: image_net(
        nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1)
    ),
    "batch norm": lambda: image_net(nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)),
    "hard activations": lambda: image_net(nn.ReLU6(), nn.Hardswish(), nn.Hardtanh()),
    "blank": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 32, bias=False), nn.ReLU(), nn.Linear(32, 3)),
    "prelu": lambda: image_net(nn.PReLU(), nn.GroupNorm(2, 8), nn.Softplus()),
    "checkpointed": lambda: Checkpointed(image_net(nn.ReLU(), nn.MaxPool2d(2))),
    "half inside": lambda: image_net(Activation(lambda x: x.float().softmax(1).to(x.dtype)), nn.ReLU()),
    "single only": lambda: image_net(Activation(lambda x: x @ torch.eye(8)), nn.ReLU(), nn.MaxPool2d(2)),
    "hook": lambda: hooked(image_net(nn.ReLU(), nn.MaxPool2d(2))),
    "sorted": lambda: image_net(Activation(lambda x: x.flatten(2).sort(-1).values.view_as(x)), nn.ReLU()),
    "norm": lambda: image_net(Activation(lambda x: x / x.norm(dim=1, keepdim=True)), nn.ReLU()),
}


def hooked(net):
    """A full backward hook stands in the graph as a function written in Python."""
    net[0][-1].register_full_backward_hook(lambda module, grad_input, grad_output: None)
    return net


@pytest.mark.parametrize("kind", ZOO)
@pytest.mark.parametrize("images", ["noise", "black corners"])
def test_ordinary_networks_with_kinks_in_float32_stay_exact(kind, images):
    for seed in range(3):
        torch.manual_seed(seed)
        net, inputs = ZOO[kind](), torch.randn(40, 1, 8, 8)
        if images == "black corners":
            inputs[:, :, :4, :4] = 0
        with surface(net.eval(), inputs, torch.arange(40) % 3) as f:
            assert f.products() == "exact"


def test_the_test_of_products_costs_few_examples_and_counts_as_no_measurement():
    inputs, targets = vectors()
    f = surface(mlp(nn.Tanh()), inputs, targets)
    f.hvp(torch.ones(f.num_parameters))
    assert (f.num_hvps, f.num_gradients) == (1, 1), "the graph gives the gradient"


def test_differences_of_a_quadratic_are_exact_and_of_zero_are_zero():
    H = torch.randn(6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    H, w = H + H.T, torch.ones(6, dtype=torch.float64)
    for vector in (w, 1e-9 * w, torch.eye(6, dtype=torch.float64)[2]):
        torch.testing.assert_close(by_differences(lambda at: H @ at, w, vector), H @ vector, rtol=1e-8, atol=1e-18)
    assert not by_differences(lambda at: H @ at, w, 0 * w).any()


def test_a_compiled_network_is_measured_as_it_is_written():
    torch.manual_seed(0)
    net, (inputs, targets) = mlp(nn.Tanh()), vectors()
    plain = measure(net, F.cross_entropy, inputs, targets, EXACT)
    for backend in ("eager", "aot_eager"):
        compiled = torch.compile(net, backend=backend)
        compiled(inputs).sum().backward()
        row = measure(compiled, F.cross_entropy, inputs, targets, EXACT)
        assert row["lambda_max"] == plain["lambda_max"]
    assert list(itertools.islice(compiled(inputs).shape, 2)) == [60, 3]
