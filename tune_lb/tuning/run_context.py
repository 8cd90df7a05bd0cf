"""What every worker of a run knows: the data, where results go, and how rows are completed."""

from __future__ import annotations

import functools
import itertools
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from tune_lb import __version__
from tune_lb.data.dataset import DataSet
from tune_lb.metrics.metric import SHARED_COLUMNS, Metric
from tune_lb.observation.walk_losses import PROTOCOL_COLUMNS
from tune_lb.observation.walker import WALK_COLUMNS
from tune_lb.prediction_errors import PredictionError, ZeroOne, error_for
from tune_lb.results.code_versions import Versions
from tune_lb.results.columns import MEMBERS, Column, members_schema, metric_columns
from tune_lb.results.storage import Store
from tune_lb.search.blocks import is_first
from tune_lb.settings.setting import HOLDS_PARTS, column_type, described
from tune_lb.space.data_sets import of_source
from tune_lb.space.description import space_hash
from tune_lb.space.designs import ArmDesign
from tune_lb.space.halving import Halving
from tune_lb.space.observation import CROSSINGS, Walk, Watch
from tune_lb.space.space import Space
from tune_lb.space.taking import lenders
from tune_lb.training.part_lists import PartList, part_lists
from tune_lb.training.trial import Trial
from tune_lb.training.trial_columns import column_name
from tune_lb.training.ways import AUTO
from tune_lb.tuning.stopping import stopping_columns


@dataclass(frozen=True)
class RunContext:
    """What every worker of a run knows; it travels once and is shared."""

    run: str
    store: Store
    space_hash: str
    data: Mapping[int, DataSet]
    """By split seed; see data/splits.py."""
    metrics: tuple[Metric, ...]
    metrics_on: str
    execution: Mapping[str, str]
    """How the members of each arm are trained: alone or together."""
    field_columns: tuple[Column, ...]
    provenance: Mapping[str, str | None]
    checkpoint_every_s: float = 30.0
    walk: Walk | None = None
    watch: Watch | None = None
    crossings: tuple[float, ...] | None = CROSSINGS
    microbatch: int | str | None = AUTO
    other_data: Mapping[str, Mapping[int, DataSet]] = field(default_factory=dict)
    """Data that arms have for themselves, by the names of their sources and split seed."""

    error: str | None = None
    """What errors are, in words, where they are not shares of misclassified examples."""
    measured_blocks: int = 8
    watched_blocks: int = 2
    stacked: Mapping[str, int] = field(default_factory=dict)
    """Most members of an arm that train as one program, where members are trained together."""

    lenders: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Arms that others take weights from, and the stages of its members that lend them."""

    objectives: tuple[str, ...] = ()

    stopping: Halving | None = None
    """How configurations of a search are stopped early."""

    code: Versions = field(default_factory=dict)
    """Of the user's code, by arm."""

    def data_of(self, trial: Trial) -> DataSet:
        """Return the data that a trial is trained on."""
        return of_source(self.data, self.other_data, trial.data)[trial.split_seed]

    def metrics_of(self, stage: str, block: int | None, seed: int) -> tuple[Metric, ...]:
        """Return what is measured on a member: all metrics on the first of each measured confirm block, or on all."""
        chosen = stage == "confirm" and block is not None and block < self.measured_blocks and is_first(seed)
        return self.metrics if chosen or self.metrics_on == "all" else ()

    def is_watched(self, stage: str, block: int) -> bool:
        """Say whether members are looked at while they train: those of the first confirm blocks."""
        return stage == "confirm" and block < self.watched_blocks

    def keeps_weights(self, arm: str, stage: str, block: int) -> bool:
        """Say whether weights of members are kept while they train: of those that are looked at, or that others take from."""
        kept = self.watch is not None and self.watch.is_kept_of(arm)
        return kept and (stage in self.lenders.get(arm, ()) or self.is_watched(stage, block))

    def metric_columns(self, rows: Sequence[Mapping[str, Any]] = ()) -> list[Column]:
        """Return the columns of the run's metrics, typed by the rows."""
        descriptions = {name: text for metric in self.metrics for name, text in metric.columns().items()}
        for metric in self.metrics:
            descriptions.setdefault(f"{metric.name}.reason", SHARED_COLUMNS["reason"])
        found = metric_columns(descriptions, rows)
        if "lambda_max" in descriptions:
            text = "peak learning rate times lambda_max; 2 is gradient descent's edge of stability"
            found.append(Column("lr_times_lambda_max", "float", text, role="metric"))
        return found

    def schema(self, rows: Sequence[Mapping[str, Any]] = ()) -> pa.Schema:
        """Return the schema of the run's members, its metric columns typed by the rows."""
        extra = [*self.field_columns, *self.metric_columns(rows), *stopping_columns(self.stopping)]
        if self.walk is not None:
            types = {name: "float" if name.endswith("_s") else "int" for name in WALK_COLUMNS}
            extra += [Column(name, types[name], text, role="cost") for name, text in WALK_COLUMNS.items()]  # type: ignore[arg-type]
            kinds = {name: "str" if name == "walk.batch_norm" else "int" for name in PROTOCOL_COLUMNS}
            extra += [Column(name, kinds[name], text, role="protocol") for name, text in PROTOCOL_COLUMNS.items()]  # type: ignore[arg-type]
        return members_schema(extra, self.error)


