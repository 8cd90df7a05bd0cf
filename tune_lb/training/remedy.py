"""The remedy: one frozen dataclass that changes how training is done, and the order in which remedies nest.

A remedy wraps one or more of the model, the batch, the loss, the gradient, the update, the step and the schedules, and may
own state. Each hook takes the thing it wraps and returns a thing of the same type; unless overridden it is the identity.
With its default field values a remedy is neutral: it is left out, so the trajectory is that of training without it to
the last bit.

A new remedy is a frozen subclass of `Remedy` with a name and with its fields declared by `setting`. Its columns in the results
are `<name>.<field>`, e.g. `sam.rho`. There is no registry to enter it in; a space imports it.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

import torch
from torch import Tensor, nn

from tune_lb.losses import LossFn
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.schedules import Position, Schedule
from tune_lb.settings.setting import Settings
from tune_lb.training.gradient import Batch, GradientFn, Params, TrainingLoss
from tune_lb.training.plan import BatchSize, Plan

BatchFn = Callable[[Batch], Batch]
"""Batch -> batch: augmentation, mixup. Pure; random numbers come from `batch.draws`."""

UpdateFn = Callable[[Params, Params, float], None]
"""(params, gradient by name, learning rate) -> None: the optimiser's step, in place on the parameters. Every tensor has a
leading member dimension, of length 1 for a member that is trained alone: a norm per layer is one over the other dimensions."""

StepFn = Callable[[Params, dict[str, Tensor], Batch, float], tuple[Tensor, dict[str, Tensor]]]
"""(params, buffers, batch, learning rate) -> (loss, buffers): a gradient and an update. Wrapped by what takes several inner
steps. Every tensor but batch.step and batch.values has a leading member dimension, as in UpdateFn; the loss is (members,)."""

State = dict[str, Tensor]
"""What one member's remedy remembers from step to step (averaged weights, variances): tensors, which are in the checkpoint.

A gradient hook finds it among the buffers, under `<name of the remedy>/<key>`, and what it returns there is the next step's."""


class Nesting(enum.Enum):
    """Where a remedy's gradient hook stands: fixed by what it does to the gradient inside it, whatever the order in a list."""

    POINT = 1
    """Chooses the points at which gradients are taken (SAM). Innermost, once for every mean gradient."""
    RESULT = 2
    """Changes the mean gradient of the step, once (noise). Outermost."""


class TrialFacts(Protocol):
    """What a remedy may ask of the trial that it is part of; see Trial."""

    @property
    def batch_size(self) -> int:
        """Examples per update."""
        ...

    @property
    def eta_over_b(self) -> float | None:
        """Peak learning rate per example, where the rate is given so."""
        ...

    @property
    def loss(self) -> LossFn:
        """The loss of single examples that is minimised."""
        ...

    @property
    def optimizer(self) -> OptimizerSettings:
        """The optimiser."""
        ...

    @property
    def active(self) -> list[Remedy]:
        """The remedies that change something, innermost first."""
        ...

    def plan(self, num_train: int) -> Plan:
        """Return what the trial amounts to on a train set of so many examples."""
        ...

    def without(self, name: str, batch_size: int) -> TrialFacts:
        """Return the same trial with another batch and without the remedy of a name."""
        ...


