"""doctor: what of this machine a search will use, and what stands in its way; with a space, see arm_findings."""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from tune_lb.cli.output import Output, command, duration, size
from tune_lb.data.places import data_root
from tune_lb.errors import RequestError
from tune_lb.results.storage import Store
from tune_lb.space.loading import load_space, space_names

LEAST_DISK_BYTES = 2e9
PACKAGES = ("torch", "torchvision", "ray", "optuna", "pandas", "pyarrow", "numpy", "scipy", "scikit-learn")

RAY_TIMEOUT_S = 120
RAY_START = """
import logging, ray
ray.init(address="local", include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
there = ray.cluster_resources()
print(f"{there.get('CPU', 0):g} CPUs and {there.get('GPU', 0):g} GPUs")
ray.shutdown()
"""
"""Run in a process of its own: what Ray prints, and what it leaves behind, stays there."""


class Finding(NamedTuple):
    """One line: what was looked at, what was found, and what to do where it is not good (empty: nothing)."""

    subject: str
    found: str
    advice: str = ""


def run(given: argparse.Namespace, out: Output) -> int:
    """Print the findings; the exit code is 1 where something must be done."""
    if given.space is not None:
        from tune_lb.cli import arm_findings

        return arm_findings.run(given, out)
    findings = []
    for finding in examine(given.storage):
        findings.append(finding)
        verdict = "problem" if finding.advice else "ok"
        advice = f": {finding.advice}" if finding.advice else ""
        out.line(f"{verdict:<8} {finding.subject:<9} {finding.found}{advice}", style="red" if finding.advice else None)
    bad = [finding.subject for finding in findings if finding.advice]
    result = {"ok": not bad, "findings": [finding._asdict() for finding in findings]}
    out.close(result, command("doctor") if bad else command("search", "quickstart"))
    return 1 if bad else 0


def examine(storage: str) -> Iterator[Finding]:
    """Look at everything, the slow start of Ray last."""
    yield _python()
    yield _packages()
    yield from _devices()
    yield _storage(storage)
    yield _disk(storage)
    yield _data()
    yield _spaces()
    yield _ray()


def _python() -> Finding:
    advice = "" if sys.version_info >= (3, 11) else "tune_lb needs Python 3.11 or newer"
    return Finding("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}", advice)


def _packages() -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            missing.append(name)
    return Finding("packages", ", ".join(found), f"missing: {', '.join(missing)}; pip install -e ." if missing else "")


def _devices() -> Iterator[Finding]:
    import torch

    from tune_lb.tuning.resources import usable_cpus

    yield Finding("cpu", f"{usable_cpus()} usable cores; torch takes {torch.get_num_threads()} threads, a trial 1")
    names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    yield Finding("gpu", ", ".join(names) or "none that torch can use (a search runs on the CPU)")


def _storage(storage: str) -> Finding:
    try:
        store = Store(storage)
        store.check_writable()
    except RequestError as error:
        return Finding("storage", "cannot be used", str(error))
    return Finding("storage", f"{store.location} can be written")


def _disk(storage: str) -> Finding:
    store = Store(storage)
    if not store.is_local:
        return Finding("disk", "not on this machine")
    folder = next(path for path in (Path(store.location), *Path(store.location).parents) if path.exists())
    free = shutil.disk_usage(folder).free
    return Finding(
        "disk", f"{size(free)} free", "free some space, or give --storage" if free < LEAST_DISK_BYTES else ""
    )


def _data() -> Finding:
    root = data_root()
    if "TUNE_LB_DATA" in os.environ and not root.is_dir():
        return Finding("data", f"TUNE_LB_DATA = {root}", "there is no such folder; set it to where data sets lie")
    held = sorted(path.name for path in root.iterdir() if not path.name.startswith(".")) if root.is_dir() else []
    return Finding("data", f"{root}: {', '.join(held) or 'nothing'}; digits need no files")


def _spaces() -> Finding:
    broken = []
    for name in space_names():
        try:
            load_space(name)
        except RequestError as error:
            broken.append(str(error))
    return Finding("spaces", ", ".join(space_names()) or "none", "; ".join(broken))


def _ray() -> Finding:
    started = time.monotonic()
    try:
        words = [sys.executable, "-c", RAY_START]
        done = subprocess.run(words, capture_output=True, text=True, timeout=RAY_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return Finding("ray", f"does not start within {RAY_TIMEOUT_S} s", "is memory or /dev/shm full?")
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        return Finding("ray", "does not start", last)
    return Finding("ray", f"starts in {duration(time.monotonic() - started)} with {done.stdout.splitlines()[-1]}")
