"""What of arms that take from others can be checked on the data alone: how long the others train, and which networks they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tune_lb.data.dataset import DataSet
from tune_lb.errors import RequestError, user_code
from tune_lb.space.designs import ArmDesign
from tune_lb.training.taking import network_problems, taken_by
from tune_lb.training.trial import Trial
from tune_lb.tuning.data_loading import LoadedData


def taking_problems(designs: Sequence[ArmDesign], data: LoadedData) -> list[str]:
    """Say which arms take weights after an epoch that the other arm does not train to, and which have another network."""
    of_arms = {design.name: design for design in designs}
    found = []
    for design in designs:
        for taken in taken_by(design.template):
            lender, taker = _first(of_arms[taken.arm]), _first(design)
            lent, own = (data.of(trial)[min(data.main)] for trial in (lender, taker))
            where = f"arm {design.name!r} takes weights of arm {taken.arm!r}"
            num_epochs = lender.plan(len(lent.train.targets)).whole_epochs
            late = [epoch for epoch in taken.epochs if epoch > num_epochs]
            if late:
                found.append(f"{where} after epoch {late[0]}: it trains for {num_epochs} whole epochs only")
            try:
                with user_code(where, made_by=lender.model), torch.random.fork_rng(devices=[]):
                    found += network_problems(taker, _form(own), lender, _form(lent), where)
            except RequestError as error:
                found += error.problems
    return found


def _first(design: ArmDesign) -> Trial:
    return design.template.resolved({name: domain.to_check()[0] for name, domain in design.dimensions.items()})


def _form(data: DataSet) -> tuple[Any, int]:
    return data.input_shape, data.num_classes
