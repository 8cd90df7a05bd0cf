"""Tables for papers: what LaTeX is given, and numbers that are those of the frames."""

from __future__ import annotations

import io
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from analysis.document import table
from analysis.report import report
from analysis.results import Results
from analysis.summary import summary
from analysis.tables_for_papers import cell, csv_tables, latex, latex_tables
from tests.analysis.fabrication import ARMS, Procedure, fabricate

NAME = r"sam_50%&{a}\x$#^~"


@pytest.fixture(scope="module")
def results() -> Results:
    arms = {NAME if name == "sam" else name: arm for name, arm in ARMS.items()}
    frames = fabricate(arms, Procedure(num_samples=6, candidates=2, decide_blocks=2, confirm_blocks=4))
    models = {f"arm {name}: model": '{"type": "tune_lb.models.of.C1"}' for name in ("small_batch", "large_batch")}
    return Results(replace(frames, space=frames.space | {"rows": ["keskar: table 2"], "resolved": models}))


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("-1.06 [-1.36, 0.76]", "$-1.06$ [$-1.36$, 0.76]"),
        ("4.35 +- 0.70", r"4.35 $\pm$ 0.70"),
        ("4.6e-04", r"$4.6 \times 10^{-4}$"),
        ("31,200", "$31{,}200$"),
        ("-225 % [-336, -160]", r"$-225$ \% [$-336$, $-160$]"),
        ("-", "--"),
        ("large_batch_2x_epochs", r"large\_batch\_2x\_epochs"),
        ("sam.rho 0.1934, alpha 3.452e-09", r"sam.rho 0.1934, alpha $3.452 \times 10^{-9}$"),
        (NAME, r"sam\_50\%\&\{a\}\textbackslash{}x\$\#\textasciicircum{}\textasciitilde{}"),
        ("a < b | c", r"a \textless{} b \textbar{} c"),
    ],
)
def test_cells_of_latex(text: str, printed: str) -> None:
    assert cell(text) == printed


def test_a_tabular_has_its_columns_to_their_sides_and_leaves_empty_ones_out() -> None:
    rows = [
        {"arm": "a_b", "n": "8", "nothing": "-", "why": "not told"},
        {"arm": "c", "n": "-", "nothing": "", "why": ""},
    ]
    assert latex(table("some_table", rows), "two\nlines").splitlines() == [
        r"% two lines: some table; \usepackage{booktabs}",
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"arm & n & why \\",
        r"\midrule",
        r"a\_b & 8 & not told \\",
        r"c & -- &  \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_a_report_gives_arms_configurations_and_published_values(results: Results) -> None:
    found = latex_tables(report(results, summary(results), []))
    assert {"arms.tex", "configurations.tex"} <= found.keys()
    for text in found.values():
        lines = text.splitlines()
        body = [line for line in lines if line.endswith(r"\\")]
        columns = lines[1].removeprefix(r"\begin{tabular}{").removesuffix("}")
        assert {line.replace(r"\&", "").count("&") for line in body} == {len(columns) - 1}
    assert len([line for line in found["arms.tex"].splitlines() if line.endswith(r"\\")]) == 1 + len(ARMS)


def test_csv_has_the_numbers_themselves(results: Results) -> None:
    found = csv_tables(results)
    arms = pd.read_csv(io.StringIO(found["arms.csv"]), keep_default_na=False)
    assert arms["arm"].tolist() == results.arms["arm"].tolist()
    assert arms["test_error"].astype(float).tolist() == pytest.approx(results.arms["test_error"].tolist(), abs=1e-12)
    assert len(pd.read_csv(io.StringIO(found["configurations.csv"]))) == len(results.configurations)


@pytest.mark.slow
def test_a_paper_with_the_tables_compiles(results: Results, tmp_path: Path) -> None:
    """With booktabs and nothing else: no font encoding is asked for."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("no LaTeX on this machine (apt-get install texlive-latex-recommended)")
    texts = (NAME, 'a "b" <c> | {d} ~ ^', "-1.3e-05 +- 2")
    characters = table("characters", [{"arm": text, "n": "1"} for text in texts])
    tables = latex_tables(report(results, summary(results), [])) | {"characters.tex": latex(characters, "x")}
    assert set(tables) == {"arms.tex", "configurations.tex", "published.tex", "characters.tex"}
    for name, text in tables.items():
        (tmp_path / name).write_text(text)
    inputs = "\n\n".join(rf"\resizebox{{\textwidth}}{{!}}{{\input{{{name}}}}}" for name in tables)
    head = r"\documentclass{article}\usepackage{booktabs,graphicx}\begin{document}"
    (tmp_path / "paper.tex").write_text(f"{head}\n{inputs}\n\\end{{document}}\n")
    words = [program, "-interaction=nonstopmode", "-halt-on-error", "paper.tex"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:]
    assert (tmp_path / "paper.pdf").stat().st_size > 5_000
    assert "Missing character" not in (tmp_path / "paper.log").read_text(errors="replace")
