"""What is said of the searches: curves, convergence, edges, candidates and configurations."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from analysis.adequacy import edges
from analysis.asked import AskedArm
from analysis.decisions import unit_coordinate
from analysis.results import Results
from analysis.sentences import sentences
from analysis.table_columns import describe, described
from tests.analysis.fabrication import ARMS, Procedure, fabricate


@pytest.fixture(scope="module")
def results() -> Results:
    return Results(fabricate())


def test_the_curve_is_the_mean_over_all_subsets_of_the_lowest_loss() -> None:
    results = Results(fabricate(ARMS, Procedure(num_samples=6)))
    losses = results.members.query("stage == 'search' and arm == 'sam'")["validation_loss"].tolist()
    curve = results.curves.query("arm == 'sam'").sort_values("k")["value"].tolist()
    assert curve == pytest.approx([np.mean([min(s) for s in combinations(losses, k)]) for k in range(1, 7)])


def test_a_search_that_still_gains_more_than_the_noise_of_a_member_has_not_converged() -> None:
    def converged(procedure: Procedure) -> bool:
        return bool(Results(fabricate(ARMS, procedure)).arms.set_index("arm").loc["large_batch", "search_converged"])

    assert not converged(Procedure(num_samples=4, curvature=2.0, loss_noise=0.001, arm_block_std=0.0))
    assert converged(Procedure(num_samples=16, curvature=0.0, loss_noise=0.05))


def test_a_sampler_that_learns_has_no_curve_and_is_named() -> None:
    found = Results(fabricate(ARMS, Procedure(sampler="tpe")))
    assert found.curves.empty
    assert any("The tpe sampler proposes from what it has seen" in line for line in sentences(found))


def test_a_selected_value_at_an_end_is_said() -> None:
    arms = {**ARMS, "sam": replace(ARMS["sam"], best=1.5)}
    found = Results(fabricate(arms, Procedure(loss_noise=0.001, arm_block_std=0.0)))
    said = found.arms.set_index("arm").loc["sam", "edges"]
    highest = found.members.query("stage == 'search' and arm == 'sam'")["eta_over_b"].max()
    assert said.startswith(f"eta_over_b = {highest:.3g}, the highest tried")
    assert any(line.startswith("At an end of what was tried: sam (eta_over_b") for line in sentences(found))


def test_choices_have_ends_where_three_or_more_were_tried(results: Results) -> None:
    searched = results.members.query("stage == 'search' and arm == 'sam'").assign(size=np.resize([10, 20, 40], 12))
    chosen = searched[searched["size"] == 10]["configuration_id"].iloc[0]
    assert edges(searched, AskedArm("sam", dimensions={"size": {"values": [10, 20, 40]}}), chosen) == [
        "size = 10, the lowest tried"
    ]
    two = searched.assign(size=np.resize([10, 20], 12))
    assert edges(two, AskedArm("sam", dimensions={"size": {"values": [10, 20]}}), chosen) == []


def test_unit_coordinates() -> None:
    assert unit_coordinate(1e-2, {"low": 1e-4, "high": 1.0, "log": True}) == pytest.approx(0.5)
    assert unit_coordinate(2.0, {"low": 0.0, "high": 8.0}) == pytest.approx(0.25)
    assert unit_coordinate(20.0, {"values": [10, 20, 40]}) == 0.5
    assert unit_coordinate("layer", {"values": ["unit", "layer"]}) == 1.0
    assert unit_coordinate(3.0, {"low": 3, "high": 3}) == 0.5
    # the neutral value of a remedy that a combined arm lacks
    assert unit_coordinate(0.0, {"low": 1e-4, "high": 1.0, "log": True}) == 0.0


def test_losses_count_as_chance_at_most() -> None:
    frames = fabricate()
    first = frames.members.query("stage == 'search' and arm == 'sam'").index[0]
    frames.members.loc[first, "validation_loss"] = 50.0
    table = Results(frames).curves.query("arm == 'sam' and k == 1")["value"].iloc[0]
    losses = frames.members.query("stage == 'search' and arm == 'sam'")["validation_loss"].clip(upper=np.log(10))
    assert table == pytest.approx(losses.mean())


def test_configurations_stand_in_the_order_of_the_search(results: Results) -> None:
    table = results.configurations.query("arm == 'sam'")
    assert len(table) == 12
    assert table["candidate"].tolist()[:3] == [1, 2, 3]
    assert table["search_rank"].tolist() == list(range(1, 13))
    assert table["search_validation_loss"].is_monotonic_increasing
    assert table["is_selected"].sum() == 1
    chosen = table[table["is_selected"]].iloc[0]
    own = results.members[results.members["configuration_id"] == chosen["configuration_id"]]
    decide, confirm = own[own["stage"] == "decide"], own[own["stage"] == "confirm"]
    assert (chosen["stage"], chosen["n"], chosen["n_decide"], chosen["n_search"]) == ("confirm", 20, 4, 1)
    assert chosen["test_error"] == pytest.approx(confirm["test_error"].mean())
    assert chosen["decide_validation_loss"] == pytest.approx(np.exp(np.log(decide["validation_loss"]).mean()))
    assert chosen["decide_soft_error"] == pytest.approx(decide["validation_soft_error"].mean())
    assert chosen["total_wall_s"] == pytest.approx(own["wall_s"].sum())


def test_every_column_of_both_tables_is_described(results: Results) -> None:
    known = {**results.frames.descriptions, **{name: "known" for name in results.members}}
    for name in ("arms", "configurations"):
        table = described(getattr(results, name), known, name)
        assert [field.name for field in table.schema if not (field.metadata or {}).get(b"description")] == []
    assert describe("nothing", known) == ""
