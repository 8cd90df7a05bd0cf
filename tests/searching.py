"""Real searches of a tiny space, started as a user starts them, and killed with everything that they started."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import pandas as pd
import pytest

from tests.killing import REPOSITORY

SPACE = """
import witness
import sizes

from tune_lb.budgets import Epochs
from tune_lb.data.digits import Digits
from tune_lb.remedies.gradient_noise import GradientNoise
from tune_lb import Arm, Space, over

SPACE = Space(
    question="Does any of it help?", data=Digits(num_train=100, num_validation=100), model=witness.Network(hidden=sizes.HIDDEN),
    eta_over_b=over(1e-4, 1e-2, log=True), budget=Epochs(4), batch_size=100,
    arms=(
        Arm("small", batch_size=20),
        Arm("large"),
        Arm("noisy", GradientNoise(alpha=over(1e-6, 1e-2, log=True)), model=witness.Fragile(hidden=(8,))),
    ),
    baseline="small", reference="large", derived=False, placebo=False,
    num_samples=2, candidates=2, decide_blocks=1, confirm_blocks=2, block_seeds=2,
    # stacked members agree up to rounding with any others, and these are compared by their bits
    execution="alone", metrics=(witness.Witness(),), metrics_on="all",
)
"""

WITNESS = '''
"""Lies beside the space: a metric that writes down whom it saw trained to the end, and a network that can be told to fail."""
import hashlib
import os
import sys
from dataclasses import dataclass
from typing import ClassVar

import ray
from tune_lb.models.mlp import MLP

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "src"))
import sizes


@dataclass(frozen=True)
class Witness:
    name: ClassVar[str] = "witness"
    max_samples: ClassVar[None] = None

    def columns(self):
        return {"witness": "hash of the weights: tells every training from every other", "witness.reason": "why not"}

    def measure(self, surface, seed):
        weights = hashlib.sha256(surface.point.numpy().tobytes()).hexdigest()
        if in_worker():
            # as on another machine, which has not this folder
            sys.path[:] = [path for path in sys.path if not path.endswith(("/spaces", "/src"))]
            import late

            late.write(weights, ray.get_runtime_context().get_node_id())
        return {"witness": weights, "witness.reason": None}


def in_worker():
    """The program itself has Ray, too: it measures to estimate the cost, and builds networks."""
    return ray.is_initialized() and ray.get_runtime_context().worker.mode == ray.WORKER_MODE


def suffer():
    """On a node that is told to be sick every worker dies."""
    if in_worker() and "TUNE_LB_TEST_SICK" in os.environ:
        os.kill(os.getpid(), 9)


@dataclass(frozen=True)
class Network(MLP):
    def __call__(self, input_shape, num_classes):
        assert sizes.fitting(input_shape)
        suffer()
        return super().__call__(input_shape, num_classes)


@dataclass(frozen=True)
class Fragile(MLP):
    def __call__(self, input_shape, num_classes):
        if in_worker() and os.path.exists(os.path.join(os.environ["TUNE_LB_TEST_LOG"], "fail")):
            raise RuntimeError("told to fail")
        suffer()
        return super().__call__(input_shape, num_classes)
'''

LATE = '''
"""Imported when it is needed, and not before."""
import os
import time


def write(weights, node):
    # a line is one write, which processes that append do not cut into one another's
    with open(os.path.join(os.environ["TUNE_LB_TEST_LOG"], "trained.log"), "a") as file:
        file.write(f"{weights} {node}\\n")
    end = time.monotonic() + 300
    while os.path.exists(os.path.join(os.environ["TUNE_LB_TEST_LOG"], "hold")) and time.monotonic() < end:
        time.sleep(0.02)
'''

SIZES = '''
"""Lies in a folder that the space puts on the import path."""
HIDDEN = (8,)


def fitting(shape):
    return len(shape) in (1, 2, 3)
'''

SEARCH = ("search", "spaces/tiny.py", "--sampler", "tpe")
TIMEOUT_S = 600.0


class Searches:
    """A folder with a space, the runs made of it, and every process started here.

    Processes are known by a variable of their environment that names the folder: whatever a search starts inherits it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        self.more: dict[str, str] = {}
        """Variables that every process started here gets beside its own."""
        self.log.mkdir()
        (folder / "spaces").mkdir()
        self.space = folder / "spaces" / "tiny.py"
        self.space.write_text(SPACE)
        (folder / "spaces" / "witness.py").write_text(WITNESS)
        (folder / "src").mkdir()
        (folder / "src" / "late.py").write_text(LATE)
        (folder / "src" / "sizes.py").write_text(SIZES)

    def environment(self, **more: str) -> dict[str, str]:
        own = {
            "PYTHONPATH": str(REPOSITORY),
            "TUNE_LB_TEST_LOG": str(self.log),
            "OMP_NUM_THREADS": "1",
            "COLUMNS": "120",
        }
        return {**os.environ, **own, **self.more, **more}

    def start(self, *words: str, **environment: str) -> subprocess.Popen[str]:
        """Start the program in a process group of its own, as a terminal does."""
        return subprocess.Popen(
            [sys.executable, "-m", "tune_lb", *words],
            cwd=self.folder,
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            # a shell's background jobs ignore Ctrl-C, and hand that on to all that they start: tests run as such a job, too
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, *words: str, **environment: str) -> tuple[int, str, str]:
        """Run the program to its end: exit code, stdout, stderr."""
        process = self.start(*words, **environment)
        out, err = process.communicate(timeout=TIMEOUT_S)
        return process.returncode, out, err

    def start_until(self, point: str, *words: str) -> tuple[subprocess.Popen[str], str]:
        """Start the program and wait until it, or a worker, pauses (tune_lb/pause.py); return it, and the detail it paused at."""
        marker = self.folder / "marker"
        marker.unlink(missing_ok=True)
        process = self.start(*words, TUNE_LB_PAUSE=f"{point}:600", TUNE_LB_PAUSE_MARKER=str(marker))
        end = time.monotonic() + TIMEOUT_S
        while not marker.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.02)
        if not marker.exists():
            self.kill_all()
            out, err = process.communicate(timeout=TIMEOUT_S)
            raise AssertionError(f"{point} was never reached:\n{out}\n{err}")
        return process, marker.read_text().splitlines()[2]

    def kill_at(self, point: str, *words: str) -> str:
        """Start the program, kill it and all that it started where it pauses, and return the detail it paused at."""
        process, detail = self.start_until(point, *words)
        self.kill_all()
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == -signal.SIGKILL
        return detail

    def end_at(self, point: str, how: str, *words: str) -> str:
        """Start the program, end it where it pauses by what reaches all of its processes or one of Ray's; see ENDS.

        Return the detail it paused at. It must say within seconds what is stored and what to type.
        """
        process, detail = self.start_until(point, *words)
        started = time.monotonic()
        ENDS[how](self, process)
        out, err = process.communicate(timeout=TIMEOUT_S)
        assert time.monotonic() - started < 45, "6 s on a busy machine"
        code, said = (130, "interrupted: ") if how.startswith("SIG") else (1, "stopped: Ray is gone")
        assert process.returncode == code, out + err
        assert said in out
        assert "the same command goes on from there" in out
        assert out.splitlines()[-1].startswith("next: ")
        if code == 130:
            assert err == ""
            assert not self.processes(), "nothing is left"
        self.kill_all()
        return detail

    def processes(self) -> list[int]:
        """Return all that was started here and still runs."""
        mark = f"TUNE_LB_TEST_LOG={self.log}".encode()
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdecimal() and mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue  # it ended, or is not ours
        return found

    def named(self, name: str) -> set[int]:
        """Return those of them that are called so."""
        found = set()
        for pid in self.processes():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                    found.add(pid)
        return found

    def kill_all(self, wait_s: float = 30.0) -> None:
        end = time.monotonic() + wait_s
        while left := self.processes():
            assert time.monotonic() < end, f"processes {left} do not die"
            for pid in left:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.05)

    @property
    def hold(self) -> Path:
        """While this file exists, a worker waits where it measures what it trained and stored (five minutes at most)."""
        return self.log / "hold"

    def trained(self) -> list[str]:
        """Return the members trained to the end so far, in the order in which that happened."""
        return [line.split()[0] for line in self._lines()]

    def nodes(self) -> dict[str, str]:
        """Return the node that each member was trained on."""
        return dict(line.split() for line in self._lines())

    def _lines(self) -> list[str]:
        path = self.log / "trained.log"
        return path.read_text().splitlines() if path.exists() else []

    def stored(self, name: str, storage: str = "runs") -> dict[str, tuple[str, int]]:
        """Return who is stored and measured, by the weights: what the jobs' files hold, whatever has been merged."""
        run = self.folder / storage / name
        files = sorted((run / "trials").glob("*.members.parquet")), sorted((run / "measurements").glob("*.parquet"))
        rows, seen = ([row for file in kind for row in pd.read_parquet(file).to_dict("records")] for kind in files)
        completed = {(row["trial_id"], row["seed"]) for row in rows if row["status"] == "completed"}
        found = {row["witness"]: (row["trial_id"], row["seed"]) for row in seen if row["witness"] is not None}
        assert set(found.values()) <= completed
        assert len(set(found.values())) == len(found)
        return found

    def results(self, name: str, storage: str = "runs") -> pd.DataFrame:
        return pd.read_parquet(self.folder / storage / name / "results").set_index(["trial_id", "seed"]).sort_index()

    def copy_run(self, other: Searches) -> Path:
        """Take over the run of another folder as it is."""
        shutil.copytree(other.folder / "runs" / "tiny", self.folder / "runs" / "tiny")
        return self.folder / "runs" / "tiny"


