"""A zoo of networks as people write them: what each does beside computing, and the way in which it is trained right.

Each is a function (shape of one input, number of classes) -> network, with inputs of five numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

WIDTH = 6


class Body(nn.Module):
    """A small network that others change: linear, tanh, linear."""

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(shape[0], WIDTH), nn.Linear(WIDTH, classes)

    def hidden(self, x: Tensor) -> Tensor:
        return torch.tanh(self.first(x))

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.hidden(x))


class Dropping(Body):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.drop = nn.Dropout(0.5)

    def forward(self, x):
        return self.last(self.drop(self.hidden(self.drop(x))))


class OwnDropout(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p, self.training) * 1.0


class OwnDropping(Dropping):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.drop = OwnDropout(0.5)


class Functional(Body):
    def forward(self, x):
        return self.last(F.dropout(self.hidden(x), 0.5, self.training))


class AlwaysDropping(Body):
    def forward(self, x):
        return self.last(F.dropout(self.hidden(x), 0.5))


class Alpha(Body):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.drop = nn.AlphaDropout(0.3)

    def forward(self, x):
        return self.last(self.drop(F.selu(self.first(x))))


class Randomised(Body):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.slope = nn.RReLU()

    def forward(self, x):
        return self.last(self.slope(self.first(x)))


class FromNumPy(Body):
    def forward(self, x):
        scale = np.random.uniform(0.5, 1.5) if self.training else 1.0
        return self.last(self.hidden(x) * scale)


class FromRandom(Body):
    def forward(self, x):
        keep = [1.0 if not self.training or random.random() < 0.7 else 0.0 for _ in range(WIDTH)]
        return self.last(self.hidden(x) * torch.tensor(keep, dtype=x.dtype))


class LateNoise(Body):
    """Draws nothing in its first updates."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def forward(self, x):
        hidden = self.hidden(x)
        if self.training:
            self.seen += 1
            if self.seen > 4:
                hidden = hidden + 0.3 * torch.randn_like(hidden)
        return self.last(hidden)


class Assigned(Body):
    def __init__(self, shape, classes, in_place=False):
        super().__init__(shape, classes)
        self.register_buffer("mean", torch.zeros(shape[0]))
        self.in_place = in_place

    def forward(self, x):
        if self.training:
            mean = 0.9 * self.mean + 0.1 * x.mean(0)
            if self.in_place:
                self.mean.copy_(mean)
            else:
                self.mean = mean
        return super().forward(x - self.mean)


def assigned_in_place(shape, classes):
    return Assigned(shape, classes, in_place=True)


class Counting(Body):
    """Its calls are a temperature."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.calls = 0

    def forward(self, x):
        if self.training:
            self.calls += 1
        return super().forward(x) / (1.0 + 0.2 * self.calls)


class Remembering(Body):
    """Keeps a plain tensor and a list."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.mean, self.past = torch.zeros(WIDTH), []

    def forward(self, x):
        hidden = self.hidden(x)
        if self.training:
            self.mean = 0.5 * self.mean.to(x.dtype) + 0.5 * hidden.detach().mean(0)
            self.past = [*self.past, float(self.mean.sum())][-3:]
        return self.last(hidden - self.mean.to(x.dtype)) * (1.0 + 0.1 * sum(self.past))


class OwnGenerator(Body):
    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.rng = np.random.default_rng(3)

    def forward(self, x):
        return self.last(self.hidden(x) * (self.rng.uniform(0.5, 1.5) if self.training else 1.0))


class Projected(Body):
    """Has a random matrix of its own, which is no buffer."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.matrix = torch.randn(shape[0], shape[0])

    def forward(self, x):
        return super().forward(x @ self.matrix.to(x.dtype))


class Renormed(Body):
    """Sets its weights in forward: max-norm layers."""

    def forward(self, x):
        self.first.weight.data = torch.renorm(self.first.weight.data, 2, 0, 0.5)
        return super().forward(x)


class ClampedInPlace(Body):
    def forward(self, x):
        with torch.no_grad():
            self.first.weight.clamp_(-0.3, 0.3)
        return super().forward(x)


class Hooked(Body):
    """Scales a gradient by a hook on the parameter."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.first.weight.register_hook(lambda gradient: 0.1 * gradient)


class Referring(Body):
    """Holds a parameter where torch does not see it."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.also = [self.last.weight]

    def forward(self, x):
        return self.hidden(x) @ self.also[0].T + self.last.bias


class Writing(Body):
    def forward(self, x):
        x.clamp_(-0.5, 0.5).mul_(3.0)
        return super().forward(x)


class Saving(Body):
    def forward(self, x):
        return self.last(checkpoint(self.hidden, x, use_reentrant=False))


class SavingReentrant(Body):
    def forward(self, x):
        return self.last(checkpoint(self.hidden, x.requires_grad_(), use_reentrant=True))


class Stateful(Body):
    """A batch norm, used twice."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.norm = nn.BatchNorm1d(WIDTH)

    def forward(self, x):
        hidden = self.norm(self.first(x))
        return self.last(torch.tanh(self.norm(hidden + 1.0)))


class Sharing(nn.Module):
    """One layer in two places."""

    def __init__(self, shape, classes):
        super().__init__()
        shared = nn.Linear(shape[0], shape[0])
        self.body, self.last = nn.Sequential(shared, nn.Tanh(), shared, nn.Tanh()), nn.Linear(shape[0], classes)

    def forward(self, x):
        return self.last(self.body(x))


def frozen(shape, classes):
    network = Body(shape, classes)
    network.first.weight.requires_grad_(False)
    return network


