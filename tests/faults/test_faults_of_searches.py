"""Real searches, and real faults in the middle: arms that crash, removed files, storage that fails, Ray killed."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from tests.searching import SEARCH, SPACE, TIMEOUT_S, WITNESS, Searches, assert_as_if_nothing_had_been

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc"),
]

BAD = """

@dataclass(frozen=True)
class Bad(MLP):
    how: str = ""

    def __call__(self, input_shape, num_classes):
        if in_worker():
            if self.how == "segfault":
                import ctypes

                ctypes.string_at(0)
            if self.how == "exit":
                os._exit(7)
            if self.how == "hang":
                import time

                time.sleep(3600)
        return super().__call__(input_shape, num_classes)
"""

FEW = ("--num-samples", "1", "--confirm-blocks", "2", "--block-seeds", "1")
BAD_ARMS = '        Arm("{how}s", GradientNoise(alpha=1e-3), model=witness.Bad(hidden=(8,), how="{how}")),\n'


def with_bad_arms(searches: Searches, *ways: str) -> None:
    """Give the space arms whose networks end or hold up their worker, before all others."""
    text = SPACE.replace("    arms=(\n", "    arms=(\n" + "".join(BAD_ARMS.format(how=how) for how in ways))
    searches.space.write_text(text)
    (searches.folder / "spaces" / "witness.py").write_text(WITNESS + BAD)


def line_of(searches: Searches, text: str) -> int:
    lines = (searches.folder / "spaces" / "witness.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if text in line)


@pytest.mark.soak
def test_arms_that_crash_are_set_aside_and_named_and_the_rest_is_trained(searches: Searches) -> None:
    with_bad_arms(searches, "segfault", "exit")
    code, out, err = searches.run("search", "spaces/tiny.py", "--max-concurrent", "1", *FEW)
    assert (code, err) == (3, ""), out + err
    assert "(raylet)" not in out
    results = searches.results("tiny")
    completed = results[results["status"] == "completed"]
    assert set(completed["arm"]) == {"small", "large", "noisy"}
    assert {"confirm"} <= set(completed["stage"])
    for arm, what, where in (
        ("segfaults", "died of SIGSEGV", ""),
        ("exits", "ended itself with exit code 7", "os._exit(7)"),
    ):
        (line,) = [line for line in out.splitlines() if f"arm {arm!r} is set aside" in line] or [out]
        assert line.startswith("failed: ")
        assert what in line
        if where:
            assert f"witness.py:{line_of(searches, where)}" in line
    assert "the same command trains them again" in out


@pytest.mark.soak
def test_an_arm_that_hangs_is_set_aside(searches: Searches) -> None:
    with_bad_arms(searches, "hang")
    code, out, err = searches.run("search", "spaces/tiny.py", "--max-concurrent", "1", "--silence-limit", "40s", *FEW)
    assert (code, err) == (3, ""), out + err
    assert any("arm 'hangs'" in line and "no sign of life for 40 s" in line for line in out.splitlines()), out
    results = searches.results("tiny")
    assert set(results[results["status"] == "completed"]["arm"]) == {"small", "large", "noisy"}


def begun_like(searches: Searches, whole: Searches) -> Path:
    """Begin the run where the other was when it had been prepared: how its members are trained was timed then."""
    run = searches.folder / "runs" / "tiny"
    run.mkdir(parents=True)
    shutil.copy(whole.folder / "runs" / "tiny" / "space.json", run)
    return run


@pytest.mark.soak
def test_a_second_search_is_refused_and_removed_files_are_trained_again(
    searches: Searches, whole: tuple[Searches, str, str]
) -> None:
    run = begun_like(searches, whole[0])
    marker = searches.folder / "marker"
    process = searches.start(
        *SEARCH, "--max-concurrent", "1", TUNE_LB_PAUSE="report@.decide.:25", TUNE_LB_PAUSE_MARKER=str(marker)
    )
    end = time.monotonic() + TIMEOUT_S
    while not marker.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.02)
    assert marker.exists()
    before = searches.stored("tiny")
    for more in ((), ("--fresh",)):
        code, out, err = searches.run(*SEARCH, *more)
        assert code == 2, out
        assert f"run 'tiny' is being searched by process {process.pid} on" in err
        assert len(err.splitlines()) == 1
    assert searches.stored("tiny") == before
    shutil.rmtree(run / "trials")
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (0, ""), out
    assert "were removed while the search ran; they were trained again" in out
    assert_as_if_nothing_had_been(searches, whole[0])
    assert not (run / "lock.json").exists()


@pytest.mark.soak
def test_storage_that_fails_in_the_middle_is_one_message_and_resumable(
    searches: Searches, whole: tuple[Searches, str, str]
) -> None:
    run = begun_like(searches, whole[0])
    process, _ = searches.start_until("report@.search.", *SEARCH, "--max-concurrent", "1")
    # from now on nothing can be written there, by the worker or by the driver
    for folder in ("trials", "results", "ledger"):
        shutil.move(run / folder, searches.folder / folder)
        (run / folder).write_text("a file where a folder is needed")
    (worker,) = [int(word) for word in (searches.folder / "marker").read_text().splitlines()[:1]]
    os.kill(worker, signal.SIGKILL)
    out, err = process.communicate(timeout=TIMEOUT_S)
    assert (process.returncode, err) == (1, ""), out
    (line,) = [line for line in out.splitlines() if line.startswith("stopped: ")]
    assert "storage: cannot" in line
    assert "the same command goes on from there" in out
    assert "Traceback" not in out
    assert out.splitlines()[-1].startswith("next: ")
    for folder in ("trials", "results", "ledger"):
        (run / folder).unlink()
        shutil.move(searches.folder / folder, run / folder)
    stored, trained = searches.stored("tiny"), len(searches.trained())
    code, out, err = searches.run(*SEARCH)
    assert (code, err) == (0, ""), out
    assert not set(searches.trained()[trained:]) & set(stored)
    assert_as_if_nothing_had_been(searches, whole[0])


# in CI the head is killed, and SIGTERM sent, at moments of tests/tuning/test_resume.py
@pytest.mark.soak
@pytest.mark.parametrize("how", ["head", "raylet", "SIGTERM", "SIGINT twice"])
def test_the_end_of_ray_or_of_every_process_is_said_within_seconds(searches: Searches, how: str) -> None:
    searches.end_at("report@.search.", how, *SEARCH, "--max-concurrent", "1")
