"""The one kind of error that a user can mend."""

from __future__ import annotations

import difflib
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path


class RequestError(Exception):
    """What was asked cannot be done as it stands; nothing was started. Carries every problem found, one line each."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        super().__init__("\n".join(self.problems))


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known word most like the one given, else the known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(known)}" if known else ""


def is_library(file: str) -> bool:
    """Say whether a file belongs to tune_lb, to Python or to an installed package, and not to the user."""
    place = Path(file)
    paths = sysconfig.get_paths()
    foreign = [Path(__file__).parent, *(Path(paths[name]) for name in ("stdlib", "purelib", "platlib", "scripts"))]
    installed = any(part in ("site-packages", "dist-packages") for part in place.parts)
    return installed or any(place.is_relative_to(folder) for folder in foreign)


def own_line(error: BaseException) -> str:
    """Return file:line of the innermost line of the user's own code that an error passed, nothing where there is none."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        # what is compiled on the way has no file, as in <eval_with_key>
        if not frame.filename.startswith("<") and not is_library(frame.filename):
            return f"{frame.filename}:{frame.lineno}"
    return own_line(error.__cause__) if error.__cause__ is not None else ""