def sigterm_to_all(searches: Searches, process: subprocess.Popen[str], driver_last_s: float = 1.0) -> None:
    """As batch systems and containers do, in whatever order: here Ray's processes and the workers get it first."""
    for pid in searches.processes():
        if pid != process.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
    time.sleep(driver_last_s)
    process.send_signal(signal.SIGTERM)


def kill_of_ray(searches: Searches, name: str) -> None:
    (its,) = searches.named(name)
    os.kill(its, signal.SIGKILL)


def sigint_twice(searches: Searches, process: subprocess.Popen[str]) -> None:
    """As who is in a hurry: the second comes while Ray ends."""
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.3)
    os.killpg(process.pid, signal.SIGINT)


ENDS: dict[str, Callable[[Searches, subprocess.Popen[str]], None]] = {
    "SIGTERM": sigterm_to_all,
    "SIGINT twice": sigint_twice,
    "head": lambda searches, process: kill_of_ray(searches, "gcs_server"),
    "raylet": lambda searches, process: kill_of_ray(searches, "raylet"),
}


def members_file(searches: Searches, stage: str, arm: str | None = None) -> tuple[Path, set[str]]:
    """Return a members file of a stage (and arm), and the weights of those in it as the witness knows them."""
    stored = {key: seen for seen, key in searches.stored("tiny").items()}
    for path in sorted((searches.folder / "runs" / "tiny" / "trials").glob(f"*.{stage}.*.members.parquet")):
        rows = pd.read_parquet(path).to_dict("records")
        if arm is None or rows[0]["arm"] == arm:
            return path, {stored[row["trial_id"], row["seed"]] for row in rows}
    raise AssertionError(f"no file of stage {stage} and arm {arm}")


