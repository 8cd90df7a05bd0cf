"""The same training as one JAX program, jitted whole: scan over steps, vmap over members with a rate each, data on the device.

Convolutions on a CPU are an exception: there XLA (jax 0.10) takes 30 times as long for a convolution's gradient inside a
loop as outside of one, so that every step is a call of the program.

The program is read off a torch network: modules become the same operations on images with channels last, which XLA prefers.
Dropout draws masks of JAX's own. Batch norm moves its running statistics, as torch's does.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from tune_lb.data.dataset import Part
from tune_lb.models.dropout import KeyedDropout
from tune_lb.models.resnet import PreactivationBlock, ZeroPadding

Tree = dict[str, Any]


def limit_threads(threads: int) -> None:
    """Give XLA so many threads on a CPU; call it before JAX is imported."""
    os.environ["NPROC"] = os.environ["PJRT_NPROC"] = str(threads)
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"


def start(network: nn.Module) -> tuple[Tree, Tree]:
    """Return trainable parameters and buffers of a torch network; convolutions as (height, width, in, out)."""

    def arrays(pairs: Any) -> Tree:
        found = {name: value.detach().cpu().numpy() for name, value in pairs if value.is_floating_point()}
        return {name: np.transpose(v, (2, 3, 1, 0)) if v.ndim == 4 else v for name, v in found.items()}

    return arrays(network.named_parameters()), arrays(network.named_buffers())


class Forward:
    """A torch network's forward pass in JAX; one pass collects the new running statistics in `buffers`."""

    def __init__(self, params: Tree, buffers: Tree, key: Any) -> None:
        self.params, self.buffers, self.key = params, dict(buffers), key

    def __call__(self, module: nn.Module, name: str, x: Any) -> Any:
        """Return the module of this name at x, (B, features) or (B, H, W, C)."""
        import jax
        import jax.numpy as jnp

        match module:
            case nn.Sequential():
                for child, part in module.named_children():
                    x = self(part, f"{name}{child}.", x)
                return x
            case PreactivationBlock():
                activated = jax.nn.relu(self(module.bn1, f"{name}bn1.", x))
                y = self(module.conv1, f"{name}conv1.", activated)
                y = self(module.conv2, f"{name}conv2.", jax.nn.relu(self(module.bn2, f"{name}bn2.", y)))
                return self(module.shortcut, f"{name}shortcut.", activated if module.projected else x) + y
            case ZeroPadding():
                x = x[:, :: module.stride, :: module.stride]
                return jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, module.num_channels)))
            case nn.Flatten():
                return (x.transpose(0, 3, 1, 2) if x.ndim == 4 else x).reshape(len(x), -1)
            case nn.Linear():
                return x @ self.params[f"{name}weight"].T + self.params.get(f"{name}bias", 0.0)
            case nn.Conv2d():
                padding = [(side, side) for side in module.padding]
                dimensions = ("NHWC", "HWIO", "NHWC")
                weight = self.params[f"{name}weight"]
                return jax.lax.conv_general_dilated(x, weight, module.stride, padding, dimension_numbers=dimensions)
            case nn.BatchNorm1d() | nn.BatchNorm2d():
                return self._batch_norm(module, name, x)
            case nn.MaxPool2d():
                size, stride, border = ((side, side) for side in (module.kernel_size, module.stride, module.padding))
                padding = ((0, 0), *((side, side) for side in border), (0, 0))
                return jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, *size, 1), (1, *stride, 1), padding)
            case nn.AdaptiveAvgPool2d():
                return x.mean((1, 2), keepdims=True)
            case KeyedDropout():
                keep = jax.random.bernoulli(jax.random.fold_in(self.key, module.layer), 1 - module.p, x.shape)
                return jnp.where(keep, x / (1 - module.p), 0.0)
            case nn.ReLU():
                return jax.nn.relu(x)
            case nn.Identity():
                return x
        raise TypeError(f"no JAX for {type(module).__name__}")

    def _batch_norm(self, module: nn.modules.batchnorm._BatchNorm, name: str, x: Any) -> Any:
        axes, count, momentum = tuple(range(x.ndim - 1)), x.size // x.shape[-1], module.momentum
        mean, variance = x.mean(axes), x.var(axes)
        for statistic, value in (("mean", mean), ("var", variance * count / (count - 1))):
            key = f"{name}running_{statistic}"
            self.buffers[key] = (1 - momentum) * self.buffers[key] + momentum * value
        scale = self.params[f"{name}weight"] / (variance + module.eps) ** 0.5
        return (x - mean) * scale + self.params[f"{name}bias"]


