"""A card for every remedy and metric, and the tables of all of them."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from making.markdown import (
    LABELS,
    blocks,
    code,
    default,
    escaped,
    first_sentence,
    linked,
    page,
    pieces,
    table,
    type_text,
)
from tune_lb import measure
from tune_lb.cli.remedies import described, other_classes
from tune_lb.metrics.metric import SHARED_COLUMNS, Metric
from tune_lb.results.columns import Column, metric_columns
from tune_lb.training.remedy import Nesting, Remedy

ROOT = Path(__file__).resolve().parents[2]
SPACE = "search_spaces/remedies.py"
"""The space with an arm for every remedy: the examples of the cards."""

WIDTH = 120
"""Of a line of code."""

HOOKS = (
    *("network", "model", "batch", "batch_size", "loss", "gradient", "update", "step", "peak_rate", "schedule"),
    *("draws", "replicated", "merged", "initial_state", "after_step", "evaluated", "alternatives"),
)
REFUSALS = ("conflicts", "length_problems", "input_problems", "microbatch_problems")
NEUTRAL = "With the defaults it is neutral: it is left out, and the training is that without it to the last bit."


def classes(package: str) -> dict[str, Any]:
    """Return what the face of a package offers by the name of the class, in the order of the columns' names."""
    face = importlib.import_module(package)
    return dict(sorted(((name, getattr(face, name)) for name in face.__all__), key=lambda item: item[1].name))


def _file_of(kind: Any) -> str:
    return Path(inspect.getfile(kind)).resolve().relative_to(ROOT).as_posix()


def _heading(name: str, kind: Any) -> list[str]:
    file = _file_of(kind)
    return [
        f"# {escaped(first_sentence(inspect.getmodule(kind)).rstrip('.'))}",
        f"`{name}` in [{file}](../../{file}), with the name `{kind.name}`.",
        escaped(first_sentence(kind)),
    ]


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:].rstrip(".")


