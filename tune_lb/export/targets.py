"""The programs that members can be written for, by name, and what each needs."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tune_lb.errors import RequestError, nearest
from tune_lb.export.exported import Writer
from tune_lb.results.columns import roles_of
from tune_lb.results.run_files import read_members
from tune_lb.results.storage import Store


class Target(NamedTuple):
    """A program. package: what writing for it needs, in an extra of ours; is_live: whether a search can write for it too."""

    package: str
    extra: str
    is_live: bool


TARGETS: Mapping[str, Target] = {
    "tensorboard": Target("tensorboardX", "tensorboard", True),
    "mlflow": Target("mlflow", "mlflow", True),
    "wandb": Target("wandb", "wandb", True),
    "optuna": Target("optuna", "", False),
    "csv": Target("csv", "", False),
}
LIVE = tuple(name for name, target in TARGETS.items() if target.is_live)
FOLDER = "export"
"""In the folder of a run that lies on this machine, else in the working directory."""


def check_target(name: str) -> None:
    """Raise RequestError where a program is not known, or its package is not there."""
    if name not in TARGETS:
        raise RequestError(f"--to {name}: there is no such target{nearest(name, TARGETS)}")
    target = TARGETS[name]
    if importlib.util.find_spec(target.package) is None:
        raise RequestError(f"{name}: {target.package} is not installed: pip install 'tune_lb[{target.extra}]'")


def folder_of(name: str, store: Store, run: str, out: str | None = None) -> Path:
    """Return the folder of this machine that a program's files are in: out, else in the run's own; export/RUN for one elsewhere."""
    if out is not None:
        return Path(out).expanduser().absolute()
    own = Path(store.location, FOLDER) if store.is_local else Path(FOLDER, run).absolute()
    return own / name


def open_target(name: str, store: Store, run: str, known: Mapping[str, Any], out: str | None = None) -> Writer:
    """Return what writes members for a program. known: the run's space.json. Raises RequestError where that cannot be."""
    check_target(name)
    folder = folder_of(name, store, run, out)
    if name == "tensorboard":
        from tune_lb.export.tensorboard import TensorBoard

        return TensorBoard(folder)
    if name == "mlflow":
        from tune_lb.export.mlflow import MLflow

        return MLflow(folder, run)
    if name == "wandb":
        from tune_lb.export.wandb import WandB

        return WandB(folder, run)
    if name == "optuna":
        from tune_lb.export.optuna import Optuna

        return Optuna(folder, run, known)
    from tune_lb.export.csv import CSV

    schema = read_members(store)[0].schema
    roles = roles_of(schema)
    described = [
        (field.name, roles[field.name], (field.metadata or {}).get(b"description", b"").decode()) for field in schema
    ]
    return CSV(folder, described)
