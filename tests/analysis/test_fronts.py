"""The front of each arm in the objectives of its space."""

from __future__ import annotations

import dataclasses
import json

import pandas as pd

from analysis.fronts import front_tables, fronts
from analysis.markdown import markdown
from analysis.report import report
from analysis.results import Results
from analysis.sentences import sentences
from analysis.summary import summary
from tests.analysis.fabrication import fabricate

VALUES = {0: (0.1, 9.0), 1: (0.2, 4.0), 2: (0.2, 5.0), 3: (0.3, 4.0), 4: (0.4, 1.0), 5: (0.05, 0.5)}
"""validation_loss and lambda_max of the first configurations of SAM's search; the last one diverges."""


def with_objectives(*objectives: str) -> Results:
    frames = fabricate()
    members = frames.members.copy()
    own = members.index[(members["stage"] == "search") & (members["arm"] == "sam")]
    for i, row in enumerate(own):
        loss, sharpness = VALUES.get(i, (1.0 + i, 10.0 + i))
        members.loc[row, ["validation_loss", "lambda_max"]] = loss, sharpness
    members.loc[own[5], "status"] = "diverged"
    return Results(dataclasses.replace(frames, members=members, space={**frames.space, "objectives": list(objectives)}))


def losses(found: pd.DataFrame) -> list[float]:
    return found[(found["arm"] == "sam") & found["on_front"]]["validation_loss"].tolist()


def test_on_the_front_is_what_no_other_configuration_of_the_arm_beats() -> None:
    found = with_objectives("validation_loss", "lambda_max")
    assert losses(fronts(found.members, found.asked)) == [0.1, 0.2, 0.4]


def test_of_a_minus_more_is_better() -> None:
    found = with_objectives("validation_loss", "-lambda_max")
    table = fronts(found.members, found.asked)
    own = table[(table["arm"] == "sam") & table["on_front"]]
    assert own["-lambda_max"].tolist()[:2] == [-9.0, -16.0], "the lowest loss, then the first that is sharper"
    (_, shown) = front_tables(found)
    assert [row["lambda_max"] for row in shown.rows if row["arm"] == "sam"][:2] == ["9.0", "16"]


def test_the_report_shows_it_where_there_are_objectives_only() -> None:
    found, plain = with_objectives("validation_loss", "lambda_max"), Results(fabricate())
    title = "What no other configuration beats"
    assert title in markdown(report(found, summary(found), []))
    assert title not in markdown(report(plain, summary(plain), []))
    assert plain.asked.objectives == ()


def test_that_points_were_given_is_said() -> None:
    frames = fabricate()
    space = json.loads(json.dumps(frames.space)) | {"points": 2, "exchangeable": False}
    found = [str(line) for line in sentences(Results(dataclasses.replace(frames, space=space)))]
    assert any("The first 2 points of the search were given" in line for line in found)
    assert not any("proposes from what it has seen" in line for line in found)
