"""The trial that a row was made of, of what arms search in lists of parts."""

from __future__ import annotations

import dataclasses

import pytest

from tests.space.test_space import space
from tune_lb.models.mlp import MLP
from tune_lb.observation.stored_members import trial_of
from tune_lb.optimizers.elementwise import SGD, Adam
from tune_lb.optimizers.lars import LARS
from tune_lb.remedies import SAM, GhostBatchNorm, Warmup
from tune_lb.schedules import Cosine, Step
from tune_lb.search.proposers import proposers
from tune_lb.settings.domain import over
from tune_lb.space.arm import Arm
from tune_lb.space.checks import checked_designs

ONE_OF = over([SAM(rho=over(0.1, 0.5)), GhostBatchNorm(ghost_batch_size=over([4, 8])), None])


@pytest.mark.parametrize(
    ("remedies", "settings"),
    [
        ((), {"optimizer": over([SGD(momentum=0.5), SGD(momentum=0.9, nesterov=True), Adam()])}),
        ((), {"optimizer": over([SGD(momentum=over(0.0, 0.9)), Adam(beta1=over(0.5, 0.9))])}),
        ((), {"optimizer": over([SGD(momentum=over(0.0, 0.9)), LARS(momentum=over(0.5, 0.9)), Adam()])}),
        ((ONE_OF, over([Warmup(epochs=over(1.0, 2.0)), None])), {}),
        ((over([SAM(rho=over(0.1, 0.5)), (SAM(rho=over(0.1, 0.5)), Warmup(epochs=2.0))]),), {}),
        (
            (ONE_OF,),
            {
                "schedule": over([Step(drop=over(0.1, 0.5)), Cosine()]),
                "model": over([MLP(hidden=(5,)), MLP(hidden=(6,))]),
            },
        ),
    ],
)
def test_a_row_says_what_its_trial_was(remedies, settings):
    of = space(Arm("small", batch_size=4), Arm("large"), Arm("own", *remedies, **settings))
    design = next(design for design in checked_designs(of) if design.name == "own")
    proposer = proposers(of, [design])["own"]
    for index in range(12):
        trial = dataclasses.replace(design.template.resolved(proposer.propose(index, [])), split_seed=index)
        # as they are read: a column for each field of every alternative
        row = dict.fromkeys(design.template.part_fields()) | trial.columns()
        found = trial_of(design, row)
        assert found == trial
        assert found.trial_id("data") == trial.trial_id("data")
