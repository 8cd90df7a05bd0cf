from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from analysis.best_of_k import best_of_k
from analysis.eta_over_b_fit import leave_one_out_r2, scaling_fit
from analysis.old_design.results import OldResults
from tests.analysis.old_design.fabrication import ARMS, Procedure, fabricate


def test_best_of_k_is_the_mean_over_all_subsets() -> None:
    generator = np.random.default_rng(0)
    validation, test = generator.random(7), generator.random(7)
    for k in range(1, 8):
        chosen = [min(subset, key=lambda i: validation[i]) for subset in combinations(range(7), k)]
        assert best_of_k(validation, test)[k - 1] == pytest.approx(test[chosen].mean())


def test_a_search_that_still_gains_has_not_converged() -> None:
    def converged(procedure: Procedure) -> bool:
        table = OldResults(fabricate(ARMS, procedure)).arms.set_index("arm")
        return bool(table.loc["large_batch", "search_converged"])

    assert not converged(Procedure(num_trials=4, curvature=2.0, seed_std=0.001))
    assert converged(Procedure(num_trials=16, curvature=0.0, trial_std=0.0))


def test_trials_are_compared_with_the_tuned_reference(results: OldResults) -> None:
    rows = (
        results.members.query("arm == 'sam' and stage != 'confirm'")
        .groupby(["split_seed", "trial_id"])["test_error"]
        .mean()
    )
    reference = (
        results.members.query("arm == 'large_batch' and stage == 'confirm'").groupby("split_seed")["test_error"].mean()
    )
    beats = rows < rows.index.get_level_values("split_seed").map(reference)
    row = results.arms.set_index("arm").loc["sam"]
    assert row["share_beating_reference"] == pytest.approx(beats.mean())
    assert row["median_trial_test_error"] == pytest.approx(rows.groupby("split_seed").median().mean())


def test_derived_arms_and_tpe_have_no_curve() -> None:
    assert "large_batch_copied" not in set(OldResults(fabricate(ARMS, Procedure())).curves["arm"])
    assert OldResults(fabricate(ARMS, Procedure(sampler="tpe"))).curves.empty


def test_scaling_fit_finds_the_axis_that_matters() -> None:
    generator = np.random.default_rng(1)
    axes = generator.random((60, 2))
    assert leave_one_out_r2(axes[:, :1], axes[:, 0] ** 2) == pytest.approx(1.0)
    assert leave_one_out_r2(axes[:, :1], axes[:, 1]) < 0.1
    assert leave_one_out_r2(axes, axes[:, 0] * axes[:, 1] + axes[:, 1]) == pytest.approx(1.0)


def test_scaling_fit_needs_three_batch_sizes(results: OldResults) -> None:
    assert scaling_fit(results.configurations) is None
    table = results.configurations.query("remedies == ''").copy()
    table["batch_size"] = np.resize([20, 100, 400], len(table))
    table["updates"] = 8000 // table["batch_size"]
    found = scaling_fit(table)
    assert found is not None
    assert found.num_batch_sizes == 3
    assert found.r2_with_updates == pytest.approx(found.r2_with_batch_size, abs=1e-6)
