"""The columns of the result tables: name, type, and what it is in which unit.

Errors are fractions in [0, 1], losses nats per example, times seconds. A column that is not an identity may be null:
not measured, or not defined for that member.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import pyarrow as pa

from tune_lb.results.protocol import PROTOCOL_FIELDS, ColumnType

SCHEMA_VERSION: Final = 1
"""Version of the columns' meaning, in every row and every file; a reader refuses a newer one."""

STAGES: Final = ("search", "decide", "confirm")
LENT: Final = "lent"
"""Stage of members that are trained for others to take from, where their own arm searches nothing: no result is made of them."""
OLD_STAGES: Final = ("search", "rescreen", "confirm")
"""Stages of runs made before blocks were."""

STATUSES: Final = ("completed", "stopped", "diverged", "out_of_memory", "failed")
FINISHED: Final = ("completed", "stopped", "diverged")
"""Statuses of members that are there for good; the others are trained again."""

Role = Literal["identity", "setting", "outcome", "metric", "protocol", "cost", "provenance"]
"""What a column is: identity names the row; setting is what was chosen; outcome how training ended and how well; metric what was
measured, protocol how; cost what was spent; provenance which code made the row, and where."""

ARROW_TYPES: Final = {
    "float": pa.float64(),
    "int": pa.int64(),
    "str": pa.string(),
    "bool": pa.bool_(),
    "bytes": pa.binary(),
}


@dataclass(frozen=True)
class Column:
    """One column of a table.

    name: in tables, files and code alike; a part's field is part.field (sam.rho). type: float (64 bits), int (64 bits),
    str, bool or bytes. description: one line with the unit. required: never null. role: see Role; None where a table has none.
    """

    name: str
    type: ColumnType
    description: str
    required: bool = False
    role: Role | None = None

    def field(self) -> pa.Field:
        """Return the column as pyarrow has it, description and role in its metadata."""
        described = {b"description": self.description.encode()}
        described |= {} if self.role is None else {b"role": self.role.encode()}
        return pa.field(self.name, ARROW_TYPES[self.type], nullable=not self.required, metadata=described)


def _columns(type: ColumnType, required: bool = False, **descriptions: str) -> tuple[Column, ...]:
    return tuple(Column(name, type, description, required) for name, description in descriptions.items())


def _all(role: Role, *columns: Column) -> tuple[Column, ...]:
    return tuple(dataclasses.replace(column, role=role) for column in columns)


IDENTITY: Final = _all(
    "identity",
    Column("schema_version", "int", "version of the columns' meaning", required=True),
    *_columns(
        "str",
        required=True,
        run="name of the run",
        space_hash="hash of the resolved search space",
        trial_id="hash of the resolved configuration, data included; seeds and stage not",
    ),
    Column("seed", "int", "seed of the member: with trial_id it names the row", required=True),
    Column(
        "stage",
        "str",
        f"stage that it was trained for: {', '.join(STAGES)}; {LENT}: for others to take from",
        required=True,
    ),
    Column("arm", "str", "name of the arm", required=True),
    Column("split_seed", "int", "seed of the cut into training, validation and test examples", required=True),
    Column(
        "block",
        "int",
        "number of the block within the stage, from 0 (the placebo's searches: from 500); null in older runs",
    ),
    Column(
        "configuration_id",
        "str",
        "hash of the resolved configuration: the same in all blocks and stages; null in older runs",
    ),
)

CONFIGURATION: Final = _all(
    "setting",
    *_columns(
        "str",
        data="data set and its options",
        model="network and its options",
        loss="loss minimized in training",
        optimizer="optimizer, whose rate is lr",
        schedule="shape of the learning rate over training",
        budget="what ends training, and when",
    ),
    Column("initialization", "str", "how the network's start was drawn; null: as the network does it itself"),
    Column("precision", "str", "fp32, or bf16 or tf32 for training; evaluation and metrics are in fp32"),
    Column("batch_size", "int", "examples per update"),
    *_columns(
        "float",
        lr="peak learning rate",
        eta_over_b="peak learning rate per example of the batch: lr / batch_size",
        momentum="momentum of the optimizer; 0 for none",
        weight_decay="weight decay of the optimizer, per unit of learning rate; 0 for none",
        epochs="passes over the train set in the budget",
    ),
    Column("remedies", "str", "active remedies, comma separated; empty for none"),
    Column("noise_scale", "float", "eta N / (B (1 - momentum)), N training examples, B batch size, eta learning rate"),
)

