"""Experiments of the papers: two scales in one module, and rows that are held by spaces or scripts."""

from __future__ import annotations

from pathlib import Path

import pytest

from tune_lb.errors import RequestError
from tune_lb.space.loading import declared, load_space, space_names
from tune_lb.space.papers import PAPERS, ROWS, SCALES, SCRIPTS

ROOT = Path(__file__).parents[2]
MODULE = """
from tune_lb import Arm, Epochs, Space
from tune_lb.data import Digits
from tune_lb.models import MLP
from tune_lb import Experiment

def space(epochs):
    return Space(question="which?", data=Digits(), model=MLP(), lr=0.1, batch_size=20, budget=Epochs(epochs), arms=(Arm("one"),))

SPACE = Experiment(rows=("keskar: table 2",), small=space(1), paper=space(9), differs=("one epoch of 9",), cost="a second",
                   paper_cost="a minute")
"""


@pytest.fixture
def module(tmp_path: Path) -> str:
    path = tmp_path / "in_two_scales.py"
    path.write_text(MODULE)
    return str(path)


@pytest.mark.parametrize(
    ("scale", "epochs", "differs", "run"),
    [
        (None, 1, ("one epoch of 9",), "in_two_scales"),
        ("small", 1, ("one epoch of 9",), "in_two_scales"),
        ("paper", 9, (), "in_two_scales_paper"),
    ],
)
def test_an_experiment_is_a_space_at_either_scale(
    module: str, scale: str | None, epochs: float, differs: tuple[str, ...], run: str
) -> None:
    loaded = load_space(module, scale)
    assert (loaded.space.budget.epochs, loaded.space.differs, loaded.name) == (epochs, differs, run)  # type: ignore[attr-defined]
    assert loaded.space.rows == ("keskar: table 2",)


@pytest.mark.parametrize(
    ("name", "scale", "line"),
    [(name, "papre", "there are small and paper; did you mean 'paper'?") for name in ("quickstart", None)],
)
def test_a_scale_that_is_none(module: str, name: str | None, scale: str, line: str) -> None:
    with pytest.raises(RequestError, match=line.replace("?", r"\?")):
        load_space(name or module, scale)


@pytest.mark.parametrize("scale", SCALES)
def test_a_space_that_is_no_experiment_has_one_size(scale: str) -> None:
    found, plain = load_space("quickstart", scale), load_space("quickstart")
    assert (found.space, found.name, found.scale) == (plain.space, "quickstart", None)


def test_each_row_of_the_papers_has_a_space_or_a_script() -> None:
    held = {row: name for name in space_names() for row in declared(name).rows}
    assert set(held) <= set(ROWS), "rows that no paper has"
    assert {row.partition(":")[0] for row in ROWS} == set(PAPERS)
    assert set(SCRIPTS) <= set(ROWS)
    assert [script for script in SCRIPTS.values() if not (ROOT / script).is_file()] == []
    assert len(ROWS) == 55
