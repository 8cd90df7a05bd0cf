"""doctor SPACE: what the check of networks, the data and the space say of each arm, before anything is trained."""

from __future__ import annotations

import argparse
from typing import Any

import torch
from rich.table import Table

from tune_lb.cli.asked import asked_space
from tune_lb.cli.output import Output, command
from tune_lb.data.dataset import DataSet
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError
from tune_lb.settings.identity import describe
from tune_lb.space.checks import checked_designs
from tune_lb.space.space import Space
from tune_lb.training.network_check import Finding
from tune_lb.tuning.cost_estimate import dearest, trials_of_cases
from tune_lb.tuning.data_loading import data_notes, load
from tune_lb.tuning.network_findings import named, network_findings


def run(given: argparse.Namespace, out: Output) -> int:
    """Print what was found for each arm of a space; a network that no way is right for is an error, with its arms."""
    _, space = asked_space(given.space, given.overrides, scale=given.scale)
    designs = checked_designs(space)
    data, problems = load(space, designs)
    if data is None:
        raise RequestError(problems)
    cases = trials_of_cases(space, designs)
    trials = dearest(cases)
    firsts = {arm: next(iter(data.of(trial).values())) for arm, trial in trials.items()}
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parts = {id(first): on_device(first, device) for first in firsts.values()}
    on_devices = {arm: parts[id(first)] for arm, first in firsts.items()}
    findings = network_findings(trials, on_devices, cases)
    rows = [{"arm": arm, "model": describe(trials[arm].model), **_said(findings[arm])} for arm in trials]
    loaded = [_standardization(next(iter(sets.values()))) for sets in data.all()]
    shared = {"data": [*loaded, *data_notes(data, designs)], **_of_space(space)}
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for row in rows:
        alike.setdefault(tuple((name, text) for name, text in row.items() if name != "arm" and text), []).append(
            row["arm"]
        )
    for lines, arms in alike.items():
        out.line(named(arms, len(rows)))
        table = Table.grid(padding=(0, 2, 0, 0))
        for name, text in lines:
            table.add_row("  " + name, text)
        out.show(table)
    out.line()
    table = Table.grid(padding=(0, 2, 0, 0))
    for name, texts in shared.items():
        for text in [texts] if isinstance(texts, str) else texts:
            table.add_row(name, text)
    out.show(table)
    out.line()
    out.close({"arms": rows, **shared}, command("search", given.space, *given.overrides, "--dry-run"))
    return 0


def _said(finding: Finding) -> dict[str, Any]:
    compared = str(finding.dtype).removeprefix("torch.")
    return {
        "way": "plain: each member by a network of its own, one at a time"
        if finding.is_plain
        else f"fast: the network is a function of its tensors and inputs (compared in {compared})",
        "why": "; ".join(finding.reasons),
        "random": f"draws from {', '.join(finding.draws)}: seeded for each update" if finding.draws else "",
        "inputs": "written into: each pass is given a copy" if finding.writes_inputs else "",
    }


def _standardization(data: DataSet) -> str:
    sizes = f"{len(data.train.targets):,} train, {len(data.validation.targets):,} validation, {len(data.test.targets):,} test"
    if data.offset == 0.0 and data.scale == 1.0:
        how = "as they are stored"
    else:
        several = isinstance(data.offset, tuple) or isinstance(data.scale, tuple)
        how = f"(x - offset) / scale, {'one for each channel or feature' if several else f'{data.offset:.4g} and {data.scale:.4g}'}"
    return f"{data.name}: {sizes} examples; inputs {how}"


SELECTED_BY = {
    "auto": "validation loss, then loss and soft error",
    "loss": "validation loss",
    "error": "validation error",
}


def _of_space(space: Space) -> dict[str, str]:
    """Return what the space says of errors and of what is measured."""
    metrics = ", ".join(metric.name for metric in space.metrics) or "nothing"
    on = "every member" if space.metrics_on == "all" else f"a member of {space.measured_blocks} confirm blocks"
    found = {"selected by": SELECTED_BY[space.select_by], "measured": f"{metrics} on {on}"}
    if space.crossings:
        limits = ", ".join(f"{limit:g}" for limit in space.crossings)
        found["unasked"] = f"lambda_max where the train loss first falls below {limits} (crossings=none: not)"
    return {"error": "share of wrong classes" if space.error is None else describe(space.error), **found}
