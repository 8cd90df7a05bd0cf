"""Damaged files of a run: found by their checksums, else by their form; set aside, so that they are made again.

damaged/ holds what was set aside, under the path that it had in the run. What is lost with a file of a trial, or with weights, are
the members of one part of a job: its three files in trials/ are set aside together, and the search trains those members again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

import pyarrow as pa
import safetensors

from tune_lb.errors import RequestError
from tune_lb.results.locations import DamagedError, StorageError
from tune_lb.results.merger import Merger, conformed, trial_stems
from tune_lb.results.storage import Store
from tune_lb.results.tables import decode_table
from tune_lb.results.wholeness import has_checksum

FOLDER: Final = "damaged"
FOLDERS: Final = (
    "trials",
    "measurements",
    "weights",
    "ledger",
    "checkpoints",
    "landscapes",
    "results",
    "history",
    "predictions",
)
"""Where a run's files are; report/ is made again by every report, and not looked at."""

KINDS: Final = ("members", "history", "predictions")
"""Of the files of a part of a job, the one that commits the others first: it is moved first as well."""

WEIGHTS_BYTES: Final = 2 << 30
"""Weights of a run that are read through before a search goes on, bytes; more are looked at when they are used, or by `check`."""

_WEIGHTS: Final = re.compile(r"weights/(\w+)\.(\d+)(?:\.epoch\d+)?\.safetensors")


@dataclass(frozen=True)
class Damage:
    """A file that cannot be used. path: in the run's folder. reason: what is wrong with it."""

    path: str
    reason: str

    def __str__(self) -> str:
        return f"{self.path} is damaged: {self.reason}"


def files_of(run: Store, folders: Iterable[str] = FOLDERS) -> list[str]:
    """Return the paths of a run's files, those that are half written left out."""
    top = [name for name in run.list() if name == "space.json"]
    return top + [f"{folder}/{name}" for folder in folders for name in run.child(folder).list()]


def damages(run: Store, paths: Sequence[str]) -> list[Damage]:
    """Return which of these files are not whole. Cost: reads them all, and about 1 ms a MB."""
    with ThreadPoolExecutor(8 if run.is_local else 32) as threads:
        found = zip(paths, threads.map(lambda path: _wrong(run, path), paths), strict=True)
        return [Damage(path, reason) for path, reason in found if reason is not None]


def without_checksum(run: Store, paths: Sequence[str]) -> list[str]:
    """Return which of these whole files carry no checksum: those of runs made before there were any, and figures."""
    with ThreadPoolExecutor(8 if run.is_local else 32) as threads:
        found = threads.map(lambda path: has_checksum(run.read(path)), paths)
        return [path for path, has in zip(paths, found, strict=True) if not has]


def merged_otherwise(run: Store) -> list[Damage]:
    """Return which merged files are there and hold other members, or other rows, than the files of the trials."""
    merger = Merger(run)
    merger.add_new()
    found = [Damage("trials", line.partition(": ")[2]) for line in merger.problems]
    parts: dict[str, pa.Table] = {"results/members.parquet": merger.table()}
    parts |= {f"{kind}/{kind}.parquet": merger.view(kind)[0] for kind in ("history", "predictions")}
    for path, own in parts.items():
        if run.exists(path):
            merged = decode_table(run.read(path))
            if not _same_rows(own, merged):
                reason = f"it has other rows than the trials ({merged.num_rows:,}, not {own.num_rows:,})"
                found.append(Damage(path, reason))
    return found


def _same_rows(own: pa.Table, merged: pa.Table) -> bool:
    names = [name for name in merged.schema.names if name in own.schema.names]
    if own.num_rows != merged.num_rows or set(own.schema.names) - set(names):
        return False
    own, merged = own.select(names), merged.select(names)
    order = [(name, "ascending") for name in ("trial_id", "seed", "step", "name") if name in names]
    return bool(conformed(own, merged.schema).sort_by(order).equals(merged.sort_by(order)))


