"""data: the built-in data sets, which of them are there, and how to get the others; and what is read of one's own."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TransferSpeedColumn
from rich.table import Table

from tune_lb.cli.output import Output, command, size
from tune_lb.data.catalogue import ENTRIES, Entry, RemoteFile, entry, how_to_get, look
from tune_lb.data.download import download
from tune_lb.data.places import data_root
from tune_lb.data.user_files import Arrays, ImageFolder
from tune_lb.errors import RequestError
from tune_lb.space.checks import checked_designs
from tune_lb.space.data_sets import all_sources
from tune_lb.space.loading import load_space, space_names

HELD = "{name}: {train:,} examples to train on, {validation:,} for validation, {test:,} for the test"
PRESENT, MISSING, DAMAGED = "present", "missing", "damaged"


def run(given: argparse.Namespace, out: Output) -> int:
    """List all data sets; or read one whole and say whether it can be used, after downloading it if asked."""
    root = data_root()
    if given.name is None:
        if given.download:
            raise RequestError("--download: name one data set, as in `data MNIST --download`")
        states = [state(found, root) for found in ENTRIES]
        show(states, root, out)
        absent = next((s["name"] for s in states if s["state"] != PRESENT and entry(s["name"]).downloads), None)
        out.close(
            {"root": str(root), "sets": states},
            command("data", absent, "--download") if absent else command("search", "quickstart"),
        )
        return 0
    if given.name not in {known.name for known in ENTRIES} and not given.download and _is_own(given.name):
        return own(given.name, out)
    chosen = entry(given.name)
    found = state(chosen, root, whole=True)
    as_published = all((root / place).exists() for _, place in chosen.unpacked)
    if given.download and found["state"] == PRESENT and as_published:
        out.line(f"{chosen.name} is there and whole: nothing to do")
    elif given.download:
        get(chosen, root, out)
        found = state(chosen, root, whole=True)
    show([found], root, out)
    usable = found["state"] == PRESENT
    following = command("spaces") if usable or not chosen.downloads else command("data", chosen.name, "--download")
    out.close({"root": str(root), "sets": [found]}, following)
    return 0 if usable else 1


def _is_own(name: str) -> bool:
    return name in space_names() or Path(name).expanduser().exists() or (data_root() / name).exists()


def own(name: str, out: Output) -> int:
    """Read the data of a space, a .npz file or a folder of one's own as a search would, and say what was done with them."""
    path = Path(name).expanduser()
    if name in space_names() or path.suffix == ".py":
        sources = list(all_sources(space := load_space(name).space, checked_designs(space)).values())
    else:
        place = path.resolve() if path.exists() else data_root() / name
        arrays = place.is_file() or any(place.glob("*.npz"))
        sources = [Arrays(str(place)) if arrays else ImageFolder(str(place))]
    found = []
    for source in sources:
        loaded = source.load(0)
        sizes = {part: len(getattr(loaded, part).targets) for part in ("train", "validation", "test")}
        shape = loaded.input_shape
        out.line(f"{source}")
        out.line(HELD.format(name=loaded.name, **sizes))
        out.line(f"an example is {shape}, there are {loaded.num_classes} classes")
        for note in loaded.notes:
            out.paragraph(note)
        for problem in loaded.problems:
            out.line(problem, style="red")
        described = {"source": repr(source), "name": loaded.name, "examples": sizes, "notes": list(loaded.notes)}
        found.append(described | {"fingerprint": loaded.fingerprint(), "problems": list(loaded.problems)})
    following = (
        command("search", name, "--dry-run") if path.suffix == ".py" or name in space_names() else command("spaces")
    )
    out.close({"root": str(data_root()), "sets": found}, following)
    return 1 if any(entry["problems"] for entry in found) else 0


def state(of: Entry, root: Path, *, whole: bool = False) -> dict[str, Any]:
    """Return what is known of a data set; whole: after reading all of it, as a search would."""
    found: dict[str, Any] = {
        "name": of.name,
        "source": of.source,
        "contents": of.contents,
        "state": PRESENT,
        "where": [],
        "num_bytes": 0,
        "get": how_to_get(of),
        "download_bytes": sum(file.num_bytes for file in of.downloads) or None,
        "problem": None,
        "examples": None,
    }
    try:
        files = look(of.name, root) if of.forms else None
        if of.forms and files is None:
            found["state"] = MISSING
        elif whole:
            module, name = of.source.rsplit(".", 1)
            loaded = getattr(importlib.import_module(module), name)().load(0)
            if loaded.problems:
                raise RequestError(loaded.problems)
            sizes = [len(part.targets) for part in (loaded.train, loaded.validation, loaded.test)]
            found["examples"] = {"name": loaded.name, "train": sizes[0], "validation": sizes[1], "test": sizes[2]}
    except RequestError as error:
        return found | {"state": DAMAGED, "problem": "; ".join(error.problems)}
    if files is not None:
        found |= {"where": [str(path) for path in files.paths], "num_bytes": files.num_bytes}
    return found


def show(states: list[dict[str, Any]], root: Path, out: Output) -> None:
    """Print the table, and what is wrong with what is damaged."""
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold")
    for column in ("name", "contents", "state", "size", "where, or how to get it"):
        table.add_column(column, no_wrap=column in ("name", "state", "size"), overflow="fold")
    for found in states:
        present = found["state"] == PRESENT
        held = size(found["num_bytes"]) if found["num_bytes"] else "embedded" if present else ""
        folders = [path if path.is_dir() else path.parent for path in map(Path, found["where"])]
        place = ", ".join(dict.fromkeys(str(folder.relative_to(root)) for folder in folders))
        get = found["get"] + (f" ({size(found['download_bytes'])})" if found["download_bytes"] else "")
        style = {PRESENT: None, MISSING: "dim", DAMAGED: "red"}[found["state"]]
        table.add_row(found["name"], found["contents"], found["state"], held, place if present else get, style=style)
    out.line(f"TUNE_LB_DATA = {root}")
    out.line()
    out.show(table)
    for found in states:
        if found["problem"]:
            out.line(f"{found['name']}: {found['problem']}", style="red")
        if found["examples"]:
            out.line(HELD.format(**found["examples"]))
    out.line()
    out.paragraph(
        "your own: tune_lb.data.Arrays (.npz: images or features, labels) and ImageFolder (CLASS/*.jpg); data PATH reads it"
    )


def get(of: Entry, root: Path, out: Output) -> None:
    """Download and unpack with a progress bar for each file."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=out.console) as bars:
        tasks: dict[str, TaskID] = {}

        def progress(file: RemoteFile, there: int, total: int) -> None:
            if file.path not in tasks:
                tasks[file.path] = bars.add_task(Path(file.path).name)
            bars.update(tasks[file.path], completed=there, total=total)

        download(of, root, progress)
