"""tune-lb, python -m tune_lb: one program."""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
from collections.abc import Sequence

from tune_lb.cli.arguments import parse
from tune_lb.errors import RequestError, one_line, own_line
from tune_lb.lazy import collector_paused

DONE, FAILED, WRONG, INTERRUPTED = 0, 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = parse(argv)
    # commands are imported when they run: some need torch, and --help does not
    from tune_lb.cli.answer import AnalysisError
    from tune_lb.cli.output import Output

    out = Output(given.json)
    try:
        # stdout is one JSON object, or a Python file: what a network or a space prints goes beside it
        only_ours = given.json or given.command == "best"
        with contextlib.redirect_stdout(sys.stderr) if only_ours else contextlib.nullcontext():
            with collector_paused():
                command = importlib.import_module(f"tune_lb.cli.{given.command}")
            code: int = command.run(given, out)
        sys.stdout.flush()
        return code
    except RequestError as error:
        if os.environ.get("TUNE_LB_TRACEBACK"):
            raise
        for problem in error.problems:
            print(f"error: {problem}", file=sys.stderr)
        return WRONG
    except AnalysisError as error:
        print(f"error: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # the reader of our output is gone (`| head`): the interpreter must not fail again when it flushes
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (
        Exception
    ) as error:  # what code of the user's raises is theirs to mend; the rest is a mistake of ours, shown whole
        if not own_line(error) or os.environ.get("TUNE_LB_TRACEBACK"):
            raise
        print(f"error: {given.command}: {one_line(error)}", file=sys.stderr)
        return WRONG


if __name__ == "__main__":
    sys.exit(main())
