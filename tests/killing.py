"""Kill a process at one of the points of tune_lb.pause."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import tune_lb

REPOSITORY = Path(tune_lb.__file__).parents[1]


def kill_at(point: str, code: str, folder: Path, timeout_s: float = 60.0) -> str:
    """Run Python code, kill it (SIGKILL) where it pauses, and return the detail that it paused at."""
    marker = folder / "marker"
    environment = {
        **os.environ,
        "PYTHONPATH": str(REPOSITORY),
        "TUNE_LB_PAUSE": f"{point}:60",
        "TUNE_LB_PAUSE_MARKER": str(marker),
    }
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    try:
        end = time.monotonic() + timeout_s
        while not marker.exists() and process.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        assert marker.exists(), f"the process never came to {point}; it returned {process.poll()}"
        pid, _, detail = marker.read_text(encoding="utf-8").splitlines()
        assert int(pid) == process.pid
        return detail
    finally:
        process.kill()
        process.wait()
        marker.unlink(missing_ok=True)
