"""What a figure is asked to show: columns, arms, and what is said where a run has no data for it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis.arrays import FloatArray
from analysis.notation import counted
from analysis.run import Run
from tune_lb.errors import PROGRAM, RequestError, nearest
from tune_lb.inference.effects import paired_t

ERRORS = {"test_error": "test error", "train_error": "train error", "validation_error": "validation error"}
ERRORS |= {"test_error_running": "test error, running batch-norm statistics", "validation_soft_error": "soft error"}
LABELS = {
    "train_loss": "train loss, nats",
    "running_train_loss": "train loss (running), nats",
    "validation_loss": "validation loss, nats",
    "test_loss": "test loss, nats",
    "generalization_gap_loss": "test - train loss, nats",
    "batch_size": "batch size",
    "lr": "learning rate",
    "eta_over_b": "learning rate / batch size",
    "wall_s": "training time, s",
    "updates": "updates",
    "examples": "examples drawn",
    "gradient_evaluations": "gradient evaluations",
    "lambda_max": "$\\lambda_{max}$",
    "keskar.full_1e-3": "Keskar sharpness, $\\epsilon = 10^{-3}$",
    "keskar.full_5e-4": "Keskar sharpness, $\\epsilon = 5 \\cdot 10^{-4}$",
    "walk.distance": "distance from the start",
    "walk.epoch_distance": "distance within the epoch",
    "walk.cosine": "cosine of successive gradients",
    "parameter_norm": "norm of the weights",
    "spectral_norm": "spectral norm of the Hessian",
    "train_mode_spectral_norm": "spectral norm of the Hessian, train-mode BN",
}
METRICS = (
    *("adaptive_sharpness", "anisotropy", "average_sharpness", "batch_lambda_max", "gradient_covariance"),
    *("gradient_noise_scale", "keskar", "lambda_max", "lambda_min", "layer_lambda_max", "margin", "parameter_norm"),
    *("participation_ratio", "sam_sharpness", "spectral_norm", "spectrum", "top_eigenvalues", "trace"),
)
"""Names of tune_lb.metrics, which cannot be imported here: they need torch."""
MOST_TICKS = 9


class Choice(NamedTuple):
    """What is asked of a figure: columns to show, the column that they stand against, arms; empty for the figure's own choice.

    also: further runs, drawn beside the first by the figures that can. target: the error to reach, a fraction.
    """

    y: tuple[str, ...] = ()
    x: str | None = None
    arms: tuple[str, ...] = ()
    also: tuple[Run, ...] = ()
    target: float | None = None


EVERYTHING = Choice()
"""Nothing in particular is asked for."""


class Missing(RequestError):
    """A run has no data for a figure; says what would have to be watched or asked for."""


class Quantity(NamedTuple):
    """A column as figures show it: scaled values with a label. An accuracy is 100 (1 - error) of its error."""

    name: str
    column: str
    label: str
    scale: float = 1.0
    offset: float = 0.0

    @property
    def is_error(self) -> bool:
        """Whether it is an error, an accuracy or a loss on some part: what rises or falls where training gets worse."""
        return self.column in ERRORS or self.column.endswith("_loss")

    def of(self, values: pd.Series) -> pd.Series:
        """The values in the figure's unit; infinite ones are missing."""
        numbers = pd.to_numeric(values, errors="coerce").astype("float64")
        return self.offset + self.scale * numbers.where(np.isfinite(numbers))


def quantity(run: Run, name: str, known: Iterable[str], what: str) -> Quantity:
    """The quantity of that name among known columns. Raises RequestError that names the nearest."""
    known = set(known)
    column = f"{name.removesuffix('_accuracy')}_error" if name.endswith("_accuracy") else name
    if column not in known and column.partition(".")[0] in METRICS:
        raise Missing(f"{what}: no member of run {run.asked.name} has {name}: {how_to_measure(column)}")
    if column not in known:
        raise RequestError(f"{what}: there is no column {name!r}{_nearest(name, known)}")
    share = run.asked.error is None and run.asked.is_share
    if column != name:
        if not share:
            raise RequestError(
                f"{what}: {name} is not defined, for errors are {run.asked.error or 'no shares'}: take {column}"
            )
        return Quantity(name, column, f"{ERRORS[column].replace('error', 'accuracy')}, %", -100.0, 100.0)
    if column in ERRORS:
        label = ERRORS[column]
        return (
            Quantity(name, column, f"{label}, %", 100.0)
            if share
            else Quantity(name, column, f"{label} ({run.asked.error})")
        )
    if column == "generalization_gap" and share:
        return Quantity(name, column, "generalization gap, points", 100.0)
    return Quantity(name, column, LABELS.get(column, column))


def how_to_measure(column: str) -> str:
    """What a space must say for a column to be measured."""
    metric = column.partition(".")[0]
    return f'write Space(metrics=("{metric}", ...)) or run `{PROGRAM} measure NAME --metric {metric}`'


def _nearest(name: str, known: set[str]) -> str:
    said = nearest(name, known)
    # a list of a hundred columns helps nobody
    return said if "did you mean" in said or len(known) <= 20 else "; docs/columns.md lists the columns"


def chosen(run: Run, rows: pd.DataFrame, choice: Choice) -> pd.DataFrame:
    """The rows of the arms that are asked for, all without. Raises RequestError for an arm that the run does not have."""
    arms = [arm.name for arm in run.asked.arms] or sorted(set(rows["arm"]))
    for name in choice.arms:
        if name not in arms:
            raise RequestError(f"--arms: run {run.asked.name} has no arm {name!r}{nearest(name, arms)}")
    return rows[rows["arm"].isin(choice.arms)] if choice.arms else rows


def confirmed(run: Run, choice: Choice, figure: str) -> pd.DataFrame:
    """The confirmed members of the arms that are asked for. Raises Missing where there are none."""
    rows = chosen(run, run.confirmed, choice)
    if rows.empty:
        raise Missing(f"figure {figure}: run {run.asked.name} has no confirmed members yet: let the search go on")
    return rows


def numeric_columns(table: pd.DataFrame) -> list[str]:
    """The columns of a table with numbers in them."""
    return [
        str(name)
        for name in table.columns
        if pd.api.types.is_numeric_dtype(table[name])
        and not pd.api.types.is_bool_dtype(table[name])
        and table[name].notna().any()
    ]


def blocks_of(rows: pd.DataFrame) -> pd.Series:
    """What is independent among members: blocks; in a run of the old design each split and seed."""
    if "block" in rows and rows["block"].notna().all():
        return rows["block"].astype("int64")
    return rows.groupby(["split_seed", "seed"]).ngroup()


class Mean(NamedTuple):
    """Mean of a value over blocks of means over seeds, Student's 95 % interval over blocks (nan below two), members."""

    mean: float
    low: float
    high: float
    n: int


def mean_of(values: pd.Series, blocks: pd.Series) -> Mean:
    """The mean of members' values; missing ones are left out."""
    known = values.notna()
    of_blocks: FloatArray = values[known].groupby(blocks[known]).mean().to_numpy(np.float64)
    effect = paired_t(of_blocks)
    return Mean(effect.estimate, effect.low, effect.high, int(known.sum()))


def said_n(numbers: Sequence[int], of: str = "a point") -> str:
    """How many members a point (a bar, a cell) stands for: "n = 3 members a point", "n = 1 to 3 members a point"."""
    low, high = (min(numbers), max(numbers)) if len(numbers) else (0, 0)
    return f"n = {counted(high, 'member')} {of}" if low == high else f"n = {low} to {counted(high, 'member')} {of}"