@dataclass(frozen=True)
class Remedy(Settings):
    """Base of all remedies: every hook is the identity. Raises TypeError, where it is made, for one without a name."""

    name: ClassVar[str]
    """Prefix of its columns; letters, digits and _. Two remedies of an arm have two names."""

    nesting: ClassVar[Nesting] = Nesting.RESULT

    excludes: ClassVar[Mapping[str, str]] = {}
    """Remedies that it does not go with, by name, and why, as in "both scale the rate": together the two are refused."""

    always_in_pieces: ClassVar[bool] = False
    """Whether no gradient is taken of more examples than its `piece_sizes` say."""

    adds_noise: ClassVar[bool] = False
    """Whether it adds noise to the gradient: what looks at members can ask for the gradient without it."""

    differentiates_gradients: ClassVar[bool] = False
    """Whether it takes small differences of gradients, which need their full precision."""

    def __new__(cls, *values: object, **fields: object) -> Self:
        """Refuse a remedy without a name. Not where its class is made: a pickled class gets its attributes afterwards."""
        if not re.fullmatch(r"\w+", str(getattr(cls, "name", ""))):
            raise TypeError(
                f'remedy {cls.__name__} needs a name, the prefix of its columns: add name: ClassVar[str] = "{cls.__name__.lower()}"'
            )
        return super().__new__(cls)

    def is_neutral(self) -> bool:
        """Say whether it changes nothing: true for the default values of all fields."""
        return self == type(self)()

    def gradient_evaluations(self) -> float:
        """Return the mean gradients evaluated per update, as a multiple of the step inside it."""
        return 1.0

    def piece_sizes(self) -> dict[str, int]:
        """Return the lengths of the pieces of the batch whose gradients it takes by themselves, by column name (sam.m)."""
        return {}

    def takes_whole_batches(self) -> bool:
        """Say whether it also takes gradients of whole batches, where it has pieces (plain steps between SAM's)."""
        return False

    def conflicts(self, trial: TrialFacts, num_train: int, module: nn.Module) -> list[str]:
        """Say what in the trial, train set or model makes it undefined (a ghost size that does not divide the batch)."""
        return []

    def length_problems(self, trial: TrialFacts, num_train: int) -> list[str]:
        """Say what of it a training of that length has no room for (a warmup as long); not asked of a smoke run, which is short."""
        return []

    def opening_epochs(self) -> float:
        """Return in how many epochs at the start it trains otherwise than later (a warmup): too early to judge a member in."""
        return 0.0

    def separates_batch_norm(self) -> bool:
        """Say whether batch norm sees groups of the batch alone, so that parts of the batch that hold whole groups are exact."""
        return False

    def microbatch_problems(self, microbatch: int, batch_size: int) -> list[str]:
        """Say why microbatches of so many examples would not give the same gradients with it."""
        return []

    def network(self, module: nn.Module, input_shape: Sequence[int]) -> nn.Module:
        """Change the network itself, which is trained, evaluated and measured (rectifiers with a slope)."""
        return module

    def network_problems(self, module: nn.Module, examples: Any) -> list[str]:
        """Say what in the network, as all remedies changed it, makes it undefined, seen on two inputs (a functional rectifier).

        Called where `network` is overridden; the module and the inputs are the remedy's own, to be run.
        """
        return []

    def computes_with_inputs(self) -> bool:
        """Say whether it computes with the inputs themselves, which must then be one tensor of real numbers (mixtures of two)."""
        return False

    def input_problems(self, input_shape: tuple[int, ...]) -> list[str]:
        """Say what in the shape of an example makes it undefined (a rotation of what is no image)."""
        return []

    def variant(self) -> tuple[bool, ...]:
        """Return on which of its hooks' ways it goes, where that depends on fields that are not whole numbers.

        Trials that differ in such fields alone share a compiled step, unless this differs.
        """
        return ()

    def model(self, module: nn.Module) -> nn.Module:
        """Wrap the training network. The module is the trial's own copy; evaluation and metrics use another, unwrapped."""
        return module

    def batch(self, inner: BatchFn) -> BatchFn:
        """Wrap what is done to a batch before it reaches the loss."""
        return inner

    def batch_size(self, inner: BatchSize, num_train: int) -> BatchSize:
        """Wrap the number of examples in the next batch."""
        return inner

    def loss(self, inner: TrainingLoss) -> TrainingLoss:
        """Wrap the loss of each example, before the mean."""
        return inner

    def gradient(self, inner: GradientFn) -> GradientFn:
        """Wrap the gradient function."""
        return inner

    def update(self, inner: UpdateFn) -> UpdateFn:
        """Wrap the optimiser's step."""
        return inner

    def step(self, inner: StepFn) -> StepFn:
        """Wrap gradient and update together."""
        return inner

    def peak_rate(self, rate: float, batch_size: int) -> float:
        """Scale the peak learning rate with the trial's batch."""
        return rate

    def schedule(self, inner: Schedule, plan: Plan) -> Schedule:
        """Wrap the learning rate as a function of the position in training."""
        return inner

    def draws(self, generator: torch.Generator, batch_size: int, num_parameters: int, like: Tensor) -> Tensor | None:
        """Draw the random numbers of one step of one member, in the parameters' dtype and device; None for none.

        The generator is the remedy's own stream for (seed, step): switching a remedy on changes no other draw.
        """
        return None

    def replicated(self, params: Params, batch_size: int) -> Params:
        """Return what is trained in place of the parameters (several replicas).

        The optimiser, states, `update`, `step`, `after_step` and `evaluated` of all remedies see that, and so does its own
        gradient hook; gradient hooks inside it see what it hands them.
        """
        return params

    def merged(self, params: Params) -> Params:
        """Return the parameters of what `replicated` made of them and training changed; linear."""
        return params

    def initial_state(self, params: Params) -> State:
        """Return the state before the first step."""
        return {}

    def due(self, position: Position) -> bool:
        """Say whether it acts in the step at this position: an average of snapshots costs nothing in between.

        In other steps after_step is left out, and its gradient hook finds `batch.due[<name>]` False.
        """
        return True

    def after_step(self, state: State, params: Params, batch: Batch) -> State:
        """Return the state after an update."""
        return state

    def evaluated(self, params: Params, state: State) -> Params:
        """Return the parameters to evaluate and measure (averaged weights) in place of the trained ones."""
        return params

    def alternatives(self, params: Params, state: State) -> dict[str, Params]:
        """Return other parameters to be evaluated beside `evaluated`, by name: the columns are test_error@<name>, ..."""
        return {}

    def alternative_names(self) -> tuple[str, ...]:
        """Return the names of `alternatives`, which must not depend on the searched fields."""
        return ()

    def values(self) -> dict[str, float]:
        """Return the numeric fields by column name; they reach the step as tensors in `batch.values`."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {
            f"{self.name}.{name}": float(value)
            for name, value in fields.items()
            if isinstance(value, int | float) and not isinstance(value, bool)
        }


def overrides(remedy: Remedy, hook: str) -> bool:
    """Say whether the remedy has its own version of a hook: the others cost nothing."""
    return getattr(type(remedy), hook) is not getattr(Remedy, hook)


def nested(remedies: Sequence[Remedy]) -> list[Remedy]:
    """Return the active remedies from the innermost to the outermost: POINT before RESULT, then by name."""
    active = [remedy for remedy in remedies if not remedy.is_neutral()]
    return sorted(active, key=lambda remedy: (remedy.nesting.value, remedy.name))
