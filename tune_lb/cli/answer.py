"""The answer of a run: what `python -m analysis` found."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

import tune_lb
from tune_lb.cli.arms import show_arms, show_best
from tune_lb.cli.output import Output, command, on_run
from tune_lb.errors import RequestError

Answer = dict[str, Any]


def analyse(
    name: str | Sequence[str], storage: str, *options: str, write: bool = True, to: str | None = None
) -> Answer:
    """Run the analysis of a run, or of several as one, in a process of its own and return its summary.

    Raises RequestError with what it says.

    write: also write tables, figures and the report, into the run's folder or the folder `to`. Where that cannot be written, the
    summary says so under "unwritten". options: more of `python -m analysis`.
    """
    words = [*options, *(() if write else ("--no-files",)), *(() if to is None else ("--out", to))]
    names = [name] if isinstance(name, str) else list(name)
    done = run_analysis("analysis", *names, "--storage", storage, "--json", *words)
    if done.returncode == 2:
        raise RequestError(done.stderr.strip().splitlines() or f"run {' '.join(names)} cannot be analysed")
    if done.returncode:
        raise AnalysisError(f"the analysis of run {' '.join(names)} failed:\n{done.stderr.strip()}")
    answer: Answer = json.loads(done.stdout)
    return answer


def run_analysis(module: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a module of the analysis in a process of its own, and return what it printed."""
    # -P and PYTHONPATH: the analysis beside this package, whatever lies in the working directory
    paths = [str(Path(tune_lb.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    # figures go to files: a backend of windows that somebody's shell asks for may not be there
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), "MPLBACKEND": "agg"}
    command = [sys.executable, "-P", "-m", module, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=env)


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


def show_unwritten(out: Output, answer: Answer) -> bool:
    """Say where the report could not be written; whether that is so."""
    unwritten = answer.get("unwritten")
    if unwritten:
        out.line(f"the report was not written: {unwritten}; `report --out FOLDER` writes it elsewhere", style="red")
    return bool(unwritten)


def recommended(answer: Answer, name: str, storage: str) -> str:
    """Return the command that prints the recipe of the arm to use: of the claimed improvements the largest."""
    claimed = [row for row in answer["rows"] if row["claim"] and row["difference"] < 0 and row["arm"] in answer["best"]]
    if claimed:
        arm = min(claimed, key=lambda row: float(row["difference"]))["arm"]
        return f"{on_run('best', name, storage, arm)} > recipe.py"
    return on_run("best", name, storage) if answer["best"] else command("spaces")