def examples() -> dict[str, str]:
    """Return by the name of the class the first arm of SPACE that is one remedy."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse((ROOT / SPACE).read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Arm":
            parts = [
                part.func.id for part in node.args if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)
            ]
            if len(parts) == 1:
                found.setdefault(parts[0], _wrapped(node))
    return found


def _wrapped(call: ast.Call) -> str:
    """Return a call as the formatter would write it."""
    parts = [*map(ast.unparse, call.args), *(f"{part.arg}={ast.unparse(part.value)}" for part in call.keywords)]
    parts = [part.replace("'", '"') for part in parts]
    name, whole = ast.unparse(call.func), ", ".join(parts)
    if len(f"{name}({whole})") <= WIDTH:
        return f"{name}({whole})"
    inner = [whole] if len(f"    {whole}") <= WIDTH else [f"{part}," for part in parts]
    return "\n".join([f"{name}(", *(f"    {line}" for line in inner), ")"])


def remedy_card(name: str, kind: type[Remedy], example: str, links: Mapping[str, str]) -> str:
    """Return the card of a remedy. example: an Arm with it. links: pages of other remedies by their names."""
    fields = [field.name for field in dataclasses.fields(kind)]
    parts = pieces(inspect.getdoc(kind) or "", fields)
    on_fields = [piece for piece in parts if piece.label and piece.label not in LABELS]
    said = [f"* `{piece.label}`: {linked(escaped(piece.text), links)}" for piece in on_fields]
    alternatives = [f"`test_error@{other}`" for other in kind().alternative_names()]
    imports = ["from tune_lb import Arm, over" if "over(" in example else "from tune_lb import Arm"]
    imports += [f"from tune_lb.remedies import {name}"]
    imports += [f"from tune_lb.schedules import {found}" for found in re.findall(r"schedule=(\w+)\(", example)]
    return page(
        _file_of(kind),
        *_heading(name, kind),
        *blocks([piece for piece in parts if piece not in on_fields], links),
        f"**Neutral**: {escaped(_neutral(kind))}" if not any(piece.label == "Neutral" for piece in parts) else "",
        "## Fields and columns",
        _remedy_fields(kind),
        "\n".join(said),
        NEUTRAL,
        f"Evaluated beside it: {', '.join(alternatives)}, with the loss, and the same on the other parts of the data."
        if alternatives
        else "",
        "## Use",
        "```python\n" + "\n".join([*imports, "", example]) + "\n```",
        f"An arm of [{SPACE}](../../{SPACE}).",
        "## How it acts",
        *_how_it_acts(kind),
    )


def _neutral(kind: type[Remedy]) -> str:
    return first_sentence(kind.is_neutral) if "is_neutral" in vars(kind) else "with the defaults of all fields."


def _remedy_fields(kind: type[Remedy]) -> str:
    hints = typing.get_type_hints(kind)
    rows = []
    for field in dataclasses.fields(kind):
        of, suggested = field.metadata, field.metadata.get("suggested")
        what = escaped(of["description"], cell=True)
        column = code(f"{kind.name}.{field.name}")
        range_ = "" if suggested is None else code(suggested)
        rows.append([column, code(type_text(hints[field.name])), default(field.default), _allowed(of), range_, what])
    return table(("column", "type", "default", "allowed", "a range to begin with", "what"), rows)


def _allowed(metadata: Mapping[str, Any]) -> str:
    if metadata.get("one_of"):
        return " or ".join(code(repr(choice)) for choice in metadata["one_of"])
    signs = {"low": ">=", "above": ">", "high": "<=", "below": "<"}
    return ", ".join(f"{sign} {metadata[key]:g}" for key, sign in signs.items() if metadata.get(key) is not None)


def _how_it_acts(kind: type[Remedy]) -> list[str]:
    own = [hook for hook in HOOKS if getattr(kind, hook) is not getattr(Remedy, hook)]
    point = "chooses the points at which gradients are taken: an arm can have one such remedy"
    acts = f"Its gradient hook {point if kind.nesting is Nesting.POINT else 'changes the mean gradient of the step, once'}."
    evaluations = f"{kind().gradient_evaluations():g}"
    if "gradient_evaluations" in vars(kind):
        evaluations += f" with the defaults ({escaped(_lowered(first_sentence(kind.gradient_evaluations)))})"
    refusals = [
        first_sentence(getattr(kind, hook)) for hook in REFUSALS if getattr(kind, hook) is not getattr(Remedy, hook)
    ]
    refusals = [text[7].upper() + text[8:] if text.startswith("Refuse ") else text for text in refusals]
    refusals += [f"{other}: {reason}." for other, reason in sorted(kind.excludes.items())]
    if kind.differentiates_gradients:
        refusals.append('precision="bf16" and "tf32": it takes small differences of gradients.')
    return [
        table(
            ("hook", "what it does"),
            [[code(hook), escaped(first_sentence(getattr(kind, hook)), cell=True)] for hook in own],
        ),
        acts if "gradient" in own else "",
        f"Mean gradients per update: {evaluations}.",
        "What is refused with it before anything starts:\n\n" + "\n".join(f"* {escaped(line)}" for line in refusals)
        if refusals
        else "",
    ]


def remedies_index(kinds: Mapping[str, type[Remedy]]) -> str:
    """Return the table of all remedies, and of what is one but stands in another field of an arm."""
    rows = []
    for name, kind in kinds.items():
        fields = ", ".join(code(field.name) for field in dataclasses.fields(kind))
        what, evaluations = escaped(first_sentence(kind), cell=True), f"{kind().gradient_evaluations():g}"
        rows.append([f"[{kind.name}]({kind.name}.md)", code(name), what, fields, evaluations])
    others = []
    for of in map(described, other_classes()):
        package, _, name = of["class"].rpartition(".")
        home = ".".join(package.split(".")[:2])
        what, source = (escaped(of[key], cell=True) for key in ("summary", "source"))
        others.append([code(f"from {home} import {name}"), code(of["place"]), what, source])
    return page(
        "tune_lb/remedies/",
        "# Remedies",
        f"{len(rows)} remedies, one file each; `from tune_lb.remedies import SAM`. A column is the name and the field, as "
        "`sam.rho`. Gradients are those per update with the defaults.",
        table(("name", "class", "what it does", "fields", "gradients"), rows),
        "What is a remedy too, but stands in another field of an arm:",
        table(("class", "field", "what it is", "source"), others),
        "One of your own: [own.md](../own.md#remedies).",
    )


def metric_rows(kinds: Mapping[str, Any]) -> dict[str, list[Column]]:
    """Return the columns of every metric at its defaults; the types are those of the values it gives on a small network."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(6, 10), torch.nn.Tanh(), torch.nn.Linear(10, 4))
        inputs, targets = torch.randn(600, 6), torch.randint(4, (600,))
    loss = torch.nn.CrossEntropyLoss()
    return {
        name: metric_columns(kind().columns(), [measure(net, loss, inputs, targets, metrics=kind())])
        for name, kind in kinds.items()
    }