def missing_parts(run: Store) -> list[Damage]:
    """Return the history and predictions that members in trials/ should have beside them, and have not."""
    there = set(run.child("trials").list(suffix=".parquet"))
    names = [f"{stem}.{kind}.parquet" for stem in trial_stems(run) for kind in KINDS]
    return [Damage(f"trials/{name}", "it is missing") for name in names if name not in there]


def set_aside(run: Store, path: str) -> None:
    """Move a file into damaged/; what is not there is left so."""
    target = f"{FOLDER}/{path}"
    if run.exists(path):
        number = 1
        while run.exists(target):
            number += 1
            target = f"{FOLDER}/{path}.{number}"
        run.move(path, target)


def mend(run: Store) -> list[str]:
    """Set aside what is damaged in a run that a search goes on with; return one line for each file, with what becomes of it.

    Checkpoints are looked at by the worker that goes on from them.
    """
    folders = ["trials", "measurements", "ledger", "results", "history", "predictions"]
    if run.child("weights").size_bytes() <= WEIGHTS_BYTES:
        folders.append("weights")
    found = damages(run, files_of(run, folders)) + missing_parts(run)
    lost = {key for damage in found if (key := _weights_of(damage.path)) is not None} | _weights_set_aside(run)
    stems = _stems_of(run, lost) if lost else set()
    lines = []
    for damage in found:
        stem, said = _consequence(run, damage.path)
        stems |= {stem} if stem else set()
        lines.append(f"{damage}; it is set aside in {run.location}/{FOLDER}, and {said}")
        if not damage.path.startswith("trials/"):
            set_aside(run, damage.path)
    for stem in sorted(stems):
        for kind in KINDS:
            set_aside(run, f"trials/{stem}.{kind}.parquet")
    return lines


def _consequence(run: Store, path: str) -> tuple[str, str]:
    """Return the stem of the trial that is lost with a file, and what becomes of it in words."""
    again = "the members that it is about are trained again"
    folder, _, name = path.rpartition("/")
    if folder == "trials":
        return re.sub(r"\.\w+\.parquet$", "", name), again
    if folder == "measurements" and name.endswith(".measured.parquet"):
        stem = name.removesuffix(".measured.parquet")
        return (stem, again) if run.exists(f"trials/{stem}.members.parquet") else ("", "it is not needed")
    if folder == "weights":
        return "", again
    return "", {
        "": "it is made anew from the space and the members",
        "measurements": "`measure` measures it again",
        "ledger": "the search records what it needs again",
    }.get(folder, "it is made again from the files of the trials")


def _weights_of(path: str) -> tuple[str, int] | None:
    """Return the member whose weights a file holds."""
    match = _WEIGHTS.match(path)
    return None if match is None else (match[1], int(match[2]))


def _weights_set_aside(run: Store) -> set[tuple[str, int]]:
    """Return the members whose weights were set aside, and were not made again since."""
    there = set(run.child("weights").list())
    paths = [f"weights/{name}" for name in run.child(FOLDER, "weights").list()]
    gone = [match for path in paths if (match := _WEIGHTS.match(path)) and match[0].partition("/")[2] not in there]
    return {(match[1], int(match[2])) for match in gone}


def _stems_of(run: Store, keys: set[tuple[str, int]]) -> set[str]:
    merger = Merger(run)
    merger.add_new()
    return merger.stems_of(keys)


def _wrong(run: Store, path: str) -> str | None:
    """Say what is wrong with a file; what storage refuses for another reason is raised."""
    try:
        contents = run.read(path)
    except DamagedError as error:
        return error.reason
    except StorageError:
        if run.exists(path):
            raise
        return None  # it went since it was listed
    if has_checksum(contents):
        return None
    try:
        if path.endswith(".parquet"):
            decode_table(contents)
        elif path.endswith(".safetensors"):
            safetensors.deserialize(contents)  # type: ignore[no-untyped-call]
        elif path.endswith(".json"):
            json.loads(contents)
    except (RequestError, safetensors.SafetensorError, ValueError) as error:
        return " ".join(str(error).split())
    return None
