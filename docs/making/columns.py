"""The table of all columns: of members, history, predictions, landscapes, and of the frames that the analysis makes."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import analysis
from analysis.frames import Frames
from analysis.table_columns import ARMS, SUFFIXES, describe
from making.cards import column_table
from making.markdown import code, escaped, page, table
from tune_lb.metrics.metric import SHARED_COLUMNS
from tune_lb.observation.landscape import LANDSCAPE
from tune_lb.observation.walk_losses import PROTOCOL_COLUMNS
from tune_lb.observation.walker import WALK_COLUMNS
from tune_lb.optimizers import Group
from tune_lb.results.columns import HISTORY, MEMBERS, PREDICTIONS, TARGETS, Column, members_schema, roles_of
from tune_lb.results.merger import HISTORY_SCHEMA
from tune_lb.settings.setting import HOLDS_PARTS, Settings, column_type
from tune_lb.settings.setting import described as fields_of
from tune_lb.space.halving import Halving
from tune_lb.training.remedy import Remedy
from tune_lb.training.trial import column_name
from tune_lb.tuning.stopping import stopping_columns

BEGUN: Any = {
    "procedure": "blocks",
    "baseline": "small_batch",
    "reference": "large_batch",
    "arms": [{"name": "small_batch", "role": "baseline"}, {"name": "large_batch", "role": "reference"}],
}
"""A run that has just begun: its frames say which columns the analysis makes."""

PARTS = {
    "optimizers": "optimizer",
    "schedules": "schedule",
    "budgets": "budget",
    "data": "data",
    "models": "model",
    "losses": "loss",
}
"""Packages whose settings stand in a field of a trial, and the name of that field."""

ROLES = {
    "identity": "which row it is",
    "setting": "what was chosen",
    "outcome": "how training ended, and how well",
    "metric": "what was measured",
    "protocol": "how it was measured",
    "cost": "what was spent",
    "provenance": "which code made the row, and where",
}
Links = dict[str, str]


def columns_page(
    remedies: Mapping[str, type[Remedy]], metrics: Mapping[str, Any], of_metrics: Mapping[str, Sequence[Column]]
) -> str:
    """Return the page. of_metrics: the columns of each metric."""
    more = {
        "setting": _settings(remedies),
        "outcome": [*_other_weights(remedies), *_stopping()],
        "metric": _values(metrics, of_metrics),
        "protocol": _protocol(metrics, of_metrics),
        "cost": _walk(),
    }
    members = []
    for role, meaning in ROLES.items():
        own = [column for column in MEMBERS if column.role == role]
        members += [f"### {role}: {meaning}", column_table(own, role=False) if own else "", *more.get(role, ())]
    return page(
        "the schemas in tune_lb/results/, the fields of tune_lb and the frames of analysis/",
        "# Columns",
        "Errors are fractions in [0, 1], losses nats per example, times seconds. A column that is not an identity may be null: not "
        "measured, or not defined for that member. Descriptions and roles also stand in the metadata of the Parquet files.",
        "## Members: `results/members.parquet`",
        "One row per training run; the key is (`trial_id`, `seed`). The headings are the roles.",
        *members,
        "## History: `history/`",
        "One value per row: `running_train_loss` and `lr` at the end of every epoch; for the members that are looked at also "
        "`train_loss`, `train_error`, `validation_loss`, `validation_error`, what a watch or a walk of the space observes, and "
        "`lambda_max@0.3`, `@0.1`, `@0.03`, `@0.01`: lambda_max when the train loss first fell below that many nats.",
        column_table(HISTORY, role=False),
        "## Predictions: `predictions/`",
        column_table(PREDICTIONS, role=False),
        "The true classes, `predictions/targets.parquet`:",
        column_table(TARGETS, role=False),
        *_frames(),
        "## Landscapes: `landscapes/`",
        "One row per point that `tune-lb landscape` measured.",
        column_table(map(_column, LANDSCAPE), role=False),
    )


def _settings(remedies: Mapping[str, type[Remedy]]) -> list[str]:
    rows = [
        [
            code(f"{kind.name}.{field}"),
            column_type(types),
            escaped(of["description"], cell=True),
            _card("remedies", name, kind),
        ]
        for name, kind in remedies.items()
        for field, _, types, of in fields_of(kind())
    ]
    return [
        "Fields of remedies, where an arm of the run has the remedy; null in the rows of other arms:",
        table(("column", "type", "what", "remedy"), rows),
        "Fields of the other parts, where an arm of the run has the part. Yours are named likewise, and those of phases "
        "are `phase1.epochs` and so on, those of further groups of parameters `group2.rate`:",
        table(("column", "type", "what", "of"), _part_fields()),
    ]


def _part_fields() -> list[list[str]]:
    known = {column.name for column in MEMBERS}
    found: dict[str, tuple[str, str, list[str]]] = {}
    for package, prefix in PARTS.items():
        face = importlib.import_module(f"tune_lb.{package}")
        kinds = {name: getattr(face, name) for name in sorted(dir(face))}
        for name, kind in kinds.items():
            if not (isinstance(kind, type) and issubclass(kind, Settings)):
                continue
            first = "initialization" if _is_start(kind) else "group1" if kind is Group else prefix
            for field in dataclasses.fields(kind):
                column = column_name(first, field.name)
                if column not in known and not field.metadata.get(HOLDS_PARTS):
                    hint = typing.get_type_hints(kind)[field.name]
                    kinds_of = typing.get_args(hint) if typing.get_origin(hint) not in (None, tuple) else (hint,)
                    text = field.metadata.get("description") or field.name
                    found.setdefault(column, (column_type(kinds_of), text, []))[2].append(name)
    return [
        [code(column), kind, escaped(text, cell=True), ", ".join(map(code, names))]
        for column, (kind, text, names) in sorted(found.items())
    ]


def _is_start(kind: type[Settings]) -> bool:
    """Say whether it draws a network's weights: it is called with the network, a model with shapes."""
    call = vars(kind).get("__call__")
    return call is not None and "module" in inspect.signature(call).parameters


