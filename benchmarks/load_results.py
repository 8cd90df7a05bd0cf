"""How long a run of 10,000 members takes to read and to compare, beside Ray's ResultGrid.get_dataframe."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent.parent))

from analysis import load
from tests.analysis.fabrication import Arm, Procedure, fabricate
from tests.analysis.old_design.fabrication import COLUMNS
from tune_lb.results.columns import members_schema
from tune_lb.results.merger import HISTORY_SCHEMA
from tune_lb.results.run_files import write_space
from tune_lb.results.storage import Store

NUM_ARMS, NUM_CONFIRM = 20, 400
"""Arms of 24 points, 3 candidates in 25 blocks and 400 confirm members: 500 members each, but for a point more or less."""


def made(folder: str, rows_a_member: int) -> int:
    """Write a run as its merged files; return its number of members."""
    arms = {"small_batch": Arm(0.03, "baseline", 20), "large_batch": Arm(0.05, "reference")}
    arms |= {f"remedy_{i}": Arm(0.04 + 0.001 * i, remedies=(f"remedy_{i}",)) for i in range(NUM_ARMS - 2)}
    frames = fabricate(arms, Procedure(25, 3, 25, NUM_CONFIRM, 1, 8))
    store = Store(folder)
    write_space(store, frames.space)
    schema = members_schema(COLUMNS)
    members = frames.members.reindex(columns=schema.names)
    table = pa.Table.from_pylist(
        [{k: v for k, v in row.items() if v is not None and v == v} for row in members.to_dict("records")],
        schema=schema,
    )
    Path(folder, "results").mkdir(parents=True)
    pq.write_table(table, Path(folder, "results", "members.parquet"), compression="zstd")
    keys = members[["trial_id", "seed"]].loc[members.index.repeat(rows_a_member)].reset_index(drop=True)
    step = np.tile(np.arange(1, rows_a_member + 1), len(members))
    name = np.where(step % 2, "train_loss", "lr")
    history = keys.assign(step=step, epoch=step / 2.0, wall_s=0.1 * step, name=name, value=1.0 / step)
    Path(folder, "history").mkdir()
    pq.write_table(
        pa.Table.from_pandas(history[HISTORY_SCHEMA.names], schema=HISTORY_SCHEMA, preserve_index=False),
        Path(folder, "history", "history.parquet"),
        compression="zstd",
    )
    return len(members)


def timed(what: Any) -> tuple[float, float]:
    """Return seconds by the clock and of this process's CPU."""
    wall, cpu = time.perf_counter(), time.process_time()
    what()
    return time.perf_counter() - wall, time.process_time() - cpu


def rays(folder: str, num_trials: int, rows: int) -> tuple[float, float]:
    """Write what Ray Tune stores of so many trials, and read it as Ray does: every result file, then get_dataframe.

    The trials are given to it, so that reading the state of the experiment, which Tuner.restore does before, does not count.
    """
    from ray.train._internal.storage import StorageContext
    from ray.tune import ExperimentAnalysis, ResultGrid
    from ray.tune.experiment import Trial

    trials = []
    for i in range(num_trials):
        place = StorageContext(storage_path=folder, experiment_dir_name="run", trial_dir_name=f"{i:05d}")
        trial = Trial("stub", stub=True, trial_id=f"{i:05d}", config={"lr": 0.1 * i}, storage=place)
        trial.run_metadata.last_result = {"training_iteration": rows, "loss": 1 / rows, "trial_id": trial.trial_id}
        Path(folder, "run", f"{i:05d}").mkdir(parents=True)
        lines = [
            json.dumps({"training_iteration": k, "loss": 1 / k, "trial_id": trial.trial_id, "config": {"lr": 0.1 * i}})
            for k in range(1, rows + 1)
        ]
        Path(folder, "run", f"{i:05d}", "result.json").write_text("\n".join(lines) + "\n")
        trials.append(trial)

    def read() -> None:
        found = ExperimentAnalysis(
            f"{folder}/run/experiment_state.json",
            storage_filesystem=place.storage_filesystem,
            trials=trials,
            default_metric="loss",
            default_mode="min",
        )
        ResultGrid(found).get_dataframe(filter_metric="loss", filter_mode="min")

    return timed(read)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20, help="rows of history a member (default: 20)")
    parser.add_argument("--ray", type=int, default=10_000, help="trials of Ray's (default: 10,000)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        number = made(f"{folder}/run", given.rows)
        print(f"{number:,} members, {number * given.rows:,} rows of history", flush=True)
        results: list[Any] = []
        read = timed(lambda: results.append(load(f"{folder}/run")))
        print(f"analysis.load: {read[0]:.2f} s by the clock, {read[1]:.2f} s of CPU", flush=True)
        arms = timed(lambda: results[0].arms)
        print(f"the table of arms: {arms[0]:.2f} s by the clock, {arms[1]:.2f} s of CPU", flush=True)
        made_of = timed(lambda: results[0].configurations)
        print(f"the table of configurations: {made_of[0]:.2f} s by the clock, {made_of[1]:.2f} s of CPU", flush=True)
        ray = rays(f"{folder}/ray", given.ray, given.rows)
        print(f"Ray, {given.ray:,} trials, get_dataframe: {ray[0]:.2f} s by the clock, {ray[1]:.2f} s of CPU")
        times = [a / b * number / given.ray for a, b in zip(ray, read, strict=True)]
        print(f"for as many: {times[0]:.0f} times analysis.load by the clock, {times[1]:.0f} times of CPU")


if __name__ == "__main__":
    main()
