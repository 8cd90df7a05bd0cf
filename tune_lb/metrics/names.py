"""Metrics by name: what `measure` and the command line are given as text."""

from __future__ import annotations

import ast
import dataclasses
import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import tune_lb.metrics
from tune_lb.errors import RequestError, nearest

if TYPE_CHECKING:
    from tune_lb.metrics.metric import Metric


@functools.cache
def metric_kinds() -> dict[str, type[Metric]]:
    """Return every metric of tune_lb.metrics by its name."""
    offered = [getattr(tune_lb.metrics, name) for name in tune_lb.metrics.__all__]
    return {kind.name: kind for kind in sorted(offered, key=lambda kind: str(kind.name))}


def as_metrics(given: str | Metric | Iterable[str | Metric]) -> tuple[Metric, ...]:
    """Return metrics given as instances or as text: "lambda_max", or "lambda_max(tolerance=1e-4)" for other settings.

    Raises RequestError with every name and setting that there is not, and for a metric given twice.
    """
    if isinstance(given, str) or hasattr(given, "measure"):
        entries: list[Any] = [given]
    elif isinstance(given, Iterable):
        entries = list(given)
    else:
        raise RequestError(f"metrics = {given!r}: give names or instances")
    found: list[Metric] = []
    problems: list[str] = []
    for entry in entries:
        try:
            found.append(_from_text(entry) if isinstance(entry, str) else _checked(entry))
        except RequestError as error:
            problems += error.problems
    names = [metric.name for metric in found]
    problems += [f"metric {name} is given twice" for name in sorted({n for n in names if names.count(n) > 1})]
    if not entries:
        problems.append(f"no metric is given; known: {', '.join(metric_kinds())}")
    if problems:
        raise RequestError(problems)
    return tuple(found)


def known_metrics(entries: Iterable[Any]) -> tuple[Any, ...]:
    """Return the entries with the metric in place of every text that stands for one; the others as they are."""

    def known(entry: Any) -> Any:
        try:
            return _from_text(entry) if isinstance(entry, str) else entry
        except RequestError:
            return entry

    return tuple(map(known, entries))


def _checked(entry: Metric) -> Metric:
    if isinstance(entry, type) or not hasattr(entry, "measure") or not hasattr(entry, "columns"):
        raise RequestError(f"metric {entry!r}: give a name or an instance, as in LambdaMax()")
    return entry


def _from_text(text: str) -> Metric:
    name, bracket, _ = text.partition("(")
    kinds = metric_kinds()
    if name.strip() not in kinds:
        raise RequestError(f"there is no metric {name.strip()!r}{nearest(name.strip(), kinds)}")
    kind: Any = kinds[name.strip()]
    settings = _settings(text) if bracket else {}
    known = [field.name for field in dataclasses.fields(kind)]
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise RequestError([f"metric {name.strip()} has no setting {key!r}{nearest(key, known)}" for key in unknown])
    built: Metric = kind(**settings)
    return built


def _settings(text: str) -> dict[str, Any]:
    """Return the keyword arguments of a call written as text, whose values are Python literals."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if isinstance(call, ast.Call) and not call.args and all(keyword.arg for keyword in call.keywords):
            return {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
    except (SyntaxError, ValueError):
        pass
    raise RequestError(f"metric {text!r}: write NAME or NAME(setting=value, ...), as in lambda_max(tolerance=1e-4)")