OUTCOME: Final = _all(
    "outcome",
    Column("status", "str", f"how training ended: {', '.join(STATUSES)}"),
    Column("error", "str", "text of the error; null where there was none"),
    Column("diverged_at_step", "int", "update at which the loss was first not finite, from 0; null unless diverged"),
    Column("stop_reason", "str", "what stopped training before its budget; null unless stopped"),
    Column("unobserved", "str", "what could not be observed of a trained member, and why; null where all could"),
)

QUALITY: Final = _all(
    "outcome",
    *_columns(
        "float",
        train_loss="loss on the clean train set after training, batch-norm statistics recomputed, nats per example",
        train_error="error on the clean train set, fraction; chance level if diverged",
        validation_loss="loss on the validation set, nats per example",
        validation_error="error on the validation set, fraction; chance level if diverged",
        validation_soft_error="mean of 1 - p(target) on the validation set, fraction; null where outputs are no probabilities",
        test_loss="loss on the test set, nats per example",
        test_error="error on the test set, fraction; chance level if diverged",
        test_error_running="error on the test set with the running batch-norm statistics of training, fraction",
        generalization_gap="test_error - train_error, fraction; null if diverged",
        generalization_gap_loss="test_loss - train_loss, nats per example",
        running_train_loss="mean loss of the last epoch's batches as seen in training, nats per example",
        distance_from_start="|w - w_0|, w the weights at the end; null if diverged, and in older runs",
        epoch_path_length="sum over epochs of |w_e - w_(e-1)|, w_e at the end of epoch e; null likewise; see walk.path_length",
    ),
)

COST: Final = _all(
    "cost",
    Column("wall_s", "float", "training time of the member, its share where members train together, s"),
    *_columns(
        "int",
        examples="examples drawn for updates",
        updates="parameter updates made",
        gradient_evaluations="gradient evaluations: mean gradients of a batch",
        peak_memory_bytes="peak memory of the device; of the process on a CPU, bytes",
    ),
)

PROVENANCE: Final = _all(
    "provenance",
    *_columns(
        "str",
        git_commit="commit of tune_lb's code; null outside a repository",
        code="hash of the user's own code that the trial uses; null where it uses none, and in runs begun before; see space.json",
        tune_lb_version="version of tune_lb",
        torch_version="version of torch",
        device="device the member was trained on",
        execution="how steps were executed; results differ between ways by rounding",
    ),
    Column(
        "microbatch", "int", "examples at a time in the network; null for whole batches; results differ by rounding"
    ),
    Column("threads", "int", "threads of one training process; results differ between counts by rounding"),
    Column("finished_at", "str", "when the row was made, ISO 8601, UTC"),
)

MEMBERS: Final = (*IDENTITY, *CONFIGURATION, *OUTCOME, *QUALITY, *COST, *PROVENANCE)
"""The columns that every members table has, whatever the space."""

_MEMBER: Final = (
    Column("trial_id", "str", "trial of the member", required=True),
    Column("seed", "int", "seed of the member", required=True),
)

HISTORY: Final = (
    *_MEMBER,
    Column("step", "int", "updates made", required=True),
    Column("epoch", "float", "passes over the train set made"),
    Column("wall_s", "float", "training time so far, s"),
    Column("name", "str", "what was recorded, a column name of the members table where there is one", required=True),
    Column("value", "float", "its value, in that column's unit"),
)

PREDICTIONS: Final = (
    *_MEMBER,
    Column(
        "predictions",
        "bytes",
        "class of each test example in test order: unsigned 8-bit, or 16-bit little endian above 256 classes",
        required=True,
    ),
)

