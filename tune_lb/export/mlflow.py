"""MLflow: a run of MLflow's for each member, in an experiment of the run's name.

Written where MLFLOW_TRACKING_URI says, else into an SQLite file of this machine. A member's run carries its trial_id and seed as
tags; one that is not finished was being written when somebody was killed, is deleted, and written anew.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from tune_lb.export.exported import Exported, Key, finite, plain_name, series_name

TRIAL, SEED = "tune_lb.trial_id", "tune_lb.seed"
BATCH = 1000
"""Most values that MLflow takes in one call."""
PARAMETERS = 100
"""Most parameters that it takes in one call."""
LONGEST = 500
"""Characters of a parameter or tag."""


class MLflow:
    """Writes members into an experiment."""

    def __init__(self, folder: Path, run: str) -> None:
        # nothing is sent but to where it is to go
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        from mlflow.entities import ViewType
        from mlflow.tracking import MlflowClient

        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if not uri:
            folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{folder / 'mlflow.db'}"
        self.place = uri if "@" not in uri else "MLFLOW_TRACKING_URI"
        """The tracking URI; its name where it may hold a password."""
        self.client = MlflowClient(tracking_uri=uri)
        found = self.client.get_experiment_by_name(run)
        artifacts = {"artifact_location": (folder / "artifacts").as_uri()} if uri.startswith("sqlite:") else {}
        self.experiment = found.experiment_id if found is not None else self.client.create_experiment(run, **artifacts)
        self.there: set[Key] = set()
        self.written = 0
        token = None
        while True:
            page = self.client.search_runs(
                [self.experiment], run_view_type=ViewType.ACTIVE_ONLY, max_results=BATCH, page_token=token
            )
            for one in page:
                if one.info.status == "FINISHED" and TRIAL in one.data.tags:
                    self.there.add((one.data.tags[TRIAL], int(one.data.tags[SEED])))
                elif TRIAL in one.data.tags:
                    self.client.delete_run(one.info.run_id)
            token = page.token
            if not token:
                break

    def write(self, members: Sequence[Exported]) -> None:
        """Write the members that have no finished run."""
        for member in members:
            if member.key not in self.there:
                self._write(member)
                self.there.add(member.key)
                self.written += 1

    def close(self) -> int:
        """Return how many were written: each is whole."""
        return self.written

    def _write(self, member: Exported) -> None:
        from mlflow.entities import Metric, Param, RunTag

        row = member.row
        tags = {TRIAL: member.key[0], SEED: str(member.key[1])}
        tags |= {
            name: str(row[name]) for name in ("arm", "stage", "block", "configuration_id") if row.get(name) is not None
        }
        began, ended = int(1000 * member.began_s), int(1000 * member.ended_s)
        name = f"{member.group}/{member.name}"
        run_id = self.client.create_run(self.experiment, start_time=began, tags=tags, run_name=name).info.run_id
        parameters = [Param(_name(key), str(value)[:LONGEST]) for key, value in member.parameters.items()]
        for some in _cut(parameters, PARAMETERS):
            self.client.log_batch(run_id, params=some)
        step = int(member.results.get("updates", 0))
        values = [Metric(_name(key), value, ended, step) for key, value in finite(member.results).items()]
        # a series and a result of one name are two things
        series = [
            Metric(f"history/{_name(point.name)}", point.value, int(1000 * point.time_s), point.step)
            for point in member.history
            if point.value == point.value
        ]
        for some in _cut(values + series, BATCH):
            self.client.log_batch(run_id, metrics=some)
        texts = [RunTag(_name(key), value[:LONGEST]) for key, value in member.texts.items()]
        self.client.log_batch(run_id, tags=texts)
        self.client.set_terminated(run_id, end_time=ended)


def _name(text: str) -> str:
    """Return a name that MLflow takes."""
    return plain_name(series_name(text))


def _cut(values: list[Any], size: int) -> Iterator[list[Any]]:
    left = iter(values)
    while some := list(islice(left, size)):
        yield some
