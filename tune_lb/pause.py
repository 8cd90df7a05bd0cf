"""Stop a process at a named point, so that a test can kill it there.

A search must survive a kill at any moment, and the dangerous moments last microseconds: a file is complete under its
temporary name and not yet renamed, a ledger event is half recorded, a trial's rows are stored and not yet reported,
a training step is under way. A test cannot hit them by timing. It sets an environment variable, which worker processes
inherit, waits for the marker file, and kills the process whose id the marker holds. Without the variable a call is one
look-up.

    TUNE_LB_PAUSE="rename:60"                     sleep 60 seconds at every rename
    TUNE_LB_PAUSE="rename@.members.parquet:60"    only where the detail contains that text
    TUNE_LB_PAUSE_MARKER="PATH"                   written before the sleep: process id, point, detail (three lines)
"""

from __future__ import annotations

import os
import time

POINTS = ("rename", "ledger", "measure", "report", "step")
"""rename: before a complete temporary file is renamed; ledger: the same for a ledger event; measure: members are stored and not
yet measured; report: rows are stored and not yet reported; step: between two training steps."""


def pause(point: str, detail: str = "") -> None:
    """Sleep if the environment asks for it at this point.

    point: one of POINTS. detail: what is at hand (a path, a step), in which the text after '@' is looked for.
    Raises ValueError where TUNE_LB_PAUSE is not of the form above: a misspelt point would never be reached.
    """
    setting = os.environ.get("TUNE_LB_PAUSE")
    if not setting:
        return
    where, _, seconds = setting.rpartition(":")
    wanted, _, text = where.partition("@")
    if wanted not in POINTS or not seconds.replace(".", "", 1).isdecimal():
        form = f"POINT:SECONDS or POINT@TEXT:SECONDS with POINT one of {', '.join(POINTS)}"
        raise ValueError(f"TUNE_LB_PAUSE={setting!r}: expected {form}")
    if wanted != point or text not in detail:
        return
    marker = os.environ.get("TUNE_LB_PAUSE_MARKER")
    if marker:
        part = f"{marker}.{os.getpid()}"
        with open(part, "w", encoding="utf-8") as file:
            file.write(f"{os.getpid()}\n{point}\n{detail}\n")
        os.replace(part, marker)
    time.sleep(float(seconds))