def field_columns(designs: Sequence[ArmDesign]) -> tuple[Column, ...]:
    """Return a column for every field of the arms' parts (remedies, optimiser, model, ...) that not every run has."""
    everywhere = {column.name for column in MEMBERS}
    found: dict[str, Column] = {}
    for design in designs:
        for prefix, part in [*design.template.parts().items(), *design.template.alternatives()]:
            for name, _, types, metadata in described(part):
                column = column_name(prefix, name)
                text = metadata.get("description") or f"{name} of {type(part).__name__}"
                if column not in everywhere and not metadata.get(HOLDS_PARTS):
                    found[column] = Column(column, column_type(types), text, role="setting")
        found |= {
            one.name: Column(one.name, "str", f"which of {', '.join(one.alternatives)} was drawn", role="setting")
            for one in part_lists(design.template)
            if one.name not in everywhere
        }
        found |= {own.name: own for one in part_lists(design.template) for own in _of_alternatives(one)}
        for remedy in design.template.possible_remedies():
            for split, kind in itertools.product(("train", "validation", "test"), ("loss", "error")):
                for name in remedy.alternative_names():
                    text = f"{split}_{kind} of the weights called {name} by {remedy.name}"
                    found[f"{split}_{kind}@{name}"] = Column(f"{split}_{kind}@{name}", "float", text, role="outcome")
    return tuple(found.values())


def _of_alternatives(one: PartList) -> Iterator[Column]:
    """Yield the columns of fields that alternatives search over domains of their own."""
    apart = {own.name for own in one.searched() if own.name != own.column}
    for label in one.alternatives:
        for prefix, part in one.fields(label):
            for name, _, types, metadata in described(part):
                column = f"{label}.{column_name(prefix, name)}"
                if column in apart:
                    text = metadata.get("description") or f"{name} of {label}"
                    yield Column(column, column_type(types), f"{text}, where {label} was drawn", role="setting")


@functools.cache
def git_commit() -> str | None:
    """Return the commit of the checkout that the code runs from, with "+" if it has changes; None outside a checkout."""
    here = Path(__file__).parent
    try:
        commit, changes = (
            subprocess.run(
                ["git", *arguments], cwd=here, capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for arguments in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changes else "")


def provenance() -> dict[str, str | None]:
    """Return which code made a row."""
    return {"git_commit": git_commit(), "tune_lb_version": __version__}


def error_title(data: Mapping[int, DataSet], error: PredictionError | None) -> str | None:
    """Return what errors are in words; None for shares of misclassified examples."""
    if not data:
        return error.title if error is not None else None
    found = error_for(error, next(iter(data.values())).train.targets)
    return None if isinstance(found, ZeroOne) else found.title


def make_context(
    name: str,
    store: Store,
    space: Space,
    designs: Sequence[ArmDesign],
    data: Mapping[int, DataSet],
    execution: Mapping[str, str],
    other_data: Mapping[str, Mapping[int, DataSet]] | None = None,
) -> RunContext:
    """Return the context of a run of the space."""
    return RunContext(
        run=name,
        store=store,
        space_hash=space_hash(space),
        data=data,
        metrics=tuple(space.metrics),
        metrics_on=space.metrics_on,
        execution=dict(execution),
        field_columns=field_columns(designs),
        provenance=provenance(),
        walk=space.walk,
        watch=space.watch,
        crossings=space.crossings,
        microbatch=space.microbatch,
        other_data=dict(other_data or {}),
        measured_blocks=space.measured_blocks,
        watched_blocks=space.watched_blocks,
        error=error_title(data, space.error),
        lenders=lenders(designs),
        objectives=tuple(space.objectives),
        stopping=space.stopping,
    )
