"""How a search grows with the number of its members.

    python benchmarks/scale.py [--members 200 2000] [--start-up]

Searches trivial members (one update of a small network on 20 digits) of ten arms, half of them searched and half confirmed, as
`python -m tune_lb search` of this file, and looks at: wall time of a member between the first and the last that is stored, driver
memory (its peak resident size), files and bytes of the run; then how long the same command takes with nothing to do, `status` and
`report`. --start-up: the seconds from `search quickstart` to the first member in training. Ratios within one call are what can be
compared; the load of the machine stands beside them.
"""

from __future__ import annotations

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from tune_lb import Arm, Space, over
from tune_lb.budgets import Updates
from tune_lb.data import Digits
from tune_lb.models import MLP

ROOT = Path(__file__).parents[1]
ARMS = 10
FLAT = 1.3
QUICK_S = 5.0
START_S = 8.0
MOST_S = 900.0
"""Goals: growth of a member's time from 200 to 2,000; commands on a finished run; quickstart's start; the search of 10,000."""


def space_of(members: int) -> Space:
    """Return a space with so many members: ten arms, of which each searches with half of its members."""
    half = max(2, members // ARMS // 2)
    return Space(
        question="How does a search grow?",
        data=Digits(num_train=20, num_validation=20),
        model=MLP(hidden=(1,)),
        budget=Updates(1),
        batch_size=20,
        arms=tuple(Arm(f"arm{number}", lr=over(0.001 * (1 + number), 1.0, log=True)) for number in range(ARMS)),
        baseline="arm0",
        reference="arm1",
        num_samples=half,
        candidates=1,
        decide_blocks=1,
        confirm_blocks=half,
        block_seeds=1,
        crossings=None,
        placebo=False,
        derived=False,
    )


SPACE = space_of(int(os.environ.get("TUNE_LB_SCALE", "200")))


class Run(NamedTuple):
    """What was seen of a command: seconds, and the peak resident size of its process in bytes."""

    seconds: float
    peak_bytes: int


def seen(words: list[str], **environment: str) -> Run:
    """Run the program to its end, looking at its memory on the way."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "tune_lb", *words],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    peak, status = 0, Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        try:
            line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
            peak = max(peak, 1024 * int(line.split()[1]))
        except (OSError, StopIteration):
            pass
        time.sleep(0.1)
    seconds = time.perf_counter() - started
    if process.returncode:
        raise SystemExit(
            f"{words}: exit {process.returncode}: {process.stderr.read()[-2000:] if process.stderr else ''}"
        )
    return Run(seconds, peak)


def grown(members: int, folder: str) -> dict[str, float]:
    """Return the figures of a search of so many members."""
    import pyarrow.parquet

    name, environment = f"of{members}", {"TUNE_LB_SCALE": str(members)}
    search = ["search", __file__, "--name", name, "--storage", folder, "--max-concurrent", "2"]
    first = seen(search, **environment)
    run = Path(folder, name)
    stored = pyarrow.parquet.read_table(run / "results" / "members.parquet")
    ends = sorted(datetime.datetime.fromisoformat(text) for text in stored["finished_at"].to_pylist())
    files = [path for path in run.rglob("*") if path.is_file() and "report" not in path.parts]
    again = seen(search, **environment)
    status = seen(["status", name, "--storage", folder], **environment)
    report = seen(["report", name, "--storage", folder], **environment)
    return {
        "members": len(ends),
        "wall_s": first.seconds,
        "member_ms": 1e3 * (ends[-1] - ends[0]).total_seconds() / max(1, len(ends) - 1),
        "peak_bytes": first.peak_bytes,
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "again_s": again.seconds,
        "status_s": status.seconds,
        "report_s": report.seconds,
    }


def start_up_s() -> float:
    """Return the seconds from `search quickstart` to the first member in training."""
    with tempfile.TemporaryDirectory() as folder:
        marker = Path(folder, "marker")
        environment = os.environ | {"TUNE_LB_PAUSE": "step:60", "TUNE_LB_PAUSE_MARKER": str(marker)}
        started = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "tune_lb", "search", "quickstart", "--storage", folder],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            start_new_session=True,
        )
        while not marker.exists() and process.poll() is None:
            time.sleep(0.02)
        seconds = marker.stat().st_mtime - started
        process.terminate()
        process.wait(timeout=120)
        return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--members", type=int, nargs="+", default=[200, 2000])
    parser.add_argument("--start-up", action="store_true")
    given = parser.parse_args()
    if given.start_up:
        print(f"{datetime.date.today()}: cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f} before")
        print(
            f"quickstart, command to first member in training: {start_up_s():.1f} s (goal {START_S:g} s on idle cores)"
        )
        return
    print(f"{datetime.date.today()}: cores {os.cpu_count()}, load {os.getloadavg()[0]:.1f} before\n")
    print("| members | wall, s | a member, ms | driver, MB | files | MB | again, s | status, s | report, s |")
    print("|---:|---:|---:|---:|---:|---:|---:|---:|---:|", flush=True)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for members in given.members:
            row = grown(members, folder)
            rows.append(row)
            first = (
                f"| {row['members']:,} | {row['wall_s']:.0f} | {row['member_ms']:.1f} | {row['peak_bytes'] / 1e6:.0f} "
            )
            then = f"| {row['again_s']:.1f} | {row['status_s']:.1f} | {row['report_s']:.1f} |"
            print(f"{first}| {row['files']:,} | {row['bytes'] / 1e6:.1f} {then}", flush=True)
    few, many = rows[0], rows[-1]
    slower = many["member_ms"] / few["member_ms"]
    larger = many["bytes"] / many["members"] / (few["bytes"] / few["members"])
    memory = (many["peak_bytes"] - few["peak_bytes"]) / max(1, many["members"] - few["members"]) / 1e3
    print(
        f"\n{many['members']:,} beside {few['members']:,}: a member takes {slower:.2f} times as long (goal {FLAT} to 2,000), its "
        f"bytes are {larger:.2f} times as many; the driver is larger by {memory:.1f} kB a member"
    )


if __name__ == "__main__":
    main()
