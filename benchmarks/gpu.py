"""Everything of tune_lb that needs a CUDA device, measured there in a few minutes.

    python benchmarks/gpu.py --minutes 6 [--out FOLDER] [--only PART ...]
    python benchmarks/gpu.py --stand-in     on a CPU, tiny: whether all of it runs; its figures say nothing

Parts, most important first; each is a list of measurements:

    tests         those marked `gpu`
    updates       ms per update and member of the quickstart's MLP and of F1, 1 to 256 members: alone, together, compiled, as CUDA
                  graphs, beside the ordinary loop and beside a stack written by hand
    networks      images per second of C1, ResNet-32 and ResNet-50 in fp32, TF32 and bf16, beside the ordinary loop on a resident
                  data set, a torchvision DataLoader, and the bare forward and backward pass of a fixed batch (the roof)
    remedies      what an update takes with each remedy, beside the plain one, C1 and ResNet-32 at B = 1,024
    sharpness     lambda_max beside PyHessian, curvlinops and a plain power iteration
    share         the share of the device that a training of C1 takes
    microbatches  the size that `microbatch: auto` finds, and its peak beside the limit
    search        `python -m tune_lb search quickstart` with 1, 4, 2 and `--gpus-per-trial auto` workers on the device

Every measurement is a process of its own, so that one that dies or hangs costs its own rows. The tests run first, while a few of
the others prepare (imports, compilers); then these prepare, a dozen at a time, and one after the other runs its clock. What has
failed is a row with its error. A Parquet is written after each measurement: one row for each number, long form. The time of a part
is its share of --minutes, and all ends when these are over. gpu_report.py prints the tables.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import gpu_networks
import gpu_others
import gpu_updates
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from gpu_rows import Given, OutOfTime, device_name, versions

Measurement = Callable[[Given], Iterator[None]]

COLUMNS = {
    "part": pa.string(),
    "measurement": pa.string(),
    "what": pa.string(),
    "network": pa.string(),
    "batch_size": pa.int64(),
    "members": pa.int64(),
    "precision": pa.string(),
    "way": pa.string(),
    "value": pa.float64(),
    "unit": pa.string(),
    "n": pa.int64(),
    "error": pa.string(),
    "preparing": pa.int64(),
    "device": pa.string(),
    "versions": pa.string(),
}
"""preparing: how many other measurements still compiled while this one ran its clock."""

LIMITS_S = {
    "tests": 150.0,
    "updates": 10.0,
    "networks": 24.0,
    "remedies": 25.0,
    "sharpness": 30.0,
    "share": 15.0,
    "microbatches": 45.0,
    "search": 100.0,
}
"""Seconds that one measurement of a part may run its clock where there are six minutes in all."""

AT_A_TIME = 14
"""Measurements that prepare at a time."""

BESIDE_TESTS = 3
"""So many while the tests run, which compile too."""

PREPARED_BY = 0.25
"""Share of the time at which the clocks begin, whoever is not ready yet."""


WHOLE_DEVICE = ("microbatches", "search")
"""Parts that begin when no other measurement holds memory of the device."""

RESERVED_S = 70.0
"""What is kept for these of six minutes."""


def measurements(small: bool = False) -> dict[str, tuple[str, Measurement]]:
    """Return every measurement by name, with its part, in order; small: one of each kind."""
    found: dict[str, tuple[str, Measurement]] = {"tests": ("tests", gpu_others.tests)}
    for members in (1, 2) if small else (1, 16, 256, 4, 64):
        for name in list(gpu_updates.NETWORKS)[: 1 if small else None]:
            call = functools.partial(gpu_updates.measure, name, members)
            found[f"updates/{name}, {members} members"] = ("updates", call)
    networks = list(gpu_networks.NETWORKS)[: 1 if small else None]
    for name in networks:
        found[f"networks/{name}"] = ("networks", functools.partial(gpu_networks.measure, name))
    for precision in ("tf32", "bf16", "fp32"):
        for name in networks:
            if gpu_networks.NETWORKS[name][3]:
                call = functools.partial(gpu_networks.measure_compiled, name, precision)
                found[f"networks/{name}, {precision}, compiled"] = ("networks", call)
    for name in ("C1",) if small else ("C1", "ResNet-32"):
        found[f"remedies/{name}"] = ("remedies", functools.partial(gpu_networks.remedies, name))
    found |= {
        "sharpness": ("sharpness", gpu_others.sharpness),
        "share": ("share", gpu_networks.share),
        "microbatches": ("microbatches", gpu_others.microbatches),
        "search": ("search", gpu_others.search),
    }
    return found


@dataclass
class Table:
    """The rows of all measurements, in one file."""

    path: Path
    about: dict[str, str]
    rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, part: str, measurement: str, rows: Sequence[Mapping[str, Any]], preparing: int = 0) -> None:
        """Add rows, write the file anew, and print them."""
        own = {"part": part, "measurement": measurement, "preparing": preparing, **self.about}
        self.rows += [own | dict(row) for row in rows]
        whole = {name: [row.get(name) for row in self.rows] for name in COLUMNS}
        pq.write_table(pa.table(whole, schema=pa.schema(COLUMNS)), self.path)
        for row in rows:
            print(line(own | dict(row)), flush=True)


def line(row: Mapping[str, Any]) -> str:
    """Return a row as one line."""
    value = "-" if row.get("value") is None else f"{row['value']:.4g}"
    keys = [row.get("network"), row.get("batch_size") and f"B={row['batch_size']}", row.get("precision")]
    keys += [f"K={row.get('members')}" if row["part"] == "updates" else None]
    case = " ".join(str(key) for key in keys if key)
    said = f"  !! {row['error']}" if row.get("error") else ""
    return f"{row['part']:9} {case:44} {row['way']:38} {value:>9} {row['unit']}{said}"


@dataclass
class Process:
    """A measurement as a process: it prepares, says so, waits for its turn, and gives its rows line by line."""

    name: str
    part: str
    given: argparse.Namespace
    log: Path
    process: subprocess.Popen[str] | None = None
    ready: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)
    rows: list[dict[str, Any]] = field(default_factory=list)

    def start(self) -> None:
        """Let it prepare."""
        command = [sys.executable, "-u", __file__, "--measurement", self.name, "--minutes", str(self.given.minutes)]
        command += ["--stand-in"] if self.given.stand_in else []
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True, start_new_session=True
            )
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self.process is not None
        for said in cast(Any, self.process.stdout):
            if said.startswith("{"):
                self.rows.append(json.loads(said))
            elif said.strip() == "ready":
                self.ready.set()
        cast(Any, self.process.stdout).close()
        self.process.wait()
        self.ended.set()
        self.ready.set()

    @property
    def is_preparing(self) -> bool:
        """Say whether it has begun and is not ready."""
        return self.process is not None and not self.ready.is_set()

    def run(self, seconds: float) -> None:
        """Let it run its clock for so long at most; a process that dies or does not end leaves a row that says so."""
        assert self.process is not None
        if self.process.poll() is None:
            with contextlib.suppress(OSError):
                cast(Any, self.process.stdin).write(f"{seconds}\n")
                cast(Any, self.process.stdin).flush()
        if not self.ended.wait(seconds + 8.0):
            self.rows.append(self._failure(f"did not end within {seconds:.0f} s"))
        elif self.process.returncode:
            last = (self.log.read_text().strip().splitlines() or [""])[-1]
            self.rows.append(self._failure(f"exit {self.process.returncode}: {last}"[:400]))
        self.stop()

    def left_out(self, reason: str) -> None:
        """Keep a row that says why it did not run."""
        self.rows.append(self._failure(reason))
        self.stop()

    def _failure(self, reason: str) -> dict[str, Any]:
        return {"what": self.part, "way": self.name, "value": None, "unit": "", "error": reason}

    def stop(self) -> None:
        """End the process and all that it has begun."""
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(OSError):
                os.killpg(self.process.pid, signal.SIGKILL)
        if self.process is not None:
            self.ended.wait(5.0)
            with contextlib.suppress(OSError):
                cast(Any, self.process.stdin).close()


def in_processes(chosen: Mapping[str, tuple[str, Measurement]], given: argparse.Namespace, table: Table) -> None:
    """Let all measurements prepare, and run their clocks one after the other."""
    begun, whole = time.monotonic(), 60.0 * given.minutes
    logs = Path(tempfile.mkdtemp())
    waiting = [Process(name, part, given, logs / f"{i}.log") for i, (name, (part, _)) in enumerate(chosen.items())]
    everyone, unstarted, early = list(waiting), list(waiting), None

    def more() -> None:
        most = BESIDE_TESTS if early is not None and early.is_alive() else AT_A_TIME
        while unstarted and sum(each.is_preparing for each in everyone) < most:
            unstarted.pop(0).start()

    def left() -> float:
        return whole - (time.monotonic() - begun)

    def limit(part: str) -> float:
        return min(LIMITS_S[part] * given.minutes / 6, left() - 5.0)

    def finish(done: Process) -> None:
        preparing = sum(each.is_preparing for each in everyone)
        table.add(done.part, done.name, done.rows, preparing)
        said = done.log.read_text()[-20_000:] if done.log.exists() else ""
        with (table.path.parent / "gpu.log").open("a") as whole_log:
            whole_log.write(f"\n=== {done.name}, after {whole - left():.0f} s\n{said}")

    def timed_next() -> Process | None:
        """Return whose turn it is; None: nobody is ready. What needs the whole memory comes when all others are gone."""
        first = [each for each in waiting if each.part not in WHOLE_DEVICE]
        if first and (left() > RESERVED_S * given.minutes / 6 or len(first) == len(waiting)):
            return next((each for each in first if each.ready.is_set()), None)
        for each in first:
            waiting.remove(each)
            each.left_out("left out: not ready in time")
            finish(each)
        return waiting[0] if waiting and waiting[0].ready.is_set() else None

    try:
        if waiting[0].part == "tests" and len(waiting) > 1:
            # no clock in them: they run while a few of the others prepare, and the clocks wait for their end
            tests = waiting.pop(0)
            unstarted.remove(tests)
            tests.start()
            early = threading.Thread(target=tests.run, args=(limit("tests"),))
            early.start()
        while (early is not None and early.is_alive()) or (
            time.monotonic() - begun < PREPARED_BY * whole and (unstarted or any(each.is_preparing for each in waiting))
        ):
            more()
            time.sleep(0.2)
        print(f"clocks begin after {time.monotonic() - begun:.0f} s", flush=True)
        while waiting and left() > 10.0:
            more()
            if early is not None and not early.is_alive():
                finish(tests)
                early = None
            now = timed_next()
            if now is None:
                time.sleep(0.1)
                continue
            waiting.remove(now)
            now.run(limit(now.part))
            finish(now)
        if early is not None:
            early.join(max(0.1, left()))
            finish(tests)
        for each in waiting:
            each.left_out("left out: no time")
            finish(each)
    finally:
        for each in everyone:
            each.stop()


def in_this_process(chosen: Mapping[str, tuple[str, Measurement]], given: argparse.Namespace, table: Table) -> None:
    """Run the measurements here, one after the other: a stand-in has no time for processes."""
    for name, (part, measure) in chosen.items():
        own = Given(_device(given), given.stand_in, window_s=0.0 if given.stand_in else 0.4, rest_s=1e9)
        with own.trying(part, name):
            for _ in measure(own):
                pass
        table.add(part, name, own.rows)


def child(name: str, given: argparse.Namespace) -> None:
    """Be one of the processes: prepare, say so, wait, measure."""
    _, measure = measurements(given.stand_in)[name]
    sys.stdout.flush()
    rows_to = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no row

    def say(text: str) -> None:
        rows_to.write(text + "\n")
        rows_to.flush()

    own = Given(_device(given), given.stand_in, window_s=0.4 * given.minutes / 6, keep=lambda row: say(json.dumps(row)))
    own.rest_s = 1e9
    running = measure(own)
    next(running, None)
    say("ready")
    asked = sys.stdin.readline().strip()
    if asked:
        own.rest_s, own.begun = float(asked), time.monotonic()
        with contextlib.suppress(OutOfTime):
            for _ in running:
                pass


def asked_for(
    known: Mapping[str, tuple[str, Measurement]], only: Sequence[str] | None
) -> dict[str, tuple[str, Measurement]]:
    """Return the measurements that are asked for, in the order in which they are."""
    found: dict[str, tuple[str, Measurement]] = {}
    for asked in [""] if only is None else only:
        found |= {
            name: each
            for name, each in known.items()
            if name not in found and (each[0] == asked or name.startswith(asked))
        }
    return found


def _device(given: argparse.Namespace) -> str:
    return "cpu" if given.stand_in else "cuda"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument(
        "--only", nargs="+", default=None, help="parts, or measurements by the beginning of their names"
    )
    parser.add_argument("--out", type=Path, default=Path("benchmarks/gpu"))
    parser.add_argument("--stand-in", action="store_true", help="on the CPU, tiny")
    parser.add_argument("--processes", action="store_true", help="of a stand-in too")
    parser.add_argument("--list", action="store_true", help="name the measurements and stop")
    parser.add_argument("--measurement", help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.measurement:
        child(given.measurement, given)
        return 0
    chosen = asked_for(measurements(given.stand_in), given.only)
    if given.list:
        print("\n".join(chosen))
        return 0
    if not given.stand_in and not torch.cuda.is_available():
        print("no CUDA device here: --stand-in runs everything on the CPU", file=sys.stderr)
        return 2
    given.out.mkdir(parents=True, exist_ok=True)
    table = Table(given.out / "gpu.parquet", {"device": device_name(_device(given)), "versions": versions()})
    print(f"{table.about['device']}; {table.about['versions']}; {len(chosen)} measurements", flush=True)
    if given.stand_in and not given.processes:
        in_this_process(chosen, given, table)
    else:
        in_processes(chosen, given, table)
    print("\n".join(summary(table.rows)))
    return 0


def summary(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the table at the end: errors first, then every number, short."""
    failed = [line(row) for row in rows if row.get("error")]
    lines = [f"{len(rows)} rows, {len(failed)} with errors", *failed, ""]
    return lines + [line(row) for row in rows if not row.get("error")]


if __name__ == "__main__":
    sys.exit(main())
