"""How large a batch: costs to a target error against what the made-up curves say, and the sentence."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy.optimize import curve_fit

from analysis.caveats import Lead
from analysis.how_large import free_up_to, how_large, sentence
from analysis.results import Results
from analysis.sentences import sentences
from analysis.time_to_target import first_at, noise_scales, performance_model, speed_up, to_target
from tests.analysis.fabrication import fabricate
from tests.analysis.plots.made import SIZES, over_sizes, trained, with_history

NAMES = tuple(f"batch_{size}" for size in SIZES)


def falling(critical: float = 100.0, least: float = 20.0) -> Results:
    """Test error 0.5 - 0.1 t at a time t = updates / (least (1 + critical / B)): at 0.2 after three times that many updates."""
    results, rows = over_sizes(), []
    for member in results.confirmed.to_dict("records"):
        size = int(member["batch_size"])
        scale = least * (1 + critical / size)
        for look in range(1, 9):
            step = round(look * scale / 2)
            value = 0.5 - 0.1 * step / scale
            rows.append((str(member["trial_id"]), int(member["seed"]), step, step * size / 200, "test_error", value))
    return with_history(results, rows)


def test_a_target_lies_between_looks() -> None:
    values = np.array([0.9, 0.5, 0.3, 0.4])
    assert first_at(values, 0.4) == pytest.approx(1.5)
    assert first_at(values, 0.95) == 0
    assert first_at(values, 0.5) == 1
    assert math.isnan(first_at(values, 0.2))


def test_updates_and_examples_to_the_target_are_those_of_the_curves() -> None:
    found = to_target(falling(), NAMES, target=0.2)
    assert found is not None
    means = found.means.set_index("batch_size")
    for size in SIZES:
        updates = 3 * 20 * (1 + 100 / size)
        assert means.loc[size, "updates"] == pytest.approx(updates, rel=1e-6)
        assert means.loc[size, "examples"] == pytest.approx(updates * size, rel=1e-6)
        assert means.loc[size, "n_reached"] == 4
    assert found.fit is not None
    assert found.fit.least == pytest.approx(60, rel=1e-4)
    assert found.fit.critical == pytest.approx(100, rel=1e-4)


def test_without_a_target_it_is_what_every_member_reaches() -> None:
    found = to_target(trained(over_sizes()), NAMES)
    assert found is not None
    worst = trained(over_sizes()).confirmed.query("arm in @NAMES")["test_error"].max() + 0.5 / 25
    assert found.target == pytest.approx(worst)
    assert (found.means["n_reached"] == 4).all()


def test_the_speed_up_is_that_of_scipys_fit() -> None:
    batch = np.tile(2.0 ** np.arange(4, 12), 3)
    updates = 100 * (1 + 200 / batch) * np.exp(0.05 * np.random.default_rng(0).standard_normal(len(batch)))
    found = speed_up(batch, updates)
    best, covariance = curve_fit(
        lambda b, s, c: np.log(np.exp(s) * (1 + np.exp(c) / b)), batch, np.log(updates), p0=(4.0, 5.0)
    )
    assert found is not None
    assert (found.least, found.critical) == pytest.approx(tuple(np.exp(best)), rel=1e-4)
    # Student's 97.5 % quantile with 22 degrees of freedom
    assert found.high == pytest.approx(np.exp(best[1] + 2.0739 * math.sqrt(covariance[1, 1])), rel=1e-3)
    assert found.low < 200 < found.high


def test_how_much_faster_a_batch_must_be_is_the_ratio_of_examples() -> None:
    found = to_target(falling(), NAMES, target=0.2)
    assert found is not None
    means = found.means.assign(seconds=[10.0] * len(SIZES))
    model = performance_model(found._replace(means=means)).set_index("batch_size")
    # 60 (1 + 100 / B) updates of B examples: 60 (B + 100)
    assert model.loc[1024, "examples_ratio"] == pytest.approx(1124 / 132)
    assert model.loc[1024, "largest_share"] == pytest.approx(132 / 1124)
    assert model.loc[1024, "measured"] == pytest.approx(1124 / 132)


def test_the_sentence_says_where_the_drop_begins_and_what_the_next_step_costs() -> None:
    answer = how_large(falling(), target=0.2)
    assert answer is not None
    assert free_up_to(answer) == 128
    text = sentence(answer)
    assert text.startswith("Up to B = 128 no loss of test error can be told (the drop begins at B = ")
    assert "the step from 128 to 256 costs +0.99 points of test error [0.93, 1.06]" in text
    # 1 + 100 / 256 over 1 + 100 / 128
    assert "takes 0.78 times the updates to 20.0 % test error (perfect scaling: 0.50)" in text


def test_without_a_drop_it_is_said_so() -> None:
    results = falling()
    flat = results.frames.members.assign(
        test_error=np.random.default_rng(0).normal(0.05, 1e-3, len(results.frames.members))
    )
    answer = how_large(Results(replace(results.frames, members=flat)), target=0.2)
    assert answer is not None
    begins = "No loss of test error can be told up to B = 1,024, the largest tried; the step from 512 to it takes 0.9"
    assert sentence(answer).startswith(begins)


def test_noise_scales_are_geometric_means_at_each_look() -> None:
    results = over_sizes()
    rows = [
        (str(m["trial_id"]), int(m["seed"]), 10, 1.0, "gradient_noise_scale", 100.0 * 4 ** (i % 2))
        for i, m in enumerate(results.confirmed.query("arm == 'batch_32'").to_dict("records"))
    ]
    found = noise_scales(with_history(results, rows), NAMES)
    assert found[["batch_size", "epoch", "value", "n"]].to_numpy().tolist() == [[32, 1, pytest.approx(200), 4]]


def test_the_sentence_stands_in_the_answer() -> None:
    results = falling()
    said = [line for line in sentences(results) if "no loss of test error can be told" in line]
    assert said == [sentence(how_large(results))]
    assert isinstance(said[0], Lead)
    assert not any("no loss of test error" in line for line in sentences(Results(fabricate())))