class JaxTraining:
    """Members trained by SGD with momentum on the device, so many steps a call. lr: of all, or one for each."""

    def __init__(
        self,
        networks: Sequence[nn.Module],
        train: Part,
        standardize: tuple[Any, Any],
        batch_size: int,
        lr: float | Sequence[float],
        momentum: float,
        weight_decay: float = 0.0,
    ) -> None:
        import jax
        import jax.numpy as jnp

        self.num_train, self.batch_size = len(train.targets), batch_size
        images = np.asarray(train.inputs)
        self.images = jnp.asarray(np.ascontiguousarray(images.transpose(0, 2, 3, 1)) if images.ndim == 4 else images)
        self.targets = jnp.asarray(train.targets)
        offset, scale = (jnp.asarray(value, jnp.float32) for value in standardize)
        starts = [start(network) for network in networks]
        stacked = [jax.tree.map(lambda *v: jnp.stack(v), *trees) for trees in zip(*starts, strict=True)]
        velocity = jax.tree.map(jnp.zeros_like, stacked[0])
        self.members = (*stacked, velocity, jax.random.split(jax.random.key(0), len(networks)))
        self.rates = jnp.asarray(np.broadcast_to(lr, len(networks)), jnp.float32)
        module = networks[0]
        has_convolutions = any(isinstance(part, nn.Conv2d) for part in module.modules())
        self.step_by_step = has_convolutions and jax.default_backend() == "cpu"

        def loss(params: Tree, buffers: Tree, key: Any, inputs: Any, targets: Any) -> Any:
            forward = Forward(params, buffers, key)
            logits = jax.nn.log_softmax(forward(module, "", inputs))
            return -jnp.take_along_axis(logits, targets[:, None], 1).mean(), forward.buffers

        def steps(member: Any, rate: Any, order: Any, images: Any, labels: Any) -> Any:
            def step(carried: Any, index: Any) -> Any:
                params, buffers, velocity, key = carried
                key, now = jax.random.split(key)
                inputs = (images[index].astype(jnp.float32) - offset) / scale
                inputs = inputs if inputs.ndim == 4 else inputs.reshape(len(index), -1)
                of_batch = jax.value_and_grad(loss, has_aux=True)
                (value, buffers), gradients = of_batch(params, buffers, now, inputs, labels[index])
                velocity = jax.tree.map(
                    lambda v, g, p: momentum * v + g + weight_decay * p, velocity, gradients, params
                )
                params = jax.tree.map(lambda p, v: p - rate * v, params, velocity)
                return (params, buffers, velocity, key), value

            return jax.lax.scan(step, member, order, unroll=len(order) == 1)  # no loop around a single step

        self.program = jax.jit(jax.vmap(steps, in_axes=(0, 0, 0, None, None)), donate_argnums=0)

    def advance(self, order: np.ndarray) -> np.ndarray:
        """Train member k on the batches order[k], (steps, B) numbers of examples; return the losses, (members, steps)."""
        losses = []
        for steps in np.split(order, order.shape[1], 1) if self.step_by_step else [order]:
            self.members, of_steps = self.program(self.members, self.rates, steps, self.images, self.targets)
            losses.append(of_steps)
        return np.concatenate(losses, 1)

    def orders(self, steps: int, rng: np.random.Generator) -> np.ndarray:
        """Return batches for every member from permutations of the train set, one after the other."""
        count = steps * self.batch_size
        rounds = -(-count // self.num_train)
        members = len(self.members[3])
        drawn = [np.concatenate([rng.permutation(self.num_train) for _ in range(rounds)]) for _ in range(members)]
        return np.stack(drawn)[:, :count].reshape(members, steps, self.batch_size)
