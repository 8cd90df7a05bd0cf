"""The notebook runs as it stands, and shows what it came to."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.docs.blocks import ROOT

nbclient = pytest.importorskip("nbclient", reason="pip install 'tune_lb[test]'")
nbformat = pytest.importorskip("nbformat", reason="pip install 'tune_lb[test]'")
pytest.importorskip("ipykernel", reason="pip install 'tune_lb[test]'")

NOTEBOOK = ROOT / "docs" / "results_in_pandas.ipynb"


def said(notebook: Any) -> list[str]:
    """What each cell of code showed, as text."""
    shown = []
    for cell in notebook.cells:
        if cell.cell_type == "code":
            texts = [out.get("text") or out.get("data", {}).get("text/plain", out.output_type) for out in cell.outputs]
            shown.append("".join(texts))
    return shown


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_the_notebook_shows_what_it_comes_to() -> None:
    """Made again by `jupyter execute --inplace docs/results_in_pandas.ipynb`."""
    kept = nbformat.read(NOTEBOOK, as_version=4)
    again = nbformat.from_dict(kept)
    nbclient.NotebookClient(again, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}).execute()
    assert said(again) == said(kept)
    assert "ghost_norm: -0.58 points [-0.75, -0.41] over 24 blocks" in said(kept)[2]


def test_the_notebook_is_small_and_names_no_machine() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 30_000
    assert re.findall(r"(?<![\w.])/(?:root|home|tmp|work|Users)/", text) == []
