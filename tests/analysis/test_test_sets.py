"""The sampling error of the test examples, from predictions of a test set that is fixed and of cuts that share examples."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.frames import Frames, Predictions
from analysis.results import Results
from analysis.sentences import sentences
from analysis.test_sets import read_test_sets
from tests.analysis.fabrication import Arm, Procedure, fabricate

WHOLE, TESTED = 600, 300
ARMS = {"large_batch": Arm(0.05, "reference"), "other": Arm(0.045)}


def predicted(results: Results, *, fixed: bool) -> tuple[Predictions, np.ndarray]:
    """Predictions of members that are wrong on an example with a probability that is the arm's and the example's."""
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 10, WHOLE)
    rates = {arm: generator.beta(0.2, 2.0, WHOLE) for arm in ARMS}
    classes, targets, examples = {}, {}, {}
    for row in results.confirmed.to_dict("records"):
        split = row["split_seed"]
        order = np.random.default_rng(0 if fixed else split).permutation(WHOLE)
        examples[split] = order[:TESTED]
        targets[split] = truth[examples[split]]
        wrong = generator.random(TESTED) < rates[row["arm"]][examples[split]]
        classes[row["trial_id"], row["seed"]] = np.where(wrong, (targets[split] + 1) % 10, targets[split])
    tested = np.random.default_rng(0).permutation(WHOLE)[:TESTED]
    return Predictions(classes, targets, (), examples), (rates["other"] - rates["large_batch"])[tested]


def fabricated(*, fixed: bool) -> Results:
    return Results(fabricate(ARMS, Procedure(confirm_blocks=40, own_test_split=fixed, num_test=TESTED)))


def test_with_a_fixed_test_set_the_error_is_that_of_its_size() -> None:
    results = fabricated(fixed=True)
    predictions, true = predicted(results, fixed=True)
    sets = read_test_sets(results.confirmed, predictions, results.asked)
    assert sets.is_fixed
    assert sets.wrong["other"].shape == (40, TESTED)
    # members' noise drops out: the variance of the true differences over the examples
    assert sets.variance("other", "large_batch") == pytest.approx(true.var(ddof=1) / TESTED, rel=0.1)


def test_examples_of_cuts_are_joined_by_their_index_in_the_whole() -> None:
    results = fabricated(fixed=False)
    predictions, _ = predicted(results, fixed=False)
    sets = read_test_sets(results.confirmed, predictions, results.asked)
    table = sets.wrong["other"]
    assert table.shape == (40, max(int(index.max()) for index in predictions.examples.values()) + 1)
    assert (np.isfinite(table).sum(axis=1) == TESTED).all()
    first = results.confirmed.query("arm == 'other' and block == 0")
    split = int(first["split_seed"].iloc[0])
    at = predictions.examples[split][7]
    keys = zip(first["trial_id"], first["seed"], strict=True)
    wrong = [predictions.classes[key][7] != predictions.targets[split][7] for key in keys]
    assert table[0, at] == pytest.approx(np.mean(wrong))
    whole = np.random.default_rng(0)
    whole.integers(0, 10, WHOLE)
    rates = [whole.beta(0.2, 2.0, WHOLE) for _ in ARMS]
    assert sets.variance("other", "large_batch") == pytest.approx((rates[1] - rates[0]).var(ddof=1) / WHOLE, rel=0.15)


def test_members_of_the_same_block_and_seed_are_compared() -> None:
    results = fabricated(fixed=True)
    predictions, _ = predicted(results, fixed=True)
    own, other = (results.confirmed[results.confirmed["arm"] == arm] for arm in ("other", "large_batch"))
    shares = [
        np.mean(predictions.classes[a, seed] != predictions.classes[b, seed])
        for a, b, seed in zip(own["trial_id"], other["trial_id"], own["seed"], strict=True)
    ]
    sets = read_test_sets(results.confirmed, predictions, results.asked)
    assert sets.disagreeing == {"other": pytest.approx(np.mean(shares))}


def test_cuts_without_their_examples_say_nothing() -> None:
    results = fabricated(fixed=False)
    predictions = replace(predicted(results, fixed=False)[0], examples={})
    assert np.isnan(read_test_sets(results.confirmed, predictions, results.asked).variance("other", "large_batch"))


class Predicted(Frames):
    """Frames with predictions."""

    def predictions(self, trial_ids: object, num_classes: int | None) -> Predictions:
        return predicted(
            Results(Frames(self.space, self.members, self.history, self.descriptions, self.roles)), fixed=True
        )[0]


def test_for_other_examples_intervals_are_wider_by_their_error_and_the_report_says_which_is_which() -> None:
    plain = fabricate(ARMS, Procedure(confirm_blocks=40, own_test_split=True, num_test=TESTED))
    results = Results(Predicted(plain.space, plain.members, plain.history, plain.descriptions, plain.roles))
    row = results.arms.set_index("arm").loc["other"]
    errors = results.comparison.errors
    d = (errors["other"] - errors["large_batch"]).mean(axis=1)
    table = results.arms.set_index("arm")
    selections = row["selection_std"] ** 2 + table.loc["large_batch", "selection_std"] ** 2
    extra = selections + row["examples_std"] ** 2
    assert row["examples_std"] > 0
    mean = d.var(ddof=1) / 40
    freedom = (mean + extra) ** 2 / (mean**2 / 39 + selections**2 / 10)
    half = stats.t.ppf(0.975, freedom) * np.sqrt(mean + extra)
    assert (row["difference_new_low"], row["difference_new_high"]) == pytest.approx((d.mean() - half, d.mean() + half))
    said = "\n".join(sentences(results))
    assert f"All blocks have the same {TESTED} test examples" in said
    assert "Other examples of the same kind would move the differences by" in said
    assert "It is claimed for these test examples" in said