def weight_normed(shape, classes):
    network = Body(shape, classes)
    nn.utils.parametrizations.weight_norm(network.first)
    return network


def spectral(shape, classes):
    network = Body(shape, classes)
    nn.utils.parametrizations.spectral_norm(network.first)
    return network


class Recurrent(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.cell, self.last = nn.LSTM(1, WIDTH, num_layers=2, dropout=0.3, batch_first=True), nn.Linear(WIDTH, classes)

    def forward(self, x):
        return self.last(self.cell(x[..., None])[0][:, -1])


class Attending(nn.Module):
    def __init__(self, shape, classes):
        super().__init__()
        self.up = nn.Linear(1, 4)
        self.layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.2, batch_first=True)
        self.last = nn.Linear(4, classes)

    def forward(self, x):
        return self.last(self.layer(self.up(x[..., None])).mean(1))


class Cubed(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**3

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * 3 * x**2


class OwnFunction(Body):
    def forward(self, x):
        return self.last(Cubed.apply(self.first(x)))


class Deciding(Body):
    """Its control flow hangs on the data."""

    def forward(self, x):
        hidden = self.hidden(x)
        return self.last(hidden if hidden.sum() > 0 else -hidden)


CALLS = [0]


class Global(Body):
    """Counts outside of itself."""

    def forward(self, x):
        CALLS[0] += 1
        return super().forward(x) / CALLS[0]


class Unseeded(Body):
    """Draws from a generator that nobody seeds."""

    def forward(self, x):
        scale = UNSEEDED.uniform(0.5, 1.5) if self.training else 1.0
        return self.last(self.hidden(x) * scale)


UNSEEDED = np.random.default_rng()


class Hidden(Body):
    """Draws a matrix that lives in a function."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        matrix = torch.randn(shape[0], shape[0])
        self.project = lambda x: x @ matrix.to(x.dtype)

    def forward(self, x):
        return super().forward(self.project(x))


class Counter:
    def __init__(self):
        self.number = 0


class Opaque(Body):
    """Counts in an object of its own."""

    def __init__(self, shape, classes):
        super().__init__(shape, classes)
        self.counter = Counter()

    def forward(self, x):
        self.counter.number += 1
        return super().forward(x) / self.counter.number


class Raising(Body):
    def forward(self, x):
        if self.training and float(x.abs().sum()) > 0:
            raise KeyError("no such thing")
        return super().forward(x)


@dataclass(frozen=True)
class Exhibit:
    """A network of the zoo. way: "fast", "plain" or "refused"; says: what the finding says of it; draws: generators."""

    model: Callable[[tuple[int, ...], int], nn.Module]
    way: str = "fast"
    says: str = ""
    draws: tuple[str, ...] = ()


ZOO = {
    "plain layers": Exhibit(Body),
    "dropout, one layer used twice": Exhibit(Dropping),
    "dropout of a class of one's own": Exhibit(OwnDropping, draws=("torch",)),
    "functional dropout": Exhibit(Functional, draws=("torch",)),
    "alpha dropout": Exhibit(Alpha),
    "random slopes": Exhibit(Randomised, draws=("torch",)),
    "numbers of NumPy": Exhibit(FromNumPy, draws=("numpy.random",)),
    "numbers of random": Exhibit(FromRandom, draws=("random",)),
    "noise that comes late": Exhibit(LateNoise),
    "a buffer assigned": Exhibit(Assigned),
    "a buffer written into": Exhibit(assigned_in_place),
    "checkpointing": Exhibit(Saving),
    "batch norm used twice": Exhibit(Stateful),
    "a shared layer": Exhibit(Sharing),
    "a frozen parameter": Exhibit(frozen),
    "weight norm": Exhibit(weight_normed),
    "spectral norm": Exhibit(spectral),
    "an LSTM with dropout": Exhibit(Recurrent, draws=("torch",)),
    "a transformer layer": Exhibit(Attending, draws=("torch",)),
    "a function with a backward of its own": Exhibit(OwnFunction),
    "control flow on data": Exhibit(Deciding),
    "inputs written into": Exhibit(Writing),
    "weights clamped in place": Exhibit(ClampedInPlace),
    "a counter": Exhibit(Counting, "plain", "Counting.calls is changed by forward"),
    "a plain tensor and a list": Exhibit(Remembering, "plain", "Remembering.mean is changed by forward"),
    "a generator of its own": Exhibit(OwnGenerator, "plain", "OwnGenerator.rng is changed by forward"),
    "a random matrix that is no buffer": Exhibit(Projected, "plain", "Projected.matrix is another one for each seed"),
    "weights set in forward": Exhibit(Renormed, "plain", "first.weight"),
    "a hook on a parameter": Exhibit(Hooked, "plain", "the gradient by first.weight"),
    "a parameter in a list": Exhibit(Referring, "refused", "it keeps something elsewhere"),
    "checkpointing, reentrant": Exhibit(SavingReentrant, "plain", "the gradient by first.weight"),
    "dropout that stays on": Exhibit(AlwaysDropping, "refused", "draws random numbers in evaluation mode (torch)"),
    "a counter outside": Exhibit(Global, "refused", "it depends on what ran before"),
    "numbers that nobody seeds": Exhibit(Unseeded, "refused", "a generator of its own"),
    "a matrix in a function": Exhibit(Hidden, "refused", "it keeps something elsewhere"),
    "an object that counts": Exhibit(Opaque, "refused", "Opaque.counter is changed by forward"),
    "an error": Exhibit(Raising, "refused", "KeyError: 'no such thing'"),
}
