"""Weights & Biases: a run of theirs for each member, grouped by arm, in a project of the run's name (or WANDB_PROJECT).

With WANDB_MODE=offline nothing is sent; `wandb sync` sends it later. The id of a member's run is made from the run's name, trial_id
and seed. Members that are whole stand in written.txt; what was being written when somebody was killed is deleted, and written anew.
"""

from __future__ import annotations

import hashlib
import netrc
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlparse

from tune_lb.errors import RequestError
from tune_lb.export.exported import Exported, finite, series_name


class WandB:
    """Writes members as runs; folder: of this machine, for what Weights & Biases keeps there."""

    def __init__(self, folder: Path, run: str) -> None:
        self.mode = os.environ.get("WANDB_MODE", "online")
        if self.mode == "online" and not _has_key():
            raise RequestError(
                "wandb: there is no key for it: `wandb login`, or WANDB_API_KEY, or WANDB_MODE=offline, which writes files alone"
            )
        self.folder, self.run, self.written = folder, run, 0
        self.project = os.environ.get("WANDB_PROJECT", run)
        self.list = folder / "written.txt"
        self.there = set(self.list.read_text().split()) if self.list.exists() else set()
        for left in (folder / "wandb").glob("*run-*-*"):
            if left.name.rpartition("-")[2] not in self.there:
                shutil.rmtree(left, ignore_errors=True)

    @property
    def place(self) -> str:
        """Project and folder."""
        return f"project {self.project}" if self.mode == "online" else str(self.folder / "wandb")

    def write(self, members: Sequence[Exported]) -> None:
        """Write the members that are not in the list."""
        for member in members:
            name = hashlib.sha256(f"{self.run}/{member.key}".encode()).hexdigest()[:16]
            if name not in self.there:
                self._write(member, name)
                self.there.add(name)
                with self.list.open("a") as file:
                    file.write(f"{name}\n")
                self.written += 1

    def close(self) -> int:
        """Return how many were written: each is whole."""
        return self.written

    def _write(self, member: Exported, name: str) -> None:
        import wandb

        self.folder.mkdir(parents=True, exist_ok=True)
        settings = wandb.Settings(
            silent=True,
            console="off",
            disable_git=True,
            disable_code=True,
            save_code=False,
            # the command line and the environment of the driver are nobody's business
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        )
        with wandb.init(
            project=self.project,
            id=name,
            name=f"{member.group}/{member.name}",
            group=str(member.row["arm"]),
            job_type=str(member.row["stage"]),
            config=dict(member.parameters),
            dir=str(self.folder),
            resume="allow" if self.mode == "online" else None,
            reinit="finish_previous",
            settings=settings,
        ) as own:
            for step, values in sorted(_by_step(member).items()):
                own.log(values, step=step)
            for key, value in {**finite(member.results), **member.texts}.items():
                own.summary[key] = value


def _by_step(member: Exported) -> dict[int, dict[str, float]]:
    found: dict[int, dict[str, float]] = {}
    for point in member.history:
        found.setdefault(point.step, {})[f"history/{series_name(point.name)}"] = point.value
    return found


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
