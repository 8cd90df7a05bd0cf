"""The one kind of error that a user can mend."""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import re
import sysconfig
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
"""What begins with ESC: CSI sequences (colors, the cursor), OSC strings (titles, links), and the two-character ones."""

_SECRET = re.compile(r"SECRET|TOKEN|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|CREDENTIAL", re.I)
_USER = re.compile(r"(\w+://)[^\s/@]+:[^\s/@]+@")
SHORTEST_SECRET = 6
"""Characters below which the value of a variable is a word like any other."""

PROGRAM = "python -m tune_lb"
"""The program as messages name it: this way it is found wherever Python finds tune_lb, on the PATH or not."""


class RequestError(Exception):
    """What was asked cannot be done as it stands; nothing was started. Carries every problem found, one line each."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = [without_secrets(line) for line in ([problems] if isinstance(problems, str) else problems)]
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


def defined_at(value: Any) -> str:
    """Return file:line where a function of the user's own begins, or that of a class's __call__; nothing where there is none."""
    function = getattr(value, "func", value)
    function = function if hasattr(function, "__code__") else inspect.getattr_static(type(function), "__call__", None)
    code = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None and not is_library(code.co_filename) else ""


def without_secrets(text: str) -> str:
    """Return a text without values of environment variables that are called secrets, and what stands before a URI's host."""
    for name, value in os.environ.items():
        if len(value) >= SHORTEST_SECRET and value in text and _SECRET.search(name):
            text = text.replace(value, f"${name}")
    return _USER.sub(r"\1...@", text)


def plain(text: str) -> str:
    """Return a text as it may be stored and printed: without secrets, control sequences, and other control characters."""
    return "".join(c if c.isprintable() else " " for c in _SEQUENCE.sub("", without_secrets(text)))


def one_line(error: BaseException, place: str = "") -> str:
    """Return what was raised in one line, with the line of the user's own code that it passed, else the given place."""
    text = " ".join(plain(str(error)).split())
    said = f"{type(error).__name__}: {text:.300}" if text else type(error).__name__
    where = own_line(error) or place
    return f"{said} ({where})" if where else said


@contextlib.contextmanager
def user_code(where: str, *, made_by: Any = None) -> Iterator[None]:
    """Turn whatever code of the user's raises in the block into one line that begins with where; Ctrl-C stays what it is.

    made_by: what made the objects that run, named where no line of the user's was passed: a network of torch's own layers.
    """
    try:
        yield
    except RequestError:
        raise
    # anything may be raised; a network that calls sys.exit() ends neither the search nor the process
    except (Exception, SystemExit) as error:
        raise RequestError(f"{where}: {one_line(error, defined_at(made_by))}") from error