def assert_as_if_nothing_had_been(searches: Searches, whole: Searches) -> None:
    """Hold the members of a run to those of one that nothing happened to: the same, with the same weights and errors."""
    found, expected = searches.results("tiny"), whole.results("tiny")
    assert not found.index.duplicated().any()
    columns = ["witness", "test_error", "validation_error", "train_loss", "stage", "status", "lr", "updates"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], check_exact=True)
    for kind in ("history", "predictions"):
        files = [pd.read_parquet(s.folder / "runs" / "tiny" / kind / f"{kind}.parquet") for s in (searches, whole)]
        assert len(files[0]) == len(files[1])


def assert_kills_cost_no_result(
    searches: Searches,
    whole: Searches,
    points: Iterable[tuple[str, str]],
    num_workers: int,
    otherwise: Mapping[str, str] | None = None,
) -> None:
    """Kill one search at one point after the other, then let it end: nothing stored is trained again, and nothing is missing.

    points: each with what the detail that it pauses at contains. otherwise: by point the end (ENDS) that comes in place of SIGKILL.
    """
    words = (*SEARCH, "--max-concurrent", str(num_workers))
    # begin the run where the other one was when it had been prepared: how its members are trained was timed then
    run = searches.folder / "runs" / "tiny"
    run.mkdir(parents=True)
    shutil.copy(whole.folder / "runs" / "tiny" / "space.json", run)
    stored: dict[str, tuple[str, int]] = {}
    cut_off = 0
    for point, expected in points:
        before, temporary = len(searches.trained()), set((run / "trials").glob(".*"))
        how = (otherwise or {}).get(point)
        assert expected in (searches.kill_at(point, *words) if how is None else searches.end_at(point, how, *words))
        assert not set(searches.trained()[before:]) & set(stored), "trained again although it was stored"
        assert stored.items() <= searches.stored("tiny").items()
        stored = searches.stored("tiny")
        cut_off += len(set(searches.trained()[before:]) - set(stored))
        left = set((run / "trials").glob(".*")) - temporary
        between = point.startswith("rename") and expected == "/trials/"
        # another worker may have been at such a moment as well
        assert bool(left) == between or (left and num_workers > 1), "between a whole temporary file and its name"
    before = len(searches.trained())
    code, out, err = searches.run(*words)
    assert (code, err) == (0, ""), out + err
    assert not set(searches.trained()[before:]) & set(stored)
    again = Counter(searches.trained())
    assert sum(again.values()) - len(again) == cut_off, "what a kill cut off before it was stored, and nothing more"
    assert_as_if_nothing_had_been(searches, whole)
    assert not list(run.rglob(".*")), "what the killed writers left is gone"
    assert not (run / "ray").exists()
    assert len(list((run / "ledger").glob("*.json"))) == 6, "two proposals of three arms"


@pytest.fixture
def searches(tmp_path: Path) -> Iterator[Searches]:
    found = Searches(tmp_path)
    yield found
    found.kill_all()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Searches, str, str]:
    """One search from start to end, with what it printed. It must be left as it is."""
    found = Searches(tmp_path_factory.mktemp("whole"))
    code, out, err = found.run(*SEARCH)
    found.kill_all()
    assert code == 0, out + err
    return found, out, err
