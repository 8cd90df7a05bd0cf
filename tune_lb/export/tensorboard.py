"""TensorBoard: an event file for each member, with its history, its results and its settings as hyperparameters.

The files are written by tensorboardX, which Ray Tune brings; `pip install tensorboard` shows them. A member is a folder,
ARM.STAGE/TRIAL_ID.SEED, written whole under a hidden name and then renamed: what is there is whole, and is not written again.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tune_lb.export.exported import Exported, finite, series_name


class TensorBoard:
    """Writes members below a folder of this machine."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.written = folder, 0
        for left in folder.glob("*/.*") if folder.is_dir() else ():
            shutil.rmtree(left, ignore_errors=True)

    @property
    def place(self) -> str:
        """Where the event files are."""
        return str(self.folder)

    def write(self, members: Sequence[Exported]) -> None:
        """Write the members whose folders are not there."""
        for member in members:
            final = self.folder / member.group / member.name
            if not final.exists():
                hidden = final.with_name(f".{final.name}.{os.getpid()}")
                _write(member, hidden)
                hidden.rename(final)
                self.written += 1

    def close(self) -> int:
        """Return how many were written: each is whole."""
        return self.written


def _write(member: Exported, folder: Path) -> None:
    from tensorboardX import SummaryWriter
    from tensorboardX.summary import hparams

    with SummaryWriter(str(folder)) as writer:
        for point in member.history:
            writer.add_scalar(series_name(point.name), point.value, point.step, walltime=point.time_s)
        step = int(member.results.get("updates", 0))
        for name, value in member.results.items():
            writer.add_scalar(f"result/{series_name(name)}", value, step, walltime=member.ended_s)
        tags = {f"result/{series_name(name)}": value for name, value in finite(member.results).items()}
        settings = {name: _setting(value) for name, value in member.parameters.items()}
        for summary in hparams(settings, tags):
            writer.file_writer.add_summary(summary)


def _setting(value: Any) -> bool | float | str:
    return value if isinstance(value, bool | float | str) else float(value) if isinstance(value, int) else str(value)
