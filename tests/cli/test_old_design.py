"""Runs of the design of before (search, rescreen, confirm): they are served from their files, and not continued."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import pytest

from tests.cli.conftest import Called
from tune_lb.cli.best import selected_trials
from tune_lb.cli.runs import space_of_run
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import Store
from tune_lb.training.trial import Trial

RUNS = Path(__file__).parents[1] / "old_runs"


@pytest.fixture(scope="module")
def old() -> tuple[Store, dict[str, Trial]]:
    store = Store(RUNS / "remedies")
    known = read_space(store)
    return store, selected_trials(store, space_of_run(known), known)


def test_every_arm_s_recipe_is_that_of_a_row_which_space_json_calls_selected(
    old: tuple[Store, dict[str, Trial]],
) -> None:
    store, trials = old
    selected = read_space(store)["selected"]
    assert trials.keys() == selected.keys()
    rates = defaultdict(set)
    for row in read_members(store)[0].select(["arm", "trial_id", "split_seed", "lr"]).to_pylist():
        if row["trial_id"] == selected[row["arm"]].get(str(row["split_seed"])):
            rates[row["arm"], row["split_seed"]].add(row["lr"])
    for arm, trial in trials.items():
        (rate,) = rates[arm, trial.split_seed]
        assert trial.learning_rate == pytest.approx(rate, rel=1e-12), arm


def test_it_is_not_continued_and_its_status_has_the_stages_of_then(call: Called) -> None:
    code, _, err = call("search", "remedies", "--storage", str(RUNS), "--dry-run")
    assert code == 2
    assert "made by search, rescreen and confirm" in err
    code, out, _ = call("status", "remedies", "--storage", str(RUNS), "--json")
    assert code == 0
    assert json.loads(out)["arms"][0]["rescreen"]["total"] is None


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--seeds", "3"), "give num_samples of them"),
        (("--rescreen-seeds", "3"), "give candidates and decide_blocks"),
        (("confirm_seeds=3",), "give confirm_blocks and block_seeds"),
        (("split_seeds=[0,1]",), "give decide_blocks and confirm_blocks"),
    ],
)
def test_old_fields_and_options_name_what_came_in_their_place(
    call: Called, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    try:
        code, _, err = call("search", "quickstart", *words, "--dry-run")
    except SystemExit as error:
        code, err = int(error.code or 0), capsys.readouterr().err
    assert code == 2
    assert said in err


def test_a_space_with_an_old_field_is_refused_with_its_line(call: Called, tmp_path: Path) -> None:
    file = tmp_path / "older.py"
    file.write_text("from tune_lb import Space\n\nSPACE = Space(question='?', confirm_seeds=3)\n")
    code, _, err = call("show", str(file))
    assert code == 2
    assert f"{file}:3: " in err
    assert "give confirm_blocks and block_seeds" in err
