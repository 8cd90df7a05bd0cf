"""The figure of a landscape, from tables made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.landscape import _curves, _plane, draw, main
from tune_lb.results.columns import Column, table_schema
from tune_lb.results.storage import Store
from tune_lb.results.tables import encode_table, to_table


def table(kinds: tuple[str, ...], *, beta: bool = False, two: bool = False) -> pd.DataFrame:
    places = [(a, b if beta else None) for a in np.linspace(-1, 1, 5) for b in (np.linspace(-1, 1, 5) if beta else [0])]
    rows = [
        {
            "kind": kind, "alpha": a, "beta": b, "batch_norm": "recalibrate", "directions_seed": 0,
            "train_loss": 0.1 + a * a + (b or 0) ** 2, "test_loss": 0.2 + a * a, "train_error": 0.1, "test_error": 0.2,
            "a_arm": "sam", "a_trial_id": "t", "a_seed": 2000, "b_arm": "plain" if two else None,
            "b_trial_id": "u" if two else None, "b_seed": 2001 if two else None,
        }
        for kind in kinds
        for a, b in places
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(table(("linear", "curved"), two=True), marks=pytest.mark.slow),
        pytest.param(table(("slice",)), marks=pytest.mark.slow),
        table(("plane",), beta=True),
    ],
)
def test_every_kind_is_drawn_also_where_losses_are_missing(made: pd.DataFrame) -> None:
    assert draw(made)[:4] == b"\x89PNG"
    made.loc[0, ["train_loss", "train_error"]] = np.nan
    assert draw(made)[:4] == b"\x89PNG"


def test_curves_show_the_table_and_name_the_members() -> None:
    made = table(("linear", "curved"), two=True)
    figure = _curves(made)
    lines = {line.get_label(): line for line in figure.axes[0].get_lines()}
    rows = made[made["kind"] == "linear"]
    np.testing.assert_array_equal(lines["train"].get_ydata(), rows["train_loss"])
    errors = {line.get_label(): line for line in figure.axes[2].get_lines()}
    np.testing.assert_allclose(errors["test"].get_ydata(), 20)
    assert figure._suptitle is not None
    assert figure._suptitle.get_text() == "From sam (seed 2000) (A) to plain (seed 2001) (B)"
    alone = _curves(table(("slice",)))
    assert alone._suptitle is not None
    assert alone._suptitle.get_text() == "Around sam (seed 2000)"
    assert [text.get_text() for text in alone.axes[0].texts] == ["member"]


def test_a_plane_has_the_first_direction_across() -> None:
    made = table(("plane",), beta=True)
    figure = _plane(made)
    assert figure.axes[0].get_xlabel() == "share of the first direction"
    titles = {place.get_title() for place in figure.axes}
    assert {"train loss, nats (log colours)", "test loss, nats (log colours)"} <= titles
    lines = next(part for part in figure.axes[0].collections if not part.filled)
    assert (lines.levels < 0).any(), "losses below 1 nat"
    assert set(lines.linestyles if isinstance(lines.linestyles, list) else [lines.linestyles]) == {"solid"}


def test_the_command_writes_beside_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = table(("slice",))
    kinds = {
        "kind": "str",
        "batch_norm": "str",
        "a_arm": "str",
        "a_trial_id": "str",
        "b_arm": "str",
        "b_trial_id": "str",
    }
    ints = {"a_seed", "b_seed", "directions_seed"}
    columns = [
        Column(name, kinds.get(name, "int" if name in ints else "float"), name)  # type: ignore[arg-type]
        for name in made.columns
    ]
    rows = made.astype(object).where(made.notna(), None).to_dict("records")
    store = Store(tmp_path / "runs" / "made")
    store.child("landscapes").write("one.parquet", encode_table(to_table(table_schema("x", columns), rows, "x")))
    assert main(["made", "one", "--storage", str(tmp_path / "runs")]) == 0
    assert (tmp_path / "runs" / "made" / "landscapes" / "one.png").read_bytes()[:4] == b"\x89PNG"
    assert capsys.readouterr().out.strip().endswith("made/landscapes/one.png")
    assert main(["made", "none", "--storage", str(tmp_path / "runs")]) == 2
    assert "none.parquet" in capsys.readouterr().err
