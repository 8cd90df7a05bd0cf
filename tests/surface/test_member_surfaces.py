"""Several members at once are the members one by one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from tests.metrics.cases import Partial, cross_entropy, data, dense_hessian, network, reference_loss, surface
from tune_lb.metrics.adaptive_sharpness import AdaptiveSharpness
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure_all, measure_members
from tune_lb.surface import member_surfaces as module
from tune_lb.surface.member_surfaces import SMALL, MemberSurfaces
from tune_lb.testing.side_effects import assert_leaves_no_trace

INPUTS, TARGETS = data(12)


def members(num=3, architecture=None, **options):
    pairs = [pair(seed) for seed in range(num)]
    return MemberSurfaces(architecture or network(9), pairs, cross_entropy, INPUTS, TARGETS, **options)


def pair(seed):
    net = network(seed)
    return dict(net.named_parameters()), dict(net.named_buffers())


def vector(seed, n=99):
    return torch.randn(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("batch_norm", ["running", "batch", "recalibrated"])
@pytest.mark.parametrize("together", [True, False])
def test_products_are_those_of_each_member_s_dense_hessian(batch_norm, together):
    found = members(batch_norm=batch_norm, together=together).hvps({0: vector(0), 2: vector(2)})
    assert found.keys() == {0, 2}
    for k in found:
        net = network(k)
        if batch_norm == "recalibrated":
            hidden = (INPUTS @ net[0].weight.T + net[0].bias).detach()
            net[1].running_mean, net[1].running_var = hidden.mean(0), hidden.var(0)
        mode = "batch" if batch_norm == "batch" else "running"
        flat = torch.cat([p.detach().flatten() for p in net.parameters()])
        H = dense_hessian(lambda point, net=net, mode=mode: reference_loss(net, point, INPUTS, TARGETS, mode), flat)
        torch.testing.assert_close(found[k], H @ vector(k), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("together", [True, False])
def test_metrics_of_members_are_those_of_each_alone(together):
    metrics = [LambdaMax(tolerance=1e-6, max_samples=None), AdaptiveSharpness()]
    surfaces = members(together=together)
    rows = measure_members(metrics, surfaces, 0)
    for k, row in enumerate(rows):
        alone = measure_all(metrics, surface(network(k), INPUTS, TARGETS), 0)
        assert row.keys() == alone.keys()
        assert row["lambda_max.hvps"] == alone["lambda_max.hvps"] == surfaces.surfaces[k].num_hvps
        for key in ("lambda_max", "adaptive_sharpness", "lambda_max.loss"):
            assert row[key] == pytest.approx(alone[key], rel=1e-9)
    assert len({row["lambda_max.hvps"] for row in rows}) > 1, "they stop each at its own time"


def test_a_subset_is_the_same_as_for_one():
    rows = measure_members([LambdaMax(max_samples=7)], members(), 0)
    alone = measure_all([LambdaMax(max_samples=7)], surface(network(1), INPUTS, TARGETS), 0)
    assert rows[1]["lambda_max.num_samples"] == 7
    assert rows[1]["lambda_max"] == pytest.approx(alone["lambda_max"], rel=1e-9)


@pytest.mark.parametrize("together", [True, False])
def test_a_member_that_diverged_is_null_with_the_reason_and_the_others_are_measured(together):
    nets = [network(seed) for seed in range(3)]
    with torch.no_grad():
        nets[1][0].weight[0, 0] = math.nan
    pairs = [(dict(net.named_parameters()), dict(net.named_buffers())) for net in nets]
    rows = measure_members(
        [LambdaMax()], MemberSurfaces(network(), pairs, cross_entropy, INPUTS, TARGETS, together=together), 0
    )
    assert [row["lambda_max"] is None for row in rows] == [False, True, False]
    assert rows[1]["lambda_max.reason"] == "the weights are not finite"
    alone = measure_all([LambdaMax()], surface(network(2), INPUTS, TARGETS), 0)
    assert rows[2]["lambda_max"] == pytest.approx(alone["lambda_max"], rel=1e-9)


@pytest.mark.parametrize("together", [True, False])
def test_nothing_is_left_behind_in_the_module_and_closing_frees_the_graphs(together):
    pairs = [pair(seed) for seed in range(3)]
    net = network(9).train()

    def run():
        options = {"together": together, "batch_norm": "batch"}
        with MemberSurfaces(net, pairs, cross_entropy, INPUTS, TARGETS, **options) as surfaces:
            surfaces.hvps({0: vector(0)})
            assert (surfaces._graph is not None) == together
        assert surfaces._graph is None
        assert not any(surface._graphs for surface in surfaces.surfaces)

    assert_leaves_no_trace(run, net)


def test_frozen_and_unused_parameters():
    nets = [Partial(), Partial()]
    nets[1].frozen.data *= 10
    pairs = [(dict(net.named_parameters()), {}) for net in nets]
    inputs, loss = torch.ones(3, 2), lambda outputs, targets: outputs
    found = MemberSurfaces(Partial(), pairs, loss, inputs, torch.zeros(3), together=True).hvps(
        {0: torch.ones(3), 1: torch.ones(3)}
    )
    torch.testing.assert_close(found[0], torch.tensor([6.0, 8.0, 0.0]))
    torch.testing.assert_close(found[1], torch.tensor([60.0, 80.0, 0.0]))


def test_together_only_where_it_pays_and_can():
    assert members().together
    assert not members(num=1).together
    assert not members(chunk=5, together=True).together
    assert not members(weights=torch.ones(12), together=True).together
    wide = nn.Linear(6, SMALL // 12)
    one = (dict(wide.named_parameters()), {})
    assert not MemberSurfaces(wide, [one, one], cross_entropy, INPUTS, TARGETS).together
    with pytest.raises(ValueError, match="no members"):
        MemberSurfaces(wide, [], cross_entropy, INPUTS, TARGETS)


@pytest.mark.parametrize("spare", [-1, 0])
def test_the_graph_of_all_is_kept_only_where_it_fits(monkeypatch, spare):
    single = MemberSurfaces(network(9), [pair(0)], cross_entropy, INPUTS, TARGETS, together=True)
    assert single.at_once()
    monkeypatch.setattr(module, "free_bytes", lambda device: 3 * single._graph.size_bytes() + spare)
    surfaces = members()
    assert surfaces.at_once() == surfaces.together == (spare == 0)
    torch.testing.assert_close(surfaces.hvps({1: vector(1)})[1], members(together=False).hvps({1: vector(1)})[1])


@dataclass(frozen=True)
class Kept:
    """Counts the members whose graphs are kept while one is measured."""

    name: ClassVar[str] = "kept"
    max_samples: ClassVar[None] = None
    surfaces: MemberSurfaces

    def columns(self):
        return {"kept": "members that keep a graph"}

    def measure(self, surface, seed):
        surface.hvp(vector(0))
        return {"kept": float(sum(bool(own._graphs) for own in self.surfaces.surfaces))}


def test_member_after_member_one_keeps_a_graph_at_a_time():
    surfaces = members(together=False)
    rows = measure_members([LambdaMax(), Kept(surfaces)], surfaces, 0)
    assert [row["kept"] for row in rows] == [1.0, 1.0, 1.0]
    assert not any(surface._graphs for surface in surfaces.surfaces)


class Moody(nn.Linear):
    """Looks at its values, which torch.func.vmap cannot."""

    def forward(self, inputs):
        return super().forward(inputs) if float(self.weight.detach().sum()) > -1e9 else inputs


def test_a_network_that_cannot_be_vectorised_is_measured_member_after_member():
    nets = [Moody(6, 3).double() for _ in range(2)]
    pairs = [(dict(net.named_parameters()), {}) for net in nets]
    given = (Moody(6, 3), pairs, cross_entropy, INPUTS, TARGETS)
    surfaces = MemberSurfaces(*given)
    rows = measure_members([LambdaMax()], surfaces, 0)
    assert not surfaces.together
    for net, row in zip(nets, rows, strict=True):
        assert row == measure_all([LambdaMax()], surface(net, INPUTS, TARGETS), 0)
    with pytest.raises(RuntimeError, match="vmap"):
        MemberSurfaces(*given, together=True).hvps({0: vector(0, 21)})


def test_metrics_that_share_a_column_are_refused_as_for_one():
    with pytest.raises(ValueError, match="lambda_max"):
        measure_members([LambdaMax(), LambdaMax()], members(), 0)
