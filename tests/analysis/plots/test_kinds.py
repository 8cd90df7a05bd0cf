"""Every kind is drawn; what a run has no data for is said; python -m analysis NAME --figure."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pyarrow as pa
import pytest

from analysis.__main__ import main
from analysis.canvas import png
from analysis.plots.choice import Choice
from analysis.plots.kinds import KINDS, availability, figure, report_figures
from analysis.plots.paper import svg
from analysis.results import Results
from analysis.sections import CAPTIONS
from tests.analysis.fabrication import ARMS, Procedure, fabricate, store_run
from tests.analysis.plots.made import crossed, over_sizes, trained, walked
from tune_lb.errors import RequestError
from tune_lb.results.tables import encode_table

POINTS = [(kind, a / 4) for kind in ("linear", "curved") for a in range(-4, 9)]


@pytest.fixture(scope="module")
def runs() -> dict[str, Results]:
    return {
        "sizes": trained(over_sizes()),
        "walk": walked(over_sizes()),
        "grid": crossed(),
        "search": Results(fabricate()),
    }


def test_every_kind_has_a_caption() -> None:
    assert set(KINDS) <= set(CAPTIONS)


@pytest.mark.parametrize(
    ("run", "kind"),
    [
        *[
            ("sizes", name)
            for name in ("batch_size", "time_to_target", "with_without", "train_and_test", "curves", "trajectory")
        ],
        *[("walk", name) for name in ("walk", "cosine", "distance")],
        *[("grid", name) for name in ("heat_map", "dimension")],
        *[("search", name) for name in ("test_error", "search", "sharpness_and_gap", "sharpness_and_loss")],
        *[("search", name) for name in ("tuning_curves", "pareto")],
    ],
)
def test_figures_are_drawn(runs: dict[str, Results], run: str, kind: str) -> None:
    drawn = figure(runs[run], kind)
    assert png(drawn).startswith(b"\x89PNG")
    root = ElementTree.fromstring(svg(drawn))
    said = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}title")]
    assert len(said) >= 5
    assert all(any(letter.isdigit() for letter in text) and "$" not in text for text in said)
    assert not [link for link in root.iter("{http://www.w3.org/2000/svg}a")]


def test_a_tip_says_which_arm_where_and_how_much(runs: dict[str, Results]) -> None:
    root = ElementTree.fromstring(svg(figure(runs["grid"], "heat_map")))
    said = [text.text or "" for text in root.iter("{http://www.w3.org/2000/svg}title")]
    # 5 points at eta/B = 3e-4, 2 more for each factor of e: 0.1 / 32 is log(0.003125 / 3e-4) = 2.3434 away
    assert "plain\nB = 32, rate 0.1\ntest error 9.69 %\nn = 1" in said


def test_the_report_takes_what_the_shape_of_the_space_calls_for(runs: dict[str, Results]) -> None:
    taken = {name: set(report_figures(run)) for name, run in runs.items()}
    over = {"batch_size", "with_without", "pareto"}
    assert taken["sizes"] == over | {"time_to_target", "train_and_test", "curves", "trajectory"}
    assert taken["walk"] == over | {"walk", "cosine", "distance"}
    assert "heat_map" in taken["grid"]
    assert taken["search"] == {"tuning_curves", "pareto"}


def test_what_cannot_be_drawn_has_a_reason(runs: dict[str, Results]) -> None:
    found = availability(runs["grid"])
    assert not found["heat_map"]
    assert "Walk(" in found["walk"]
    assert "Watch(" in found["train_and_test"] or "history" in found["train_and_test"]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = str(tmp_path_factory.mktemp("runs") / "made")
    store = store_run(fabricate(ARMS, Procedure(num_samples=4, confirm_blocks=4)), folder)
    rows = [
        {
            **{
                "kind": kind,
                "alpha": a,
                "beta": None,
                "a_arm": "small_batch",
                "b_arm": "large_batch",
                "batch_norm": "recalibrate",
            },
            **{"a_seed": 2000, "b_seed": 2000, "train_loss": 0.1 + a * a, "test_loss": 0.2 + a * a},
            **{"train_error": 0.01, "test_error": 0.05},
        }
        for kind, a in POINTS
    ]
    store.child("landscapes").write("paths.a-b.parquet", encode_table(pa.Table.from_pylist(rows)))
    return folder


def test_one_figure_is_written_where_it_is_asked_for(
    stored: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "paths.svg"
    assert main([stored, "--figure", "paths", "--y", "train_loss", "test_accuracy", "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    ElementTree.fromstring(out.read_bytes())
    assert main([stored, "--figure", "batch_size", "--y", "test_error", "keskar.full_1e-3"]) == 0
    assert [Path(line).name for line in capsys.readouterr().out.split()] == ["batch_size.png", "batch_size.svg"]


def test_the_figures_are_listed_with_what_they_need(stored: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([stored, "--list-figures"]) == 0
    has, none = capsys.readouterr().out.split("and none for")
    assert "batch_size" in has
    assert "Walk(" in none


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["--figure", "batchsize"], "did you mean 'batch_size'"),
        (["--figure", "batch_size", "--y", "tst_error"], "did you mean 'test_error'"),
        (["--figure", "walk"], "write Space(walk=Walk("),
        (["--figure", "test_error", "--arms", "smal_batch"], "--arms would be ignored; it takes no options"),
        (["--figure", "time_to_target", "--x", "lr"], "--x would be ignored; it takes --target"),
        (["--figure", "batch_size", "--out", "figure.jpg"], "give a file that ends in .png, .svg, .pdf"),
        (["--figure", "batch_size", "--out", "nowhere/figure.png"], "make it first"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    stored: str, given: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([stored, *given]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_an_unknown_figure_is_no_figure(runs: dict[str, Results]) -> None:
    with pytest.raises(RequestError, match="there is no figure"):
        figure(runs["grid"], "nothing", Choice())