def _other_weights(remedies: Mapping[str, type[Remedy]]) -> list[str]:
    names = sorted({f"@{other}" for kind in remedies.values() for other in kind().alternative_names()})
    having = [_card("remedies", name, kind) for name, kind in remedies.items() if kind().alternative_names()]
    return [
        f"With {', '.join(having)}, which evaluate an average of the weights, losses and errors of other weights stand beside: "
        f"`test_error{names[0]}` is that of the last ones, others are those of further averages.",
    ]


def _stopping() -> list[str]:
    columns = stopping_columns(Halving())
    return [
        "Where the space stops configurations early; here with one look, others are `look2`, ...:",
        column_table(columns, role=False),
    ]


def _values(metrics: Mapping[str, Any], of_metrics: Mapping[str, Sequence[Column]]) -> list[str]:
    rows = [
        [code(column.name), column.type, escaped(column.description, cell=True), _card("metrics", name, metrics[name])]
        for name, columns in of_metrics.items()
        for column in columns
        if column.role == "metric"
    ]
    product = "peak learning rate times lambda_max; 2 is gradient descent's edge of stability"
    rows.append([code("lr_times_lambda_max"), "float", product, _card("metrics", "LambdaMax", metrics["LambdaMax"])])
    return [
        "Of the metrics that the space names, and of those measured afterwards; here with their defaults:",
        table(("column", "type", "what", "metric"), rows),
    ]


def _protocol(metrics: Mapping[str, Any], of_metrics: Mapping[str, Sequence[Column]]) -> list[str]:
    types = {column.name.partition(".")[2]: column.type for column in of_metrics["LambdaMax"]}
    shared = [
        [code(f"<metric>.{name}"), types[name], escaped(text, cell=True)] for name, text in SHARED_COLUMNS.items()
    ]
    own = [
        [code(column.name), column.type, escaped(column.description, cell=True), _card("metrics", name, metrics[name])]
        for name, columns in of_metrics.items()
        for column in columns
        if column.role == "protocol" and column.name.removeprefix(f"{metrics[name].name}.") not in SHARED_COLUMNS
    ]
    return [
        "Every metric has these:",
        table(("column", "type", "what"), shared),
        "and of its own, with the defaults:",
        table(("column", "type", "what", "metric"), own),
    ]


def _walk() -> list[str]:
    columns = [Column(name, "float" if name.endswith("_s") else "int", text) for name, text in WALK_COLUMNS.items()]
    columns += [Column(n, "str" if n == "walk.batch_norm" else "int", text) for n, text in PROTOCOL_COLUMNS.items()]
    return ["Where the space has a walk:", column_table(columns, role=False)]


def _frames() -> list[str]:
    schema = members_schema()
    known = {column.name: column.description for column in MEMBERS}
    history = HISTORY_SCHEMA.empty_table().to_pandas()
    frames = Frames(BEGUN, schema.empty_table().to_pandas(), history, known, roles_of(schema))
    results = analysis.Results(frames)
    arms = [
        column
        for column in map(str, results.arms.columns)
        if column in ARMS or column == "arm" or not (column in known or _stem(column) in known) or _has_bounds(column)
    ]
    configurations = [
        name for name in map(str, results.configurations.columns) if name == "stage" or _stem(name) not in known
    ]
    endings = "; ".join(f"`{suffix}`: {text} the column before it" for suffix, text in SUFFIXES.items())
    return [
        "## The frame of arms: `analysis.load(RUN).arms`",
        "One row per arm. Beside these columns it has the losses, errors, metrics and costs of the members by their names: means "
        f"over confirm blocks of means over their seeds. `total_<cost>` is the sum over all stages. Endings: {endings}.",
        _frame(results.arms, arms, known),
        "## The frame of configurations: `analysis.load(RUN).configurations`",
        "One row per configuration that was tried. Beside these columns it has the settings, losses, errors, metrics and costs of "
        "its members under their names, likewise.",
        _frame(results.configurations, configurations, known),
    ]


def _stem(name: str) -> str:
    for suffix in SUFFIXES:
        name = name.removesuffix(suffix)
    return name.removeprefix("total_")


def _has_bounds(name: str) -> bool:
    return _stem(name) in ARMS and not name.endswith("_std")


def _frame(frame: Any, names: Sequence[str], known: Mapping[str, str]) -> str:
    kinds = {"f": "float", "i": "int", "b": "bool"}
    columns = []
    for name in names:
        kind: Any = "bool" if str(frame[name].dtype) == "boolean" else kinds.get(frame[name].dtype.kind, "str")
        columns.append(Column(name, kind, describe(name, known)))
    return column_table(columns, role=False)


def _column(field: Any) -> Column:
    kinds: dict[str, Any] = {"double": "float", "int64": "int", "string": "str", "bool": "bool", "binary": "bytes"}
    return Column(field.name, kinds[str(field.type)], field.metadata[b"description"].decode())


def _card(folder: str, name: str, kind: Any) -> str:
    return f"[{name}]({folder}/{kind.name}.md)"
