"""The answer of a run: what `python -m analysis` found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

import tune_lb
from tune_lb.cli.arms import show_arms, show_best
from tune_lb.cli.output import Output
from tune_lb.errors import RequestError

Answer = dict[str, Any]


def analyse(name: str, storage: str, *, figures: bool = True) -> Answer:
    """Run the analysis of a run in a process of its own and return its summary. Raises RequestError with what it says."""
    # -P and PYTHONPATH: the analysis beside this package, whatever lies in the working directory
    paths = [str(Path(tune_lb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    words = [sys.executable, "-P", "-m", "analysis", name, "--storage", storage, "--json"]
    done = subprocess.run(
        words if figures else [*words, "--no-figures"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    if done.returncode == 2:
        raise RequestError(done.stderr.strip().splitlines() or f"run {name} cannot be analysed")
    if done.returncode:
        raise AnalysisError(f"the analysis of run {name} failed:\n{done.stderr.strip()}")
    answer: Answer = json.loads(done.stdout)
    return answer


class AnalysisError(Exception):
    """The analysis of a run broke off; the run is as it was."""


def show_answer(out: Output, answer: Answer) -> None:
    """Print the tables, the sentences, the best configurations, what was left out, and where everything lies."""
    show_arms(out, answer["rows"])
    sentences = Table.grid(padding=(0, 1, 0, 0))
    for sentence in answer["sentences"]:
        sentences.add_row("-", sentence)
    out.show(sentences)
    out.line()
    show_best(out, answer["best"])
    show_left_out(out, answer["problems"])


def show_left_out(out: Output, problems: list[str]) -> None:
    """Print one line for each file that could not be used."""
    for problem in problems:
        out.line(f"left out: {problem}", style="red")
    if problems:
        out.line(f"{len(problems)} file(s) left out: what they held is missing above, and the search trains it again")
        out.line()
