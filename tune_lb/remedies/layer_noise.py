"""Gradient noise with a variance for each layer, as a small batch has it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from tune_lb.schedules import Position
from tune_lb.settings.domain import over
from tune_lb.settings.setting import setting
from tune_lb.settings.taken import Taken, TakesVariances, VariancesAsked
from tune_lb.training.gradient import Batch, Buffers, GradientFn, Params
from tune_lb.training.noise_scope import (
    ACTIVATION,
    ALL,
    LAYERS_DESCRIPTION,
    PLACE_DESCRIPTION,
    PLACES,
    WEIGHT,
    chosen_layers,
    chosen_parameters,
    deviations,
    scope_problems,
    with_noise_at_outputs,
)
from tune_lb.training.pieces import gradient_variances, normal_per_parameter, piece_problems, white_noise
from tune_lb.training.remedy import Remedy, State, TrialFacts

VARIANCES = "layer_noise/variances"


@dataclass(frozen=True)
class LayerNoise(Remedy, TakesVariances):
    """Add noise that is white within each layer, with the variance that a small batch's gradient has there.

    g_l + sqrt(scale V_l (1 - b/B)) n,  V_l = mean over the entries j of l of Var(g_j of b examples),  l a parameter tensor.
    scale = 1 gives the layer's gradient the trace of covariance that a batch of b has.

    V_l is measured on the run's own weights, over the B/b pieces of a batch every so many updates; or it is the profile of
    a small-batch training, one row of V_l per epoch (the last row goes on), as the function variance_profile of
    `tune_lb.observation.variance_profile` returns it. profile_of="small_batch" takes that of an arm of the same run, measured at
    the weights that its member of the same block and seed had after the epochs that Watch(keep_weights=...) keeps, over up to 32
    batches of its size b, which small_batch_size must name; an epoch between has the row of the one before.

    on="activation", with a profile that was measured so (variance_profile(on="activation")), one number for each chosen layer: V_l
    is the variance of an entry of dl/dy for one example, y the layer's output, l the loss. Noise of deviation
    sqrt(scale V_l (B/b - 1)) / B is added to the gradient of the batch's mean loss at y, and goes back from there: scale = 1 gives
    the layer's weights the variance that a batch of b has more, as far as dl/dy and the layer's inputs are independent.

    Source: Hynes, "Towards Mini-Error with Maxi-Batch SGD", section 2.4: variances measured on the model of batch 50.
    Departures: the factor 1 - b/B, what a batch of B lacks; noise on all parameters unless layers="convolutions". The paper found
    no gain.
    Neutral: scale = 0, whatever the other fields.
    Cost: one normal number per parameter and step; without a profile also one more gradient every so many updates; with that of an
    arm up to 32 gradients of its batch for each kept epoch, once for each member.
    """

    name: ClassVar[str] = "layer_noise"
    adds_noise: ClassVar[bool] = True
    excludes: ClassVar[Mapping[str, str]] = {"initial_variance_noise": "both measure the noise that they add"}

    scale: float = setting(
        0.0,
        "factor on the variance of the noise; 1 is that of the small batch, 0 is none",
        low=0.0,
        suggested=over(0.01, 3.0, log=True),
    )
    small_batch_size: int = setting(
        2, "examples b whose gradient variance is imitated", low=1, suggested=over([16, 32, 64])
    )
    every: int = setting(20, "updates between two measurements", low=1)
    profile: tuple[tuple[float, ...], ...] = setting(
        (), "V_l of a small-batch training: a row for each epoch, a number for each parameter tensor; empty: measured"
    )

    layers: str = setting(ALL, LAYERS_DESCRIPTION, added_later=True)
    on: str = setting(WEIGHT, PLACE_DESCRIPTION, one_of=PLACES, added_later=True)
    profile_of: str = setting(
        "", "arm of the same run whose variances are taken, in place of a profile", added_later=True
    )

    def is_neutral(self) -> bool:
        """Without variance there is no noise, whatever else is set."""
        return self.scale == 0

    def takes(self) -> Taken | None:
        """Return the arm whose variances are taken, at all the weights that are kept of it."""
        return Taken(self.profile_of) if self.profile_of else None

    def asks(self) -> VariancesAsked:
        """Return of what the variances are."""
        return VariancesAsked(self.small_batch_size, self.on, self.layers)

    def with_profile(self, profile: tuple[tuple[float, ...], ...]) -> LayerNoise:
        """Return the noise with a profile in the place of the arm."""
        return dataclasses.replace(self, profile=profile, profile_of="")

    @property
    def is_measured(self) -> bool:
        """Say whether variances are measured on the run's own weights."""
        return not self.profile and not self.profile_of

    def gradient_evaluations(self) -> float:
        """One per update, and one more per measurement."""
        return 1.0 + 1.0 / self.every if self.is_measured else 1.0

    def piece_sizes(self) -> dict[str, int]:
        """The pieces on which variances are measured."""
        return {"layer_noise.small_batch_size": self.small_batch_size} if self.is_measured else {}

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Refuse a small batch that does not fit into the batch, and a profile of another network or of growing batches."""
        name, b = "layer_noise.small_batch_size", self.small_batch_size
        if trial.batch_size < 2 * b:
            return [f"{name} = {b}: batch_size = {trial.batch_size} is less than twice as large, no variance to add"]
        if self.profile and self.profile_of:
            return ["layer_noise: profile and profile_of are both given; give one of them"]
        if self.on == ACTIVATION and self.is_measured:
            return [
                "layer_noise.on = 'activation' needs a profile: profile_of takes that of an arm, or "
                "variance_profile(trial, parts, on='activation') measures it"
            ]
        found = scope_problems(self.name, self.layers, self.on, module)
        if found or self.is_measured:
            return found + piece_problems(name, b, trial, module)
        if self.on == ACTIVATION:
            layers = len(chosen_layers(module, self.layers))
        else:
            layers = sum(parameter.requires_grad for parameter in module.parameters())
        wrong = sorted({len(row) for row in self.profile} - {layers})
        found = [f"layer_noise.profile has rows of {length} numbers, the network {layers} layers" for length in wrong]
        if any(value < 0 for row in self.profile for value in row):
            found.append("layer_noise.profile holds negative numbers: variances are meant")
        sizes = sorted(trial.plan(num_train).batch_sizes)
        if len(sizes) > 1:
            found.append(f"layer_noise.profile goes by epochs, which batches of {sizes} do not count: leave it empty")
        return found

    def due(self, position: Position) -> bool:
        """Variances are measured in the first of every so many steps."""
        return self.is_measured and position.step % self.every == 0

    def initial_state(self, params: Params) -> State:
        """The variance of each layer, (number of parameter tensors,); none of layers' outputs."""
        return {} if self.on == ACTIVATION else {"variances": next(iter(params.values())).new_zeros(len(params))}

    def network(self, module: nn.Module, input_shape: Sequence[int]) -> nn.Module:
        """Make the chosen layers' outputs places where noise can enter."""
        return with_noise_at_outputs(module, self.layers) if self.on == ACTIVATION else module

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor | None:
        """Draw one normal number per parameter; noise on activations is made from the examples' keys."""
        return (
            None if self.on == ACTIVATION else normal_per_parameter(self, generator, batch_size, num_parameters, like)
        )

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Return the gradient plus the layers' noise."""

        def noisy(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            loss, gradients, updated = inner(params, buffers, batch)
            size, b = batch.size, self.small_batch_size
            variances = buffers[VARIANCES]
            if not self.is_measured:
                variances = self._row(batch, variances, len(variances))
            elif batch.due["layer_noise"]:
                found = gradient_variances(inner, params, buffers, batch, b)
                variances = torch.stack([value.mean() for value in found.values()])
            sigmas = torch.sqrt(batch.values["layer_noise.scale"] * (1.0 - b / size) * variances)
            noise, chosen = (
                white_noise(batch.draws["layer_noise"], gradients),
                chosen_parameters(gradients, self.layers),
            )
            changed = {
                name: g + sigmas[i] * noise[name] if name in chosen else g
                for i, (name, g) in enumerate(gradients.items())
            }
            return loss, changed, updated | {VARIANCES: variances}

        def noisy_inside(params: Params, buffers: Buffers, batch: Batch) -> tuple[Tensor, Params, Buffers]:
            places, ratio = deviations(buffers), batch.size / self.small_batch_size
            variances = self._row(batch, next(iter(params.values())), len(places))
            sigmas = torch.sqrt(batch.values["layer_noise.scale"] * (ratio - 1.0) * variances)
            given = {name: sigmas[i] for i, name in enumerate(places)}
            loss, gradients, updated = inner(params, buffers | given, batch)
            return loss, gradients, updated | {name: buffers[name] for name in places}

        return noisy_inside if self.on == ACTIVATION else noisy

    def _row(self, batch: Batch, like: Tensor, number: int) -> Tensor:
        """Return the profile's row of the batch's epoch, of so many numbers: zeros while that of an arm is not there yet."""
        table = torch.tensor(self.profile or ((0.0,) * number,), dtype=like.dtype, device=like.device)
        epoch = (batch.step * batch.size / batch.values["plan.num_train"]).long().clamp(max=len(table) - 1)
        return table.index_select(0, epoch.reshape(1))[0]
