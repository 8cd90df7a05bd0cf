"""What of arms that take from others can be checked on the data alone: how long the others train, and which networks they have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from tune_lb.data.dataset import DataSet
from tune_lb.errors import RequestError, user_code
from tune_lb.observation.variance_profile import num_pieces_of
from tune_lb.settings.taken import whole_numbers
from tune_lb.space.data_sets import source_name
from tune_lb.space.designs import ArmDesign
from tune_lb.training.taking import network_problems, taken_by, trained_shapes, variances_taken
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
                    if not taken.epochs:
                        found += [f"{where}{line}" for line in _profile_problems(taker, of_arms[taken.arm], own)]
            except RequestError as error:
                found += error.problems
    return found


def _profile_problems(taker: Trial, lending: ArmDesign, data: DataSet) -> list[str]:
    """Say why the variances of an arm's gradients are not what a trial can take."""
    lender, num_train = _first(lending), len(data.train.targets)
    size = lender.batch_size
    if source_name(lender.data) != source_name(taker.data):
        return [", which trains on other data: variances are taken on the same"]
    if lender.phases or "batch_size" in lending.dimensions or len(lender.plan(num_train).batch_sizes) > 1:
        return [" for their variances, and it trains with batches of several sizes: take those of an arm that has one"]
    if num_pieces_of(size, num_train) < 2:
        return [
            f" for their variances, of batches of {size}: two of them take {2 * size} of {num_train} train examples"
        ]
    asked = {b for remedy in variances_taken(taker) for b in whole_numbers(remedy.asks().small_batch_size)}
    if asked != {size}:
        return [
            f" for the variances of its batches of {size}: give small_batch_size = {size}, not {', '.join(map(str, asked))}"
        ]
    if trained_shapes(taker, _form(data)) != trained_shapes(lender, _form(data)):
        return [": it is of another network, whose layers' variances are not those of this one"]
    return []


def _first(design: ArmDesign) -> Trial:
    return design.template.resolved({name: domain.to_check()[0] for name, domain in design.dimensions.items()})


def _form(data: DataSet) -> tuple[Any, int]:
    return data.input_shape, data.num_classes