TARGETS: Final = (
    Column("split_seed", "int", "seed of the cut of the data", required=True),
    Column("targets", "bytes", "true class of each test example, coded as the predictions are", required=True),
    Column("example", "bytes", "index of each test example in the whole data: int32, little endian"),
)


def metric_columns(descriptions: Mapping[str, str], rows: Iterable[Mapping[str, Any]] = ()) -> list[Column]:
    """Return the columns of metrics, whose names and descriptions are known and whose types are not.

    A column has the type of its values in the rows; where it has none, that of its last part (`.converged` is bool,
    `.hvps` int, `.split` str, ...), else float. A trial's file and the run's schema may therefore differ in the type of
    a column that is all null in one of them; tune_lb.results takes the type of the one with values. The role is protocol
    for PROTOCOL_FIELDS, else metric.
    """
    found: dict[str, ColumnType] = {}
    for row in rows:
        for name in descriptions.keys() & row.keys():
            kind = _type_of(row[name])
            if kind is not None and found.get(name) != "float":
                found[name] = kind
    types = {name: found.get(name, PROTOCOL_FIELDS.get(_field_of(name), "float")) for name in descriptions}
    return [
        Column(name, types[name], description, role=_role_of_metric(name)) for name, description in descriptions.items()
    ]


def roles_of(schema: pa.Schema) -> dict[str, Role]:
    """Return the role of every column of a members table.

    It stands in the column's metadata. For files written before roles were it follows from the names: those that every table
    has are known; a metric is whatever has a column `<name>.reason`; the rest are settings.
    """
    known = {column.name: column.role for column in MEMBERS}
    metrics = tuple(name.removesuffix("reason") for name in schema.names if name.endswith(".reason"))
    found: dict[str, Role] = {}
    for field in schema:
        stated: Any = (field.metadata or {}).get(b"role", b"").decode() or known.get(field.name)
        found[field.name] = stated or _role_by_name(field.name, metrics)
    return found


def _role_by_name(name: str, metrics: tuple[str, ...]) -> Role:
    if f"{name}.".startswith(metrics) and metrics:
        return _role_of_metric(name)
    if name == "lr_times_lambda_max":
        return "metric"
    return "cost" if name.startswith("walk.") else "outcome" if "@" in name else "setting"


def _role_of_metric(name: str) -> Role:
    return "protocol" if _field_of(name) in PROTOCOL_FIELDS else "metric"


def _field_of(name: str) -> str:
    return name.rpartition(".")[2] if "." in name else ""


def members_schema(extra: Iterable[Column] = (), error: str | None = None) -> pa.Schema:
    """Return the schema of a members table: MEMBERS, then a space's own columns (remedy fields, metrics) as given.

    error: what errors are, where they are no shares of misclassified examples; their columns say so.

    The same column may be given twice, as two arms with one remedy do. Raises ValueError where two differ.
    """
    columns = {column.name: column for column in MEMBERS}
    for column in extra:
        known = columns.setdefault(column.name, column)
        if known != column:
            raise ValueError(f"results: column {column.name} is declared twice, as {known} and as {column}")
    if error is not None:
        for name in ("train_error", "validation_error", "test_error", "test_error_running", "generalization_gap"):
            text = (
                columns[name]
                .description.replace(", fraction", "")
                .replace("chance level", "that of a constant or of guessing")
            )
            columns[name] = dataclasses.replace(columns[name], description=f"{text} (error: {error})")
    return table_schema("members", columns.values())


def table_schema(table: str, columns: Iterable[Column]) -> pa.Schema:
    """Return the schema of a table with its name and the schema version in the metadata."""
    metadata = {b"tune_lb.table": table.encode(), b"tune_lb.schema_version": str(SCHEMA_VERSION).encode()}
    return pa.schema([column.field() for column in columns], metadata=metadata)


def _type_of(value: Any) -> ColumnType | None:
    if value is None:
        return None
    kinds: tuple[tuple[type, ColumnType], ...] = ((bool, "bool"), (int, "int"), (float, "float"), (str, "str"))
    for kind, name in kinds:
        if isinstance(value, kind):
            return name
    raise ValueError(f"results: a metric returned {value!r}; a metric's values are numbers, texts, booleans or None")
