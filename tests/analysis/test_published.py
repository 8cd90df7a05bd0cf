"""The papers' numbers, and what is said of a run beside them."""

from __future__ import annotations

import json
from dataclasses import replace

import pandas as pd
import pytest

from analysis.document import bullets
from analysis.published import STATED, beside, published, published_section, stated
from analysis.results import Results
from tests.analysis.fabrication import ARMS, fabricate
from tune_lb.space.papers import ROWS

TABLE = published()


def run(rows: list[str], differs: tuple[str, ...] = (), network: str = "C1") -> Results:
    """Small batch at 3 % test error, large batch at 5 %, sam between them, said to repeat rows of the papers."""
    frames = fabricate()
    models = {f"arm {name}: model": json.dumps({"type": f"tune_lb.models.of.{network}"}) for name in ARMS}
    return Results(replace(frames, space=frames.space | {"rows": rows, "differs": list(differs), "resolved": models}))


def test_rows_are_those_of_the_papers_and_arms_stand_beside_arms_that_are_there() -> None:
    assert set(TABLE["row"]) <= set(ROWS)
    assert not TABLE.duplicated(["row", "network", "data", "case", "quantity"]).any()
    papers = TABLE.assign(paper=TABLE["row"].str.partition(":")[0])
    for paper, of_paper in papers.groupby("paper"):
        assert set(of_paper["against"]) - {""} <= set(of_paper["arm"]), paper


@pytest.mark.parametrize(
    ("network", "drop"), [("F1", 0.22), ("F2", 4.57), ("C1", 2.78), ("C2", 1.98), ("C3", 3.13), ("C4", 5.27)]
)
def test_the_drops_of_table_2_are_those_that_the_accuracies_give(network: str, drop: float) -> None:
    of = TABLE[
        (TABLE["row"] == "keskar: table 2") & (TABLE["network"] == network) & (TABLE["quantity"] == "test_accuracy")
    ]
    small, large = of.set_index("arm")["value"][["small_batch", "large_batch"]]
    assert small - large == pytest.approx(drop, abs=1e-9)


def test_a_run_that_repeats_a_row_has_its_numbers_beside() -> None:
    found = beside(run(["keskar: table 2"])).set_index(["arm", "quantity"])
    assert set(found["network"]) == {"C1"}
    large = found.loc[("large_batch", "test_accuracy")]
    assert large["here"] == pytest.approx(95.0, abs=0.3)
    assert large["published_effect"] == pytest.approx(-2.78)
    assert large["effect_low"] < large["effect"] < large["effect_high"] < 0
    assert (large["level"], large["sign"]) == ("disagrees", "agrees")
    assert large["here_n"] == 20
    train = found.loc[("large_batch", "train_accuracy")]
    assert train["published_effect"] == pytest.approx(-0.23)


def test_an_effect_the_other_way_is_said_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    turned = TABLE.assign(value=TABLE["value"].where(TABLE["arm"] != "large_batch", 99.0))
    monkeypatch.setattr("analysis.published.published", lambda: turned)
    found = beside(run(["keskar: table 2"])).set_index(["arm", "quantity"])
    assert found.loc[("large_batch", "test_accuracy"), "sign"] == "differs"


def test_levels_of_another_size_are_not_comparable_and_signs_are() -> None:
    found = beside(run(["keskar: table 2"], differs=("5,000 of 50,000 images",)))
    assert set(found["level"]) == {"not comparable"}
    assert "agrees" in set(found["sign"])
    (section,) = published_section(run(["keskar: table 2"], differs=("5,000 of 50,000 images",)))
    assert bullets(["5,000 of 50,000 images"]) in section.parts


def test_an_arm_that_was_not_run_is_said_so_and_another_network_is_not_comparable() -> None:
    found = beside(run(["jaiswal: figure 4"]))
    assert set(found["level"]) == {"not measured"}
    of_others = beside(run(["keskar: table 2"], network="MLP"))
    assert of_others.empty, "of six networks none is the run's"


def test_numbers_of_a_text_are_of_no_arm_and_are_said() -> None:
    own = TABLE[TABLE["quantity"].isin(STATED)]
    assert set(own["arm"]) | set(own["against"]) == {""}
    assert stated("keskar: figure 4") == "about where the drop begins (F2) 15,000; about where the drop begins (C1) 500"
    assert stated("surlemont: run time") == "roughly, with SAM over without 2"
    assert stated("keskar: table 2") == ""


def test_a_run_that_repeats_nothing_has_no_section() -> None:
    assert published_section(run([])) == []
    assert isinstance(beside(run([])), pd.DataFrame)
