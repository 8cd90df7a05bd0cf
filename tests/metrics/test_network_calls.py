"""measure() on networks that return more than a tensor, take several inputs, or raise; losses that look across examples."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from tests import networks
from tests.networks import Body, Global, Opaque
from tune_lb.errors import RequestError
from tune_lb.metrics.measuring import measure
from tune_lb.trees import mapped


@dataclass
class Output:
    """As transformers return them."""

    logits: torch.Tensor
    hidden: torch.Tensor


class Returns(nn.Module):
    def __init__(self, what):
        super().__init__()
        self.layer, self.what = nn.Linear(4, 3), what

    def forward(self, x):
        return self.what(self.layer(x))


FORMS = {
    "tensor": lambda out: out,
    "dict": lambda out: {"logits": out, "loss": None},
    "attribute": lambda out: Output(out, out * 2),
}


def data(num=30):
    draws = torch.Generator().manual_seed(0)
    return torch.randn(num, 4, generator=draws), torch.randint(3, (num,), generator=draws)


def right(net, inputs, targets):
    return float(F.cross_entropy(net.layer(inputs), targets).detach())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("compiled", [False, True])
def test_logits_are_taken_of_what_a_network_returns(form, compiled):
    torch.manual_seed(0)
    net, (inputs, targets) = Returns(FORMS[form]), data()
    used = torch.compile(net, backend="eager") if compiled else net
    row = measure(used, F.cross_entropy, inputs, targets, ["lambda_max", "margin"])
    assert row["lambda_max.loss"] == pytest.approx(right(net, inputs, targets), rel=1e-6)
    assert not used._forward_hooks
    assert not net._forward_hooks


@pytest.mark.parametrize(
    ("what", "text"),
    [
        (
            lambda out: {"scores": out},
            "the network returns dict with scores: measure a module whose forward returns one tensor",
        ),
        (lambda out: (out, out), "the network returns tuple: measure a module"),
        (lambda out: None, "the network returns NoneType"),
    ],
)
def test_a_network_that_returns_no_tensor_and_no_logits_is_refused_in_one_line(what, text):
    net = Returns(what)
    with pytest.raises(RequestError, match=text) as caught:
        measure(net, F.cross_entropy, *data())
    assert len(caught.value.problems) == 1
    assert "\n" not in str(caught.value)
    assert not net._forward_hooks


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, x, scale=None, *, shift=None):
        return self.layer(x * scale[:, None] + (0 if shift is None else shift))


@pytest.mark.parametrize("form", ["tuple", "dict"])
@pytest.mark.parametrize("loaded", [False, True])
def test_several_inputs_reach_the_forward_as_they_are_named(form, loaded):
    torch.manual_seed(0)
    net, (x, targets) = Two(), data()
    scale = torch.linspace(0.5, 2, len(x))
    inputs = (x, scale) if form == "tuple" else {"x": x, "scale": scale, "shift": torch.ones(len(x), 1)}
    plain = x * scale[:, None] + (form == "dict")
    if loaded:
        inputs = [(mapped(lambda leaf: leaf[i : i + 8], inputs), targets[i : i + 8]) for i in range(0, 30, 8)]  # noqa: B023
        row = measure(net, F.cross_entropy, inputs, chunk=11)
    else:
        row = measure(net, F.cross_entropy, inputs, targets, chunk=11)
    assert row["lambda_max.loss"] == pytest.approx(right(net, plain, targets), rel=1e-6)
    assert row["lambda_max.products"] == "exact"


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.layer = nn.Embedding(10, 4), nn.Linear(4, 3)

    def forward(self, ids):
        return self.layer(self.table(ids).mean(1))


def test_whole_numbers_stay_whole():
    net, targets = Tokens(), data()[1]
    row = measure(net, F.cross_entropy, torch.arange(90).view(30, 3) % 10, targets, dtype=torch.float64)
    assert row["lambda_max"] > 0


class Raises(nn.Module):
    def __init__(self, error):
        super().__init__()
        self.layer, self.error = nn.Linear(4, 3), error

    def forward(self, x):
        raise self.error


@pytest.mark.parametrize(
    "error", [KeyError("no\nway"), RuntimeError("broken"), AssertionError(), ZeroDivisionError("0")]
)
def test_what_the_user_s_network_raises_is_one_line_with_its_place(error):
    with pytest.raises(RequestError, match=r"^nothing can be measured: .*\(.*test_network_calls\.py:\d+\)$") as caught:
        measure(Raises(error), F.cross_entropy, *data())
    assert "\n" not in str(caught.value)


def squared(outputs, targets):
    return (outputs - targets) ** 2


BROADCASTING = {
    "module": nn.MSELoss(),
    "function": F.mse_loss,
    "absolute": nn.L1Loss(),
    "huber": nn.SmoothL1Loss(),
    "mean": lambda outputs, targets: squared(outputs, targets).mean(),
    "of each": lambda outputs, targets: squared(outputs, targets).mean(1),
    "unreduced": nn.MSELoss(reduction="none"),
}


@pytest.mark.parametrize("loss", BROADCASTING)
@pytest.mark.parametrize("chunk", [None, 10])
@pytest.mark.filterwarnings("ignore:Using a target size")
def test_losses_that_broadcast_across_examples_are_refused_by_both_shapes(loss, chunk):
    """A7: the loss was 0.76641 in one chunk, 0.76618 in four."""
    with pytest.raises(
        RequestError, match=r"(outputs \(\d+, 1\) and targets \(\d+,\)|cannot be taken apart|mean of their losses)"
    ):
        measure(nn.Linear(4, 1), BROADCASTING[loss], torch.randn(40, 4), torch.randn(40), chunk=chunk)


def test_shapes_that_broadcast_are_both_named_with_what_to_give():
    with pytest.raises(RequestError, match=r"outputs \(40, 1\) and targets \(40,\).*give targets of shape \(40, 1\)"):
        measure(nn.Linear(4, 1), nn.MSELoss(), torch.randn(40, 4), torch.randn(40))


LOOKING_ACROSS = {
    "centred": lambda outputs, targets: F.cross_entropy(outputs - outputs.mean(0), targets, reduction="none"),
    "ranked": lambda outputs, targets: outputs[:, 0] * outputs[:, 0].argsort().argsort(),
    "contrastive": lambda outputs, targets: -(outputs @ outputs.T).log_softmax(1).diagonal(),
    "normalised": lambda outputs, targets: (
        F.cross_entropy(outputs, targets, reduction="none") / outputs.abs().max().detach()
    ),
}


@pytest.mark.parametrize("loss", LOOKING_ACROSS)
def test_losses_that_look_across_examples_are_refused(loss):
    torch.manual_seed(0)
    with pytest.raises(
        RequestError, match=r"depends on the others beside it, for 30 examples, outputs \(30, 3\) and targets"
    ):
        measure(nn.Linear(4, 3), LOOKING_ACROSS[loss], *data())


def test_the_same_shapes_give_torch_s_own_value():
    torch.manual_seed(0)
    net, x, y = nn.Linear(4, 1), torch.randn(40, 4), torch.randn(40, 1)
    for chunk in (None, 10):
        row = measure(net, nn.MSELoss(), x, y, chunk=chunk)
        assert row["lambda_max.loss"] == pytest.approx(float(F.mse_loss(net(x), y).detach()), rel=1e-6)
    loader = DataLoader(TensorDataset(x, y), batch_size=7)
    assert measure(net, nn.MSELoss(), loader)["lambda_max.loss"] == pytest.approx(
        float(F.mse_loss(net(x), y).detach()), rel=1e-6
    )


class CountingAlways(Body):
    """Its calls are a temperature, in evaluation mode as well."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return super().forward(x) / self.calls


def of_zoo(model):
    torch.manual_seed(0)
    return model((5,), 3), torch.randn(20, 5), torch.arange(20) % 3


def test_a_counter_is_put_back_after_each_call():
    module, inputs, targets = of_zoo(CountingAlways)
    found = measure(module, nn.CrossEntropyLoss(), inputs, targets, "lambda_max", dtype=torch.float64)["lambda_max"]
    plain = Body((5,), 3)
    plain.load_state_dict(module.state_dict())
    expected = measure(plain, nn.CrossEntropyLoss(), inputs, targets, "lambda_max", dtype=torch.float64)["lambda_max"]
    assert (module.calls, found) == (0, pytest.approx(expected, rel=1e-6))


@pytest.mark.parametrize("model", [Opaque, Global])
def test_a_network_whose_loss_is_another_one_at_each_call_is_refused(model, monkeypatch):
    monkeypatch.setattr(networks, "CALLS", [0])
    module, inputs, targets = of_zoo(model)
    with pytest.raises(RequestError, match=rf"the network .{model.__name__}. has the loss .* when it is called again"):
        measure(module, nn.CrossEntropyLoss(), inputs, targets, "lambda_max")
