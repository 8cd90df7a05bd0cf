"""train: one member of one arm in this process, without Ray and without files."""

from __future__ import annotations

import argparse
from typing import Any

import torch

from tune_lb.cli.asked import asked_space
from tune_lb.cli.output import Output, command, number
from tune_lb.data.device import on_device
from tune_lb.errors import RequestError, nearest, user_code
from tune_lb.observation.observer import train_arm
from tune_lb.settings.active import active
from tune_lb.settings.identity import describe
from tune_lb.space.checks import checked_designs
from tune_lb.space.designs import ArmDesign
from tune_lb.training.data_checks import check_against_data
from tune_lb.training.members import HistoryRow
from tune_lb.training.phased_training import begun
from tune_lb.training.taking import taken_by
from tune_lb.training.trial import Trial
from tune_lb.tuning.network_findings import finding_notes, network_findings

SHOWN = (
    *("status", "train_loss", "train_error", "validation_error", "test_loss", "test_error", "generalization_gap"),
    *("updates", "gradient_evaluations", "wall_s", "diverged_at_step"),
)


def run(given: argparse.Namespace, out: Output) -> int:
    """Train the member, one line per epoch, and print its row."""
    _, space = asked_space(given.space, given.overrides, scale=given.scale)
    designs = {design.name: design for design in checked_designs(space)}
    if given.arm not in designs:
        raise RequestError(f"space {given.space} has no arm {given.arm!r}{nearest(given.arm, designs)}")
    trial, chosen = middle(designs[given.arm])
    taken = taken_by(trial)
    if taken:
        raise RequestError(
            f"arm {given.arm!r} takes weights of arm {taken[0].arm!r}, which a search trains before it: use search, or --smoke"
        )
    with user_code(f"data {describe(trial.data)}", made_by=trial.data.load):
        data = trial.data.load(0)
    where = f"arm {given.arm!r}"
    with user_code(where, made_by=trial.model):
        problems = check_against_data(trial, data)
    if problems:
        raise RequestError(problems)
    for name, value in chosen.items():
        out.line(f"{name} = {number(value)}: the middle of its range; fix it by {name}=VALUE")
    parts = on_device(data, "cuda" if torch.cuda.is_available() else "cpu")
    findings = network_findings({given.arm: trial}, {given.arm: parts})
    for note in finding_notes(findings):
        out.line(note)
    way = "plain" if findings[given.arm].is_plain else "alone"
    lines = Lines(out)
    with user_code(where, made_by=trial.model):
        training = begun(trial, [given.seed], parts, execution=way, microbatch=space.microbatch)
        row = dict(train_arm(training, space.metrics, lines, space.walk, space.watch))
    lines.end()
    out.line()
    metrics = [
        name for metric in space.metrics for name in metric.columns() if name.count(".") < 1 or name == metric.name
    ]
    for name in dict.fromkeys([*SHOWN, *metrics]):
        if row.get(name) is not None:
            out.line(f"{name:<22} {number(row[name])}")
    out.line()
    out.close({"row": row}, command("search", given.space, *given.overrides, "--dry-run"))
    return 0


def middle(design: ArmDesign) -> tuple[Trial, dict[str, Any]]:
    """Return the arm's trial with every searched field in the middle of its domain, and those values."""
    values = active(design.dimensions, {name: domain.at(0.5) for name, domain in design.dimensions.items()})
    return design.template.resolved(values), values


class Lines:
    """Prints the history of a training, one line per observed epoch."""

    def __init__(self, out: Output) -> None:
        self.out, self.step = out, -1
        self.seen: dict[str, float] = {}
        self.epoch = 0.0

    def __call__(self, row: HistoryRow) -> None:
        """Take in one observation; a new step ends the line of the last."""
        if row.step != self.step:
            self.end()
        self.step, self.epoch = row.step, row.epoch
        self.seen[row.name] = row.value

    def end(self) -> None:
        """Print what was seen since the last line."""
        if self.seen:
            values = "  ".join(f"{name} {value:.4g}" for name, value in self.seen.items())
            self.out.line(f"epoch {self.epoch:>6.4g}  step {self.step:>6,}  {values}")
        self.seen = {}
