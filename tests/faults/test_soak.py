"""Kills at random instants: whatever dies, and whenever, the same search ends with the members of an undisturbed one, each once.

TUNE_LB_SOAK_KILLS, TUNE_LB_SOAK_SEED: how many, and of which seed, which is printed with every failure and at the end. The first
test kills the process that trains and stores (no Ray: a kill costs a second or two), the second any process of a real search.
"""

from __future__ import annotations

import dataclasses
import os
import random
import shutil
import signal
import time
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from tests.faults.small_runs import SPACE, run_of, search
from tests.faults.test_damaged_files import assert_equal_runs
from tests.searching import SEARCH, TIMEOUT_S, Searches, assert_as_if_nothing_had_been
from tune_lb.budgets import Epochs
from tune_lb.results import lock
from tune_lb.results.damage import damages, files_of, merged_otherwise, missing_parts
from tune_lb.results.lock import held
from tune_lb.results.storage import Store

pytestmark = [
    pytest.mark.soak,
    pytest.mark.timeout(0),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc"),
]

LONGER = dataclasses.replace(SPACE, budget=Epochs(4), confirm_blocks=4)
SEED = int(os.environ.get("TUNE_LB_SOAK_SEED", time.time_ns() % 1_000_000))


def num_kills(default: int) -> int:
    return int(os.environ.get("TUNE_LB_SOAK_KILLS", default))


def searched_in_a_fork(place: Path, kill_after_s: float | None) -> bool:
    """Search in a process of its own, kill it after a time; say whether it came to its end."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            with held(Store(run_of(place)), print):
                search(place, LONGER, checkpoint_every_s=0.0)
            code = 0
        finally:
            os._exit(code)
    end = None if kill_after_s is None else time.monotonic() + kill_after_s
    while end is None or time.monotonic() < end:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            assert status == 0, f"seed {SEED}: the search failed"
            return True
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.WIFEXITED(status) and os.WEXITSTATUS(status) == 0


def stored(run: Path) -> set[tuple[str, int]]:
    keys: list[tuple[str, int]] = []
    for file in run.glob("trials/*.members.parquet"):
        table = pd.read_parquet(file)
        keys += zip(table["trial_id"], table["seed"], strict=True)
    assert len(keys) == len(set(keys)), f"seed {SEED}: a member is stored twice"
    return set(keys)


def assert_whole(run: Path, expected: Path) -> None:
    # a member is stored before it is measured: one that was killed over that lacks the metric, which `measure` finds
    assert_equal_runs(run, expected, measured=False)
    store = Store(run)
    assert damages(store, files_of(store)) + missing_parts(store) + merged_otherwise(store) == []
    assert not list(run.rglob(".*")), "what killed writers left is gone"


def test_the_process_that_trains_and_stores_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock, "SETTLE_S", {True: 0.01, False: 0.01})
    random_of = random.Random(SEED)
    started = time.monotonic()
    # in this process, so that all is loaded when it forks
    search(tmp_path / "warm", LONGER)
    before_s = time.monotonic()
    assert searched_in_a_fork(tmp_path / "whole", None)
    quickest_s = time.monotonic() - before_s
    kills = runs = 0
    when = Counter[str]()
    while kills < num_kills(1000):
        place = tmp_path / "again"
        shutil.rmtree(place, ignore_errors=True)
        before: set[tuple[str, int]] = set()
        num_before, began_s = kills, time.monotonic()
        # short ones among them, or few kills would come before the first member
        while not searched_in_a_fork(place, random_of.uniform(0.0, quickest_s) * random_of.choice((0.25, 0.5, 1.0))):
            kills += 1
            after = stored(run_of(place))
            assert before <= after, f"seed {SEED}: a stored member is gone"
            when["with checkpoints" if list(run_of(place).glob("checkpoints/*")) else "without"] += 1
            when["half written"] += len(list(run_of(place).rglob(".*"))) > 0
            before = after
        assert_whole(run_of(place), run_of(tmp_path / "whole"))
        runs += 1
        if kills == num_before:  # undisturbed: most of the later kills come before the end of one like it
            quickest_s = min(quickest_s, time.monotonic() - began_s)
        shutil.rmtree(place)
        took_s = time.monotonic() - started
        print(f"seed {SEED}: {kills} kills in {runs} runs, {dict(when)}, {took_s:.0f} s, all equal", flush=True)


VICTIMS = ("driver", "worker", "raylet", "gcs_server", "everything")


def victims(searches: Searches, driver: int, kind: str) -> list[int]:
    if kind == "everything":
        return searches.processes()
    if kind == "driver":
        return [driver]
    named = {"worker": "ray::", "raylet": "raylet", "gcs_server": "gcs_server"}[kind]
    found = []
    for pid in searches.processes():
        try:
            comm, line = (Path(f"/proc/{pid}/{name}").read_bytes() for name in ("comm", "cmdline"))
        except OSError:
            continue
        if (
            (line.startswith(named.encode()) and b"Trainable" in line)
            if kind == "worker"
            else comm.strip() == named.encode()
        ):
            found.append(pid)
    return found[:1]


@pytest.mark.ray
def test_any_process_of_a_search_is_killed(searches: Searches, whole: tuple[Searches, str, str]) -> None:
    random_of = random.Random(SEED)
    words = (*SEARCH, "--max-concurrent", "2")
    run = searches.folder / "runs" / "tiny"
    kills = Counter[str]()
    codes = Counter[int]()
    started, runs = time.monotonic(), 0
    while sum(kills.values()) < num_kills(30):
        shutil.rmtree(run, ignore_errors=True)
        run.mkdir(parents=True)
        shutil.copy(whole[0].folder / "runs" / "tiny" / "space.json", run)
        (searches.log / "trained.log").unlink(missing_ok=True)
        code = -1
        while code != 0:
            process = searches.start(*words)
            kind, before = random_of.choice(VICTIMS), len(list(run.glob("trials/*.members.parquet")))
            # some time after the workers began, or, late in a run, whenever that is over
            wait_s, begun = random_of.uniform(0.0, 12.0), None
            while process.poll() is None:
                now, stored_now = time.monotonic(), len(list(run.glob("trials/*.members.parquet")))
                if begun is None and (stored_now > before or victims(searches, process.pid, "worker")):
                    begun = now
                if begun is not None and now - begun > wait_s:
                    break
                time.sleep(0.05)
            if process.poll() is None:
                for pid in victims(searches, process.pid, kind):
                    kills[kind] += 1
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        continue
                    if kind == "everything":
                        kills[kind] -= 1
                kills["everything"] += kind == "everything"
            out, err = process.communicate(timeout=TIMEOUT_S * 2)
            searches.kill_all()
            code = process.returncode
            codes[code] += 1
            assert code in (0, 1, 3, -signal.SIGKILL), f"seed {SEED}, {kind}: {code}\n{out}\n{err}"
            assert sum(kills.values()) < num_kills(30) * 3, f"seed {SEED}: it does not end\n{out}\n{err}"
        assert_as_if_nothing_had_been(searches, whole[0])
        runs += 1
        took_s = time.monotonic() - started
        print(
            f"seed {SEED}: {dict(kills)} kills in {runs} runs, exit codes {dict(codes)}, {took_s:.0f} s, all equal",
            flush=True,
        )
