"""Search spaces: a question, the arms that answer it, and how the comparison is run. Data only.

What follows from a space stands above it: its mistakes in tune_lb.space.checks, its arms as they are run in
tune_lb.space.designs, what tells it from another in tune_lb.space.description.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tune_lb.budgets import Budget, Epochs
from tune_lb.data.dataset import DataSource
from tune_lb.errors import RequestError
from tune_lb.losses import LossFn, cross_entropy
from tune_lb.metrics.metric import Metric
from tune_lb.metrics.names import known_metrics
from tune_lb.optimizers.elementwise import SGD
from tune_lb.optimizers.settings import OptimizerSettings
from tune_lb.prediction_errors import PredictionError, as_error
from tune_lb.samplers.names import sampler_named
from tune_lb.samplers.quasi_random import Sobol
from tune_lb.samplers.sampler import Sampler
from tune_lb.schedules import Cosine, ScheduleShape
from tune_lb.settings.plain import made_plain
from tune_lb.settings.setting import Settings, as_typed, setting
from tune_lb.space.arm import Arm
from tune_lb.space.division import divided
from tune_lb.space.halving import Halving
from tune_lb.space.observation import CROSSINGS, Walk, Watch
from tune_lb.space.until import Until
from tune_lb.surface.network_forms import Output
from tune_lb.training.loss_forms import as_loss
from tune_lb.training.phase import Phase
from tune_lb.training.trial import Initialize, Model
from tune_lb.training.ways import AUTO, EXECUTIONS, PRECISIONS

TRIAL_FIELDS = (
    "data",
    "model",
    "optimizer",
    "schedule",
    "budget",
    "loss",
    "initialization",
    "precision",
    "phases",
    "output",
    "batch_size",
    "lr",
    "eta_over_b",
)
"""Fields that an arm may give in place of the space."""

SELECT_BY = ("auto", "loss", "error")

PROCEDURE = ("num_samples", "candidates", "decide_blocks")
"""Fields that say how a configuration is chosen: another value is another choice, so they belong to what a run is."""

EXTENDABLE = ("confirm_blocks", "block_seeds", "measured_blocks", "watched_blocks", "question", "rows", "differs")
"""Fields that may change between two calls of the same run: they add members and change no decision that was made."""


@dataclass(frozen=True)
class Space(Settings):
    """A question, the arms that answer it, and the procedure: search, decide, confirm.

    An arm has num_samples + candidates * decide_blocks + confirm_blocks * block_seeds members. A block is a split and its seeds,
    the same for all arms. walk says what is observed of single updates, in the members of the first watched_blocks confirm blocks;
    watch and crossings what is measured of them while they train. Their clean losses are taken at every epoch end.
    Arms that the comparison needs are added: `<reference>_copied` and `_scaled` (the baseline's best rate, and best rate per
    example, at the reference's batch), `placebo` (the reference with a search of its own) and, where an arm takes c > 1
    gradients per update, the reference trained c times as long.
    """

    question: str
    data: DataSource
    model: Model
    arms: tuple[Arm, ...]
    baseline: str | None = None
    reference: str | None = None
    optimizer: OptimizerSettings = field(default_factory=SGD)
    schedule: ScheduleShape = field(default_factory=Cosine)
    budget: Budget = field(default_factory=Epochs)
    loss: LossFn = cross_entropy
    initialization: Initialize | None = None
    precision: str = setting("fp32", "of training's forward passes; evaluation is in fp32", one_of=PRECISIONS)
    phases: tuple[Phase, ...] = ()
    output: Output | None = None
    batch_size: int | None = setting(None, "examples per update, where an arm does not say", low=1)
    lr: float | None = setting(None, "peak learning rate", above=0.0)
    eta_over_b: float | None = setting(None, "peak learning rate per example", above=0.0)
    num_samples: int = setting(24, "configurations searched in each arm, one member each", low=1)
    candidates: int = setting(5, "best configurations of the search that are decided between", low=1)
    decide_blocks: int = setting(6, "fresh blocks in which they are decided between", low=1, high=500)
    confirm_blocks: int | Until = setting(  # noqa: RUF009
        24, "fresh blocks of the one configuration: an arm's result; or Until(half_width=0.2)", low=1, high=90_000
    )
    block_seeds: int = setting(1, "members of a confirm block", low=1, high=999)
    members_per_arm: int | None = setting(
        None, "what an arm can have, in place of the five numbers above, which it is divided into; see divided"
    )
    measured_blocks: int = setting(8, "first confirm blocks of which a member is measured", low=0)
    watched_blocks: int = setting(4, "first confirm blocks whose members are looked at while they train", low=0)
    fresh_splits: bool | None = setting(
        None, "whether every block cuts the data anew; none: wherever the data can be cut"
    )
    metrics: tuple[Metric, ...] = ()
    metrics_on: str = setting(
        "confirm", "members that are measured: of confirm blocks, or all", one_of=("confirm", "all")
    )
    sampler: Sampler = field(default_factory=Sobol)
    derived: bool = setting(True, "add the copied and scaled arms")
    placebo: bool = setting(True, "add the placebo arm")
    compute_matched: bool = setting(True, "add references trained longer, for arms that cost more per update")
    seed: int = setting(0, "of the quasi-random points", low=0)
    walk: Walk | None = None
    watch: Watch | None = field(
        default=None, metadata={"description": "what is measured at epoch ends, in the watched blocks"}
    )
    execution: str = setting(
        "auto", "how members are trained; auto: the fastest way, timed", one_of=("auto", *EXECUTIONS)
    )
    microbatch: int | str | None = setting(
        AUTO, "examples at a time in the network; auto: as fit into a GPU; none: the whole batch", low=1
    )
    overrides: tuple[tuple[str, Any], ...] = ()
    error: PredictionError | None = setting(  # noqa: RUF009
        None,
        "what test_error and the others are, in all arms: a name, a function of outputs and targets, or an error; none: the share "
        "of examples (or tokens) that are misclassified",
    )
    select_by: str = setting(
        "auto",
        "what chooses, over validation examples; auto: loss in the search, loss and soft error between the best",
        one_of=SELECT_BY,
        added_later=True,
    )

    objectives: tuple[str, ...] = setting(
        (),
        "columns of a member that the sampler seeks to be low (-name: high), and whose front is shown; none: validation loss",
        added_later=True,
    )
    points: tuple[Mapping[str, Any], ...] = setting(
        (), "configurations to try first, by column names; arm: the one that it is for", added_later=True
    )

    stopping: Halving | None = setting(  # noqa: RUF009
        None,
        "how configurations of a search are stopped early, inside each arm; none: all are trained in full",
        added_later=True,
    )

    rows: tuple[str, ...] = ()
    """Rows of papers that it repeats (tune_lb.space.papers)."""
    differs: tuple[str, ...] = ()
    """What is not as published there, one line each."""

    crossings: tuple[float, ...] | None = setting(
        CROSSINGS,
        "train losses, nats, at whose first crossing lambda_max is taken in the watched blocks; none: not at all",
        added_later=True,
    )

    def __post_init__(self) -> None:
        made_plain(self)
        if self.members_per_arm is not None:
            self._divide(self.members_per_arm)
        # names are taken in place of objects, as on the command line; what they do not name is said by the checks
        object.__setattr__(self, "error", as_error(self.error))
        object.__setattr__(self, "loss", as_loss(self.loss))
        if isinstance(self.sampler, str):
            object.__setattr__(self, "sampler", sampler_named(self.sampler) or self.sampler)
        if isinstance(self.stopping, str) and self.stopping == "halving":
            object.__setattr__(self, "stopping", Halving())
        if isinstance(self.objectives, str):
            object.__setattr__(self, "objectives", tuple(name.strip() for name in self.objectives.split(",")))
        if isinstance(self.metrics, tuple) and any(isinstance(entry, str) for entry in self.metrics):
            object.__setattr__(self, "metrics", known_metrics(self.metrics))

    def _divide(self, members: int) -> None:
        """Put the numbers that the members of an arm are divided into in their fields, as if they had been given."""
        found = divided(members)._asdict()
        defaults = {field.name: field.default for field in dataclasses.fields(self)}
        given = [name for name in found if getattr(self, name) != defaults[name]]
        if given:
            raise RequestError(
                f"space.members_per_arm = {members} says what {', '.join(given)} {'is' if len(given) == 1 else 'are'}: leave "
                f"{'it' if len(given) == 1 else 'them'} out, or members_per_arm"
            )
        for name, value in (found | {"members_per_arm": None}).items():
            object.__setattr__(self, name, value)

    @property
    def most_blocks(self) -> int:
        """Return in how many blocks an arm is confirmed at most."""
        asked = self.confirm_blocks
        return asked.max_blocks if isinstance(asked, Until) else asked

    def overridden(self, changes: Sequence[tuple[str, Any]]) -> Space:
        """Return the space with KEY=VALUE changes: a field of the space, of every arm (epochs), or of one (ARM.batch_size).

        "none" is None in a field that may be None.
        """
        own = {f.name for f in dataclasses.fields(self)} - {"arms", "overrides", *TRIAL_FIELDS}
        direct: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else as_typed(self, key, value)
            for key, value in changes
            if key in own
        }
        if direct.get("members_per_arm") is not None:
            direct = {**divided(direct.pop("members_per_arm"))._asdict(), **direct}
        return dataclasses.replace(
            self, **direct, overrides=self.overrides + tuple(c for c in changes if c[0] not in own)
        )
