"""What the figures of the papers show, against values computed apart from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analysis.plots.batch_size import against_batch
from analysis.plots.choice import METRICS, Choice, Missing, mean_of
from analysis.plots.configurations import edges, heat_map, tried
from analysis.plots.history import history, train_and_test
from analysis.plots.series import series_of
from analysis.plots.trajectory import trajectory
from analysis.plots.walk import cosines, walk
from analysis.plots.walk_tables import distances_table, epochs_table
from analysis.plots.with_without import with_without
from analysis.results import Results
from tests.analysis.fabrication import Arm, fabricate
from tests.analysis.plots.made import PLAIN, SIZES, THRESHOLD, crossed, over_sizes, trained, walked
from tune_lb.errors import RequestError
from tune_lb.metrics.names import metric_kinds


@pytest.fixture(scope="module")
def results() -> Results:
    return trained(over_sizes())


def test_metrics_are_those_that_there_are() -> None:
    assert set(METRICS) == set(metric_kinds())


def test_means_have_students_interval_over_blocks(results: Results) -> None:
    rows = results.confirmed[results.confirmed["arm"] == "batch_64"]
    found = mean_of(rows["test_error"], rows["block"])
    low, high = stats.t.interval(0.95, 3, rows["test_error"].mean(), stats.sem(rows["test_error"]))
    assert found == pytest.approx((rows["test_error"].mean(), low, high, 4))


def test_series_are_arms_whose_names_differ_in_the_batch_size(results: Results) -> None:
    found = series_of(results, results.confirmed)
    assert {found[f"batch_{size}"] for size in SIZES} == {"plain"}
    assert {found[f"batch_{size}_sam"] for size in SIZES} == {"sam"}


def test_arms_of_other_names_are_a_series_by_their_settings() -> None:
    arms = {
        "small_batch": Arm(0.03, "baseline", 20),
        "large_batch": Arm(0.05, "reference"),
        "again": Arm(0.05),
        "copied": Arm(0.06, "copied"),
        "sam": Arm(0.04, remedies=("sam",)),
    }
    frames = fabricate(arms)
    found = series_of(Results(frames), Results(frames).confirmed)
    assert found == {"small_batch": "plain", "large_batch": "plain", "again": "again", "copied": "copied", "sam": "sam"}


def test_against_the_batch_size_the_drop_begins_where_it_was_made_to(results: Results) -> None:
    info = against_batch(results, Choice(y=("test_error", "lambda_max")))
    assert info.series == ["plain", "sam"]
    assert info.fits["plain"].threshold == pytest.approx(THRESHOLD, rel=0.1)
    assert info.fits["plain"].low < THRESHOLD < info.fits["plain"].high
    assert info.fits["plain"].slope == pytest.approx(1.0, abs=0.05)
    own = info.points[(info.points["series"] == "plain") & (info.points["quantity"] == "test_error")]
    rows = results.confirmed[results.confirmed["arm"] == "batch_512"]
    assert own.set_index("batch_size").loc[512, "mean"] == pytest.approx(100 * rows["test_error"].mean())
    assert "n = 4 members a point" in info.note


def test_an_accuracy_is_one_minus_the_error(results: Results) -> None:
    error, accuracy = (
        against_batch(results, Choice(y=(name,))).points["mean"] for name in ("test_error", "test_accuracy")
    )
    np.testing.assert_allclose(error + accuracy, 100)
    assert (
        "falls from B"
        in against_batch(results, Choice(y=("test_accuracy",), arms=tuple(f"batch_{s}" for s in SIZES))).title
    )


def test_what_a_remedy_recovers_is_of_the_drop_at_its_batch_size(results: Results) -> None:
    info = with_without(results)
    bars = info.bars.set_index("arm")
    small, large, sam = (
        100 * results.confirmed.groupby("arm")["test_error"].mean()[name]
        for name in ("batch_32", "batch_1024", "batch_1024_sam")
    )
    assert bars.loc["batch_1024_sam", "recovered"] == pytest.approx((large - sam) / (large - small))
    assert np.isnan(bars.loc["batch_1024", "recovered"])
    assert info.level == pytest.approx(small)


def test_nothing_is_recovered_of_a_drop_that_cannot_be_told() -> None:
    noisy = over_sizes(replace(PLAIN, member_std=0.01))
    recovered = with_without(noisy).bars.set_index("arm")["recovered"]
    errors = noisy.confirmed.pivot_table(index="block", columns="arm", values="test_error")
    seen = set()
    for size in SIZES[1:]:
        drops = errors[f"batch_{size}"] - errors["batch_32"]
        told = bool(stats.ttest_1samp(drops, 0.0).pvalue < 0.05)
        assert np.isfinite(recovered[f"batch_{size}_sam"]) == (told and drops.mean() > 0)
        seen.add((told, bool(drops.mean() > 0)))
    assert {(True, True), (False, True)} <= seen


def test_curves_are_means_and_ranges_over_members(results: Results) -> None:
    info = train_and_test(results, Choice(arms=("batch_256",)))
    row = info.lines[(info.lines["name"] == "test_error") & (info.lines["x"] == 2)].iloc[0]
    errors = 100 * (results.confirmed.query("arm == 'batch_256'")["test_error"] + 0.5 / 4)
    assert (row["mean"], row["low"], row["high"], row["n"]) == pytest.approx(
        (errors.mean(), errors.min(), errors.max(), 4)
    )


def test_the_gap_over_training_is_made_of_both_errors(results: Results) -> None:
    info = history(results, Choice(y=("lambda_max", "generalization_gap"), arms=("batch_32",)))
    gaps = info.lines[info.lines["name"] == "generalization_gap"]
    assert gaps["mean"].to_numpy() == pytest.approx(
        100 * results.confirmed.query("arm == 'batch_32'")["test_error"].mean()
    )


def test_a_trajectory_pairs_sharpness_and_loss_of_one_step(results: Results) -> None:
    info = trajectory(results, Choice(arms=("batch_32",)))
    member = results.confirmed.query("arm == 'batch_32'").iloc[0]
    own = info.lines[(info.lines["trial_id"] == member["trial_id"]) & (info.lines["seed"] == member["seed"])]
    np.testing.assert_allclose(own["x"], [1 / e**2 for e in range(1, 6)])
    np.testing.assert_allclose(own["y"], [member["lambda_max"] * e for e in range(1, 6)])


def test_the_walk_stands_between_its_iterates() -> None:
    info = walk(walked(over_sizes()))
    assert info.panels == [("batch_32", 1), ("batch_32", 2)]
    path = info.path[info.path["panel"] == 0]
    assert path["place"].tolist()[:6] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.25]
    assert path.loc[path["is_iterate"], "loss"].tolist() == pytest.approx([2.0, 1.9, 1.8, 1.7, 1.6])
    # the floor of the fourth update lies three quarters on the way
    floor = info.floor[(info.floor["panel"] == 0) & (info.floor["place"] > 3)]
    assert floor[["place", "loss"]].to_numpy().tolist() == [pytest.approx([3.75, 1.575])]
    assert info.updates.loc[info.updates["panel"] == 1, "distance"].tolist() == [2.5, 3.0, 3.5, 4.0]


def test_barriers_and_heights_by_epoch() -> None:
    found = epochs_table(walked(over_sizes())).set_index(["arm", "epoch"])
    assert found.loc[("batch_32", 1), "barriers"] == 0
    assert found.loc[("batch_32", 2), "barriers"] == 1
    heights = 4 * [0.05, 0.05, 0.05, 0.075]
    assert found.loc[("batch_32", 1), "height"] == pytest.approx(np.mean(heights))
    assert found.loc[("batch_32", 1), "height_variance"] == pytest.approx(np.var(heights, ddof=1))
    assert tuple(found.loc[("batch_32", 1), ["updates", "n"]]) == (4, 4)


def test_cosines_are_by_batch_size_at_one_rate() -> None:
    fixed = walked(over_sizes())
    info = cosines(fixed)
    assert info.axes == ("batch_size",)
    row = info.points[(info.points["x"] == 32) & (info.points["series"] == "epoch 1")].iloc[0]
    of_members = fixed.history.query("name == 'walk.cosine' and epoch <= 1").merge(
        fixed.confirmed[["trial_id", "seed", "batch_size"]], on=["trial_id", "seed"]
    )
    assert row["mean"] == pytest.approx(of_members.query("batch_size == 32")["value"].mean())


def test_distances_are_compared_with_the_reference() -> None:
    results = over_sizes()
    results.confirmed["distance_from_start"] = np.where(results.confirmed["arm"] == "batch_1024", 2.0, 8.0)
    found = distances_table(results).set_index("arm")
    assert found.loc["batch_1024", "ratio"] == 1
    assert found.loc["batch_32", "ratio"] == 4


def test_a_map_has_the_mean_of_each_cell_and_the_best_rate() -> None:
    results = crossed()
    info = heat_map(results)
    cells = info.cells.set_index(["batch_size", "lr"])["value"]
    assert len(cells) == 9
    assert cells[(128, 0.03)] == pytest.approx(100 * (0.05 + 0.02 * abs(np.log(0.03 / 128 / 3e-4))))
    assert info.best.set_index("batch_size")["lr"].to_dict() == {32: 0.01, 128: 0.03, 512: 0.1}


def test_cells_meet_half_way_in_logarithms() -> None:
    np.testing.assert_allclose(edges(np.array([1.0, 4.0, 16.0])), [0.5, 2.0, 8.0, 32.0])


def test_against_a_dimension_every_configuration_stands() -> None:
    info = tried(crossed(), Choice(x="lr", y=("test_error",)))
    assert len(info.points) == 9
    assert info.points["is_selected"].sum() == 1


@pytest.mark.parametrize(
    ("make", "choice", "said"),
    [
        (against_batch, Choice(y=("test_eror",)), "did you mean 'test_error'"),
        (against_batch, Choice(arms=("batch_23",)), "did you mean 'batch_32'"),
        (against_batch, Choice(y=("spectral_norm",)), r'write Space\(metrics=\("spectral_norm", ...\)\)'),
        (against_batch, Choice(arms=("batch_32",)), "have one batch size"),
        (walk, Choice(), r"write Space\(walk=Walk"),
        (cosines, Choice(), r"write Space\(walk=Walk"),
        (history, Choice(y=("keskar.full_1e-3",)), r'write Space\(watch=Watch\(metrics=\("keskar.full_1e-3",\)\)\)'),
        (history, Choice(y=("train_los",)), "did you mean 'train_loss'"),
        (tried, Choice(x="momentum"), "have one momentum"),
    ],
)
def test_what_a_run_lacks_is_said_with_the_setting_that_gives_it(make, choice, said, results: Results) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RequestError, match=said):
        make(results, choice)


def test_without_history_the_watch_is_named() -> None:
    with pytest.raises(Missing, match="nothing was watched"):
        train_and_test(over_sizes())
