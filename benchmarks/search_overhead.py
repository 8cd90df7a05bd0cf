"""What a search adds to the training that it does.

    python benchmarks/search_overhead.py [--members 100] [--epochs 57] [--rounds 1] [--execution alone]

Trains the same members two ways, in turns: as `python -m tune_lb search` of this file with two workers; and in two plain
processes, half of the members in each, one training and evaluation after the other, with nothing stored. The members are of one
arm of digits that searches nothing, each in a block of its own, trained alone so that both make the same calls (members that
train together take less: --execution auto); one takes about a second. Wall time is of whole commands, imports, Ray's start and
the report included. The middle of the search is from its first stored member to its last, as if all were trained at that pace.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tune_lb import Arm, Epochs, Space
from tune_lb.data import Digits
from tune_lb.models import MLP
from tune_lb.optimizers import SGD

ROOT = Path(__file__).parents[1]
WORKERS = 2
GOAL = 1.15


def space_of(members: int, epochs: float, execution: str) -> Space:
    """Return the space: one arm, which searches nothing, in so many blocks."""
    return Space(
        question="What does a search add to its training?",
        data=Digits(num_train=400, num_validation=400),
        model=MLP(hidden=(128, 128, 128)),
        optimizer=SGD(momentum=0.9),
        budget=Epochs(epochs),
        batch_size=20,
        lr=0.02,
        arms=(Arm("only"),),
        confirm_blocks=members,
        crossings=None,
        placebo=False,
        derived=False,
        execution=execution,
    )


SETTINGS = os.environ.get("TUNE_LB_OVERHEAD", "100 57 alone").split()
SPACE = space_of(int(SETTINGS[0]), float(SETTINGS[1]), SETTINGS[2])


def train_plainly(first: int, members: int) -> None:
    """Train and evaluate every second member in this process, from the number `first` on; store nothing."""
    import torch

    from tune_lb.data.device import on_device
    from tune_lb.observation.outcome import outcomes
    from tune_lb.space.checks import checked_designs
    from tune_lb.training.phased_training import begun

    torch.set_num_threads(1)
    template = checked_designs(SPACE)[0].template
    for number in range(first, members, WORKERS):
        # the confirm stage counts splits from 2000
        trial = dataclasses.replace(template, split_seed=2000 + number)
        training = begun(trial, [2000 + number], on_device(trial.data.load(trial.split_seed), "cpu"))
        while not training.done:
            training.advance()
        outcomes(training, metrics=(), wall_s=0.0)


def seconds_of(commands: list[list[str]]) -> float:
    """Return the seconds until all commands, begun at once, have ended well."""
    environment = os.environ | {"TUNE_LB_OVERHEAD": " ".join(SETTINGS), "OMP_NUM_THREADS": "1"}
    started = time.perf_counter()
    running = [
        subprocess.Popen(
            command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        for command in commands
    ]
    said = [process.communicate()[1] for process in running]
    for process, error in zip(running, said, strict=True):
        if process.returncode:
            raise SystemExit(f"{process.args}: exit {process.returncode}: {error[-2000:]}")
    return time.perf_counter() - started


def searched(members: int) -> tuple[float, float]:
    """Return the seconds of the search, and of its middle: of a member, times all of them."""
    import pyarrow.parquet

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tune_lb", "search", __file__, "--name", "timed", "--storage", folder]
        taken = seconds_of([[*command, "--max-concurrent", str(WORKERS)]])
        stored = pyarrow.parquet.read_table(Path(folder) / "timed" / "results" / "members.parquet")
        ends = sorted(datetime.datetime.fromisoformat(text) for text in stored["finished_at"].to_pylist())
        assert len(ends) == members, f"{len(ends)} members, not {members}"
        return taken, (ends[-1] - ends[0]).total_seconds() * members / (members - WORKERS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, default=int(SETTINGS[0]))
    parser.add_argument("--epochs", type=float, default=float(SETTINGS[1]))
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--execution", default=SETTINGS[2])
    parser.add_argument("--plain", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.plain is not None:
        train_plainly(given.plain, given.members)
        return
    SETTINGS[:] = [str(given.members), str(given.epochs), given.execution]
    plain = [[sys.executable, __file__, "--plain", str(i), "--members", str(given.members)] for i in range(WORKERS)]
    load, rows = os.getloadavg()[0], []
    for number in range(given.rounds):
        rows.append((seconds_of(plain), *searched(given.members)))
        print(f"round {number + 1}: plain {rows[-1][0]:.1f} s, search {rows[-1][1]:.1f} s", file=sys.stderr, flush=True)
    whole, middle = (statistics.median(row[i] / row[0] for row in rows) for i in (1, 2))
    print(
        f"{datetime.date.today()}: {given.members} members of {given.epochs:g} epochs, execution {given.execution}, {WORKERS} at a "
        f"time; cores: {os.cpu_count()}, load {load:.1f} before; {given.rounds} rounds\n"
    )
    print("| | s | of the plain processes |\n|---|---:|---:|")
    print(f"| two plain processes | {statistics.median(row[0] for row in rows):.1f} | 1.00 |")
    reached = "" if whole <= GOAL else ", not reached"
    print(
        f"| the search, as a command | {statistics.median(row[1] for row in rows):.1f} | {whole:.2f} (goal {GOAL}{reached}) |"
    )
    print(
        f"| its members, from the first stored to the last | {statistics.median(row[2] for row in rows):.1f} | {middle:.2f} |"
    )


if __name__ == "__main__":
    main()
