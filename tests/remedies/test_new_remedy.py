"""A new remedy is one file, and one entry in a space: nothing else names it."""

from __future__ import annotations

import math
import sys

import pytest

from tests.trainings import flat, history, training, trial
from tune_lb.space.checks import checked_designs
from tune_lb.space.loading import load_space

REMEDY = '''
"""Gradient clipping."""

from dataclasses import dataclass
from typing import ClassVar

from tune_lb import Remedy, setting
from tune_lb.training.gradient import norm


@dataclass(frozen=True)
class Clipping(Remedy):
    """Shorten the gradient to a largest norm."""

    name: ClassVar[str] = "clipping_xyz"
    largest: float = setting(0.0, "norm beyond which a gradient is shortened; 0 is none", low=0.0)

    def gradient(self, inner):
        def clipped(params, buffers, batch):
            loss, gradients, updated = inner(params, buffers, batch)
            factor = (batch.values["clipping_xyz.largest"] / norm(gradients)).clamp(max=1.0)
            return loss, {name: factor * value for name, value in gradients.items()}, updated

        return clipped
'''

SPACE = """
from clipping_xyz import Clipping

from tests.trainings import Blobs
from tune_lb.models.mlp import MLP
from tune_lb import Arm, Space, over

SPACE = Space(
    question="Does clipping help?",
    data=Blobs(),
    model=MLP(hidden=(6,)),
    batch_size=24,
    lr=0.1,
    arms=(Arm("small", batch_size=8), Arm("large"), Arm("clipped", Clipping(largest=over(0.01, 0.1)))),
    baseline="small",
    reference="large",
)
"""


@pytest.fixture
def space(tmp_path, monkeypatch):
    (tmp_path / "clipping_xyz.py").write_text(REMEDY)
    (tmp_path / "clipping_space_xyz.py").write_text(SPACE)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield load_space(str(tmp_path / "clipping_space_xyz.py")).space
    for name in ("clipping_xyz", "clipping_space_xyz"):
        sys.modules.pop(name, None)


def test_a_remedy_in_one_file_trains_and_has_its_column(space):
    design = next(design for design in checked_designs(space) if design.name == "clipped")
    assert design.dimensions.keys() == {"clipping_xyz.largest"}
    of = design.template.resolved({"clipping_xyz.largest": 0.05})
    assert of.problems() == []
    assert of.columns()["clipping_xyz.largest"] == 0.05
    assert of.columns()["remedies"] == "clipping_xyz"
    for way in ("alone", "together"):
        running = training(of, (0, 1), way)
        before = [flat(member.params) for member in running.trained()]
        running.advance(1e-9)
        for start, member in zip(before, running.trained(), strict=True):
            # the first step of rate 0.1 along a gradient longer than 0.05
            assert (flat(member.params) - start).norm().item() == pytest.approx(0.1 * 0.05, rel=1e-9)
        assert all(math.isfinite(row.value) for row in history(running))


def test_its_default_is_neutral(space):
    clipping = type(next(design for design in checked_designs(space) if design.name == "clipped").template.remedies[0])
    assert trial(clipping()).active == []
