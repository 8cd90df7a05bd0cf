"""check: whether the files of a run are whole: checksums, parts, members each once, merged files equal to their parts."""

from __future__ import annotations

import argparse

from tune_lb.cli.asked import search_command
from tune_lb.cli.output import Output, on_run
from tune_lb.cli.runs import check_run_name, find_run
from tune_lb.errors import RequestError
from tune_lb.results.damage import Damage, damages, files_of, merged_otherwise, missing_parts, without_checksum
from tune_lb.results.merger import trial_stems
from tune_lb.results.run_files import read_space

WHOLE, FAILED, DAMAGED = 0, 1, 3


def run(given: argparse.Namespace, out: Output) -> int:
    """Print a line for each thing that is wrong; nothing in the run is changed."""
    check_run_name(given.name)
    store = find_run(given.name, given.storage)
    try:
        paths = files_of(store)
        found = damages(store, paths) + missing_parts(store)
        wrong = {damage.path for damage in found}
        unsure = without_checksum(store, [path for path in paths if path not in wrong and not path.endswith(".png")])
        if not found and trial_stems(store):
            found += merged_otherwise(store)
    except RequestError as error:
        out.line(f"the check broke off: {error}", style="red")
        out.close({"run": given.name, "whole": None}, on_run("check", given.name, given.storage))
        return FAILED
    for damage in found:
        out.line(str(damage), style="red")
    if unsure:
        out.line(
            f"{len(unsure):,} file(s) carry no checksum, as runs of before have none: their form alone was looked at"
        )
    state = f"{len(found):,} thing(s) are damaged" if found else "whole"
    out.line(f"{len(paths):,} files in {store.location}: {state}", style="bold")
    if found:
        out.line("the search sets aside what is damaged, in damaged/, and trains again what it held")
    lines = [{"path": damage.path, "reason": damage.reason} for damage in found]
    result = {
        "run": given.name,
        "whole": not found,
        "files": len(paths),
        "without_checksum": len(unsure),
        "damaged": lines,
    }
    out.close(result, _following(given, found))
    return DAMAGED if found else WHOLE


def _following(given: argparse.Namespace, found: list[Damage]) -> str:
    if not found:
        return on_run("report", given.name, given.storage)
    try:
        return search_command(read_space(find_run(given.name, given.storage)).get("asked", {}))
    except RequestError:
        return "the search command with which the run was begun"
