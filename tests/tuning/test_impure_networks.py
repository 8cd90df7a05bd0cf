"""A search of networks that keep state, draw or write: its members are those of a training by itself, and can be measured."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest
import torch

from tests import networks
from tests.searching import Searches
from tune_lb.data.device import on_device
from tune_lb.observation.outcome import outcomes
from tune_lb.space.checks import checked_designs
from tune_lb.space.loading import load_space
from tune_lb.training.training import Training

SPACE = """
from nets import Body, Counting, FromNumPy, Functional, Remembering, Saving, Writing
from tune_lb import Arm, Epochs, Space
from tune_lb.testing.small_training import Clusters

KINDS = dict(counting=Counting, numpy=FromNumPy, functional=Functional, remembering=Remembering, saving=Saving, writing=Writing)
SPACE = Space(
    question="Are they the same?", data=Clusters(num_train=60), budget=Epochs(2), batch_size=30, lr=0.1, model=Body,
    arms=(Arm("small", batch_size=10), Arm("large"), *(Arm(name, model=model) for name, model in KINDS.items())),
    baseline="small", reference="large", derived=False, placebo=False, confirm_blocks=2, block_seeds=1, fresh_splits=False,
)
"""


def read(searches: Searches) -> pd.DataFrame:
    return pd.read_parquet(searches.folder / "runs" / "impure" / "results").query("stage == 'confirm'")


@pytest.mark.ray
def test_members_of_a_search_are_those_of_a_training_by_itself(searches: Searches) -> None:
    shutil.copy(networks.__file__, searches.folder / "spaces" / "nets.py")
    file = searches.folder / "spaces" / "impure.py"
    file.write_text(SPACE)
    code, out, err = searches.run("search", "spaces/impure.py", "--max-concurrent", "1")
    assert code == 0, out + err
    rows = read(searches).set_index(["arm", "seed"])
    assert rows.execution["counting"].unique().tolist() == ["plain"]
    for design in checked_designs(load_space(str(file)).space):
        trial = design.template
        way = rows.execution[design.name].iloc[0]
        training = Training(trial, (2000, 2001), on_device(trial.data.load(0), "cpu"), execution=way)
        torch.rand(3)
        while not training.done:
            training.advance()
        for outcome in outcomes(training, metrics=(), wall_s=0.0):
            row = rows.loc[(design.name, outcome.row["seed"])]
            for name in ("test_loss", "train_loss", "test_error"):
                # stacked members agree up to rounding, whoever they are with
                expected = row[name] if way == "plain" else pytest.approx(row[name], rel=1e-5)
                assert outcome.row[name] == expected, (design.name, name)
    code, out, err = searches.run("measure", "impure", "--metric", "trace")
    assert (code, "its row says" in out + err) == (0, False), out + err
    assert read(searches)["trace"].notna().all()
