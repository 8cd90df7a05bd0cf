"""Where noise enters: at which layers, and whether at their weights' gradient or at the one propagated back to their outputs."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.models.dropout import keyed_normal
from tune_lb.models.initialization import LAYERS
from tune_lb.training.gradient import DROPOUT_KEY, Buffers, Params

ALL, CONVOLUTIONS = "all", "convolutions"
WEIGHT, ACTIVATION = "weight", "activation"
PLACES = (WEIGHT, ACTIVATION)

LAYERS_DESCRIPTION = (
    "layers that get noise: all, convolutions, or a pattern of names, as 'features.*' (on weights, of parameters)"
)
PLACE_DESCRIPTION = "what noise is added to: the gradient of the weights, or the one propagated back to layers' outputs"

DEVIATION = "back_propagated_deviation"
"""Buffer of a layer with noise at its output: deviation of the noise on the gradient of the mean loss, times the batch size."""

FIRST_NUMBER = 1 << 20
"""Number of the first such layer in the hash of keys: dropout layers count from 0."""


def chosen_parameters(params: Params, layers: str) -> set[str]:
    """Return the names of the parameters that get noise. Convolutions' kernels are the tensors of three or more dimensions."""
    if layers == ALL:
        return set(params)
    if layers == CONVOLUTIONS:
        return {name for name, value in params.items() if value.dim() >= 3}
    return {name for name in params if fnmatchcase(name, layers)}


def chosen_layers(module: nn.Module, layers: str) -> list[tuple[str, nn.Module]]:
    """Return the layers with weights (linear, convolution) whose outputs get noise, in module order."""
    kinds = nn.modules.conv._ConvNd if layers == CONVOLUTIONS else LAYERS
    found: list[tuple[str, nn.Module]] = [
        (name, part) for name, part in module.named_modules() if isinstance(part, kinds)
    ]
    return found if layers in (ALL, CONVOLUTIONS) else [pair for pair in found if fnmatchcase(pair[0], layers)]


def scope_problems(name: str, layers: str, on: str, module: nn.Module) -> list[str]:
    """Return why there is no such place in the network. name: of the remedy."""
    what = f"{name}.layers = {layers!r}"
    if on == ACTIVATION:
        if chosen_layers(module, layers):
            return []
        return [f"{what}: the model has no linear or convolution layer of that name{_some(_names(module))}"]
    params: Params = {key: value for key, value in module.named_parameters() if value.requires_grad}
    if not chosen_parameters(params, layers):
        return [f"{what}: the model has no parameter of that name{_some(list(params))}"]
    kernels = {f"{key}.weight" if key else "weight" for key, _ in chosen_layers(module, CONVOLUTIONS)}
    others = sorted(chosen_parameters(params, layers) - kernels) if layers == CONVOLUTIONS else []
    if others:
        return [f"{what} goes by shape, and {others[0]} is no kernel of a convolution: give a pattern of names"]
    return []


def with_noise_at_outputs(module: nn.Module, layers: str) -> nn.Module:
    """Let the layers' outputs have noise added to what is propagated back to them, while they train and have keys.

    Each gets a buffer DEVIATION, 0 at first, and takes keys as keyed dropout does: one for each example. Outputs and parameters,
    and their names, stay as they are. A layer that one pass uses several times has the same noise in each use.
    """
    for number, (_, layer) in enumerate(chosen_layers(module, layers)):
        layer.register_buffer(DEVIATION, torch.zeros(()))
        layer.register_buffer(DROPOUT_KEY, torch.empty(0, dtype=torch.int64), persistent=False)
        layer.register_forward_hook(_NoiseAtOutput(FIRST_NUMBER + number))
    return module


def deviations(buffers: Buffers) -> list[str]:
    """Return the names of the layers' buffers DEVIATION, in module order."""
    return [name for name in buffers if name.rpartition(".")[2] == DEVIATION]


class _NoiseAtOutput:
    """Forward hook: the output as it is, with n * DEVIATION / examples added to its gradient, n standard normal."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, layer: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        key = layer.get_buffer(DROPOUT_KEY)
        if not layer.training or (key.dim() == 1 and key.shape[0] == 0):
            return output
        examples = key.shape[0] if key.dim() else output.shape[0]
        key = key if key.dim() == 0 or key.shape[0] == output.shape[0] else key[0]
        normal = keyed_normal(key, output.shape, self.number).to(output.dtype)
        noise = normal * (layer.get_buffer(DEVIATION).to(output.dtype) / examples)
        found: Tensor = _AddedGoingBack.apply(output, noise)
        return found


class _AddedGoingBack(torch.autograd.Function):
    """y; its gradient is that of what comes after it plus the noise."""

    generate_vmap_rule = True

    @staticmethod
    def forward(output: Tensor, noise: Tensor) -> Tensor:
        return output.view_as(output)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (noise,) = ctx.saved_tensors
        return gradients[0] + noise, None


def _names(module: nn.Module) -> list[str]:
    return [name for name, _ in chosen_layers(module, ALL)]


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
    return f"; it has {shown}" if names else ""
