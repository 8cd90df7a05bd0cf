"""Which networks are functions of their tensors and inputs, which are trained the plain way, and which are refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.networks import ZOO, Body
from tests.trainings import Blobs, trial
from tune_lb.data.device import Parts, on_device
from tune_lb.training.network_check import Finding, check_network


@pytest.fixture(scope="module")
def parts() -> Parts:
    return on_device(Blobs().load(0), "cpu")


def way(finding: Finding) -> str:
    return "refused" if finding.refusals else "plain" if finding.is_plain else "fast"


@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo_is_told(parts: Parts, name: str) -> None:
    exhibit = ZOO[name]
    finding = check_network(trial(model=exhibit.model), parts)
    said = finding.refusals or finding.reasons
    assert (way(finding), any(exhibit.says in text for text in said) or not said) == (exhibit.way, True), said
    assert exhibit.way == "refused" or tuple(finding.draws) == exhibit.draws
    assert finding.writes_inputs == (name == "inputs written into")
    assert all("\n" not in text for text in said)


def test_nothing_is_left_behind(parts: Parts) -> None:
    before = torch.get_rng_state(), parts.train.inputs.clone()
    for name in ("functional dropout", "inputs written into"):
        check_network(trial(model=ZOO[name].model), parts)
    assert torch.equal(before[0], torch.get_rng_state())
    assert torch.equal(before[1], parts.train.inputs)


def test_a_network_that_runs_in_float32_alone_is_compared_in_float32(parts: Parts) -> None:
    class Single(Body):
        def forward(self, x):
            return super().forward(x.float())

    finding = check_network(trial(model=Single), parts)
    assert (way(finding), finding.dtype) == ("fast", torch.float32)


def test_an_error_names_the_place_in_the_user_s_file(parts: Parts) -> None:
    (said,) = check_network(trial(model=ZOO["an error"].model), parts).refusals
    assert "networks.py:" in said


def test_what_a_network_stores_of_a_forward_pass_is_no_state(parts: Parts) -> None:
    class Showing(Body):
        def forward(self, x):
            self.features = self.hidden(x)
            return self.last(self.features)

    assert way(check_network(trial(model=Showing), parts)) == "fast"


def test_weight_norm_as_a_hook_is_trained(parts: Parts) -> None:
    def normed(shape, classes):
        network = Body(shape, classes)
        with pytest.warns(FutureWarning):
            nn.utils.weight_norm(network.first)
        return network

    assert way(check_network(trial(model=normed), parts)) == "fast"
