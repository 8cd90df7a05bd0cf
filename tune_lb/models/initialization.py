"""How a network's weights are drawn before training."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from tune_lb.errors import RequestError
from tune_lb.settings.domain import over
from tune_lb.settings.setting import Settings, setting

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
"""Layers with a weight matrix or a kernel: nn.Linear, and every nn.Conv and nn.ConvTranspose."""


@dataclass(frozen=True)
class Initialization(Settings):
    """Draw the weights of all linear and convolution layers anew, in place, times `scale`; n_in, n_out are the layer's fans.

    glorot_uniform: U(-a, a), a = sqrt(6 / (n_in + n_out)); glorot_normal: N(0, 2 / (n_in + n_out)), Glorot and Bengio, 2010,
    eq. 16 and 12, and Keras' default, the "uniformly random starts" of Keskar et al., 2017. he_uniform: U(-a, a),
    a = sqrt(6 / n_in); he_normal: N(0, 2 / n_in), He et al., 2015, eq. 10. pytorch: torch's own, U(-a, a), a = 1 / sqrt(n_in).
    A convolution's fans are channels times kernel positions, as in Keras and torch.

    Biases are 0 as in Keras, under pytorch U(-a, a) too, and never scaled. Normalisation layers stay as the network made them:
    scale 1 and shift 0 in Keras as in torch, and a residual block's scale of 0 is a choice of the network.
    Departures from Keras: its normal distributions are truncated at two standard deviations, these are not; depthwise
    convolutions have torch's fans. Raises RequestError where there is no such layer, or one without values yet.
    """

    kind: str = setting(
        "glorot_uniform",
        "distribution that weights are drawn from; pytorch: the layers' own",
        one_of=("glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "pytorch"),
        suggested=over(["glorot_uniform", "he_normal", "pytorch"]),
    )
    scale: float = setting(1.0, "factor on the weights drawn", above=0.0, suggested=over(0.3, 3.0, log=True))

    @torch.no_grad()
    def __call__(self, module: nn.Module) -> None:
        """Draw from torch's default generator, layer by layer in the order of module.modules()."""
        layers = [layer for layer in module.modules() if isinstance(layer, LAYERS)]
        if not layers:
            raise RequestError(f"initialization = {self}: the model has no linear or convolution layer to draw")
        if any(isinstance(layer.weight, nn.UninitializedParameter) for layer in layers):
            raise RequestError(f"initialization = {self}: the model has lazy layers, whose shapes are not known yet")
        for layer in layers:
            weight = layer.weight
            if self.kind == "pytorch":
                layer.reset_parameters()
            elif self.kind == "glorot_uniform":
                nn.init.xavier_uniform_(weight)
            elif self.kind == "glorot_normal":
                nn.init.xavier_normal_(weight)
            elif self.kind == "he_uniform":
                nn.init.kaiming_uniform_(weight, nonlinearity="relu")
            else:
                nn.init.kaiming_normal_(weight, nonlinearity="relu")
            if self.kind != "pytorch" and layer.bias is not None:
                layer.bias.zero_()
            # times 1 changes no bit
            weight.mul_(self.scale)