def metric_card(name: str, kind: Any, columns: Sequence[Column], links: Mapping[str, str]) -> str:
    """Return the card of a metric. columns: those of its defaults. links: pages of other metrics by their names."""
    hints = typing.get_type_hints(kind)
    parts = pieces(inspect.getdoc(kind) or "", [field.name for field in dataclasses.fields(kind)])
    on_fields = [piece for piece in parts if piece.label and piece.label not in LABELS]
    said = {field: piece.text.rstrip(".") for piece in on_fields for field in piece.label.split(", ")}
    rows = []
    for field in dataclasses.fields(kind):
        what = re.sub(r"\bsee Metric\b", _lowered(first_sentence(Metric.max_samples)), said.get(field.name, ""))
        cells = code(type_text(hints[field.name])), default(field.default), linked(escaped(what, cell=True), links)
        rows.append([code(field.name), *cells])
    main = [column for column in columns if column.role == "metric"]
    shared = [column for column in columns if column.name.removeprefix(f"{kind.name}.") in SHARED_COLUMNS]
    own = [column for column in columns if column not in main and column not in shared]
    return page(
        _file_of(kind),
        *_heading(name, kind),
        *blocks([piece for piece in parts if piece not in on_fields], links),
        "## Fields",
        table(("field", "type", "default", "what"), rows),
        "## Columns",
        "With the defaults; other values of the fields may make other columns.",
        column_table([*main, *own, *shared]),
        "## Use",
        f"```python\nfrom tune_lb.metrics import {name}\n\nMETRICS = ({name}(),)  # of a space: Space(metrics=METRICS)\n```",
        f"    tune-lb measure RUN --metric {kind.name}",
        f'Of any network: `tune_lb.measure(model, loss, inputs, targets, metrics="{kind.name}")`.',
    )


def column_table(columns: Iterable[Column], *, role: bool = True) -> str:
    """Return columns as a table."""
    rows = []
    for column in columns:
        of_role = (column.role or "",) if role else ()
        rows.append([code(column.name), column.type, *of_role, escaped(column.description, cell=True)])
    return table(("column", "type", *(("role",) if role else ()), "what"), rows)


def metrics_index(kinds: Mapping[str, Any], columns: Mapping[str, Sequence[Column]]) -> str:
    """Return the table of all metrics."""
    rows = []
    for name, kind in kinds.items():
        values = ", ".join(code(column.name) for column in columns[name] if column.role == "metric")
        fields = ", ".join(code(field.name) for field in dataclasses.fields(kind))
        rows.append(
            [f"[{kind.name}]({kind.name}.md)", code(name), escaped(first_sentence(kind), cell=True), values, fields]
        )
    return page(
        "tune_lb/metrics/",
        "# Metrics",
        f"{len(rows)} metrics, one file each; `from tune_lb.metrics import LambdaMax`. Each has its protocol in columns beside its "
        "values. Values are those of the defaults.",
        table(("name", "class", "what is measured", "values", "fields"), rows),
        "One of your own: [own.md](../own.md#metrics).",
    )
