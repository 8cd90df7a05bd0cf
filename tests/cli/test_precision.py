"""The dry run says what a search is expected to tell, from an earlier run or a stated default; and what fits into a time."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from tests.cli.conftest import Called
from tests.tuning.test_data_of_arms import trained
from tune_lb.cli.asked import asked_space
from tune_lb.inference.effects import paired_t
from tune_lb.inference.looks import least_half_width
from tune_lb.inference.selection_variance import FREEDOM
from tune_lb.results.run_files import read_members, read_space
from tune_lb.results.storage import Store
from tune_lb.search.confirming import confirmings
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.replay import replayed_run
from tune_lb.tuning.request import Request

SPACE = """
from tune_lb import Arm, Epochs, Space, over
from tune_lb.data import Digits
from tune_lb.models import MLP
from tune_lb.remedies import GradientNoise

SPACE = Space(
    question="Does it help?", data=Digits(num_train=100, num_validation=100), model=MLP(hidden=(8,)), budget=Epochs(4),
    eta_over_b=over(1e-4, 1e-2, log=True), batch_size=100, reference="large", crossings=None, derived=False, placebo=False,
    arms=(Arm("large"), Arm("noisy", GradientNoise(alpha=over(1e-6, 1e-2, log=True)))),
    num_samples=3, candidates=2, decide_blocks=2, confirm_blocks=4, block_seeds=2,
)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a space and a run of it, trained in this process."""
    place = tmp_path_factory.mktemp("pilot")
    (place / "mine.py").write_text(SPACE)
    path = str(place / "mine.py")
    _, space = asked_space(path, [])
    asked = {"space": path, "path": path, "overrides": [], "options": {}}
    trained(prepare(Request(space, "pilot", Store(place / "runs").child("pilot"), asked)))
    return place


def dry(call: Called, place: Path, *words: str) -> dict[str, object]:
    """Return the plan of a dry run."""
    code, out, err = call(
        "search", str(place / "mine.py"), "--dry-run", "--json", "--storage", str(place / "runs"), *words
    )
    assert code == 0, err
    return dict(json.loads(out)["plan"])


def differences(place: Path) -> np.ndarray:
    """(S, m) from the rows, by hand."""
    rows = read_members(Store(place / "runs").child("pilot"))[0].to_pandas()
    rows = rows[rows["stage"] == "confirm"].sort_values(["block", "seed"])
    noisy, large = (rows[rows["arm"] == arm]["test_error"].to_numpy().reshape(4, 2) for arm in ("noisy", "large"))
    return noisy - large


def test_what_is_expected_comes_from_the_last_run_of_the_space(call: Called, place: Path) -> None:
    found = dry(call, place)["precision"]
    d = differences(place)
    within = math.sqrt(d.var(axis=1, ddof=1).mean())
    between = math.sqrt(max(0.0, d.mean(axis=1).var(ddof=1) - within**2 / 2))
    assert found["spread"]["within"] == pytest.approx(within)
    assert found["spread"]["between"] == pytest.approx(between)
    assert found["from"] == "the spread of run pilot"
    error = math.sqrt((between**2 + within**2 / 2) / 4)
    assert found["of_recipes"] == pytest.approx(100 * stats.t.ppf(0.975, 3) * error)
    assert found["half_width"] >= found["of_recipes"]


def test_a_spread_is_taken_from_the_run_that_is_named_or_said_to_be_the_digits(
    call: Called, place: Path, tmp_path: Path
) -> None:
    arguments = ("search", str(place / "mine.py"), "--dry-run", "--storage")
    code, out, _ = call(*arguments, str(tmp_path / "none"))
    assert code == 0
    said = " ".join(out.split())
    assert re.search(
        r"half-widths of about \d\.\d\d points of test error for a claim, \d\.\d\d for these recipes; ", said
    )
    assert "blocks to be claimed 4 times in 5; from the spread of the digits, nothing of this space being known" in said
    code, _, err = call(*arguments, str(place / "runs"), "--spread-from", "pilott")
    assert code == 2
    assert "there is no run 'pilott'" in err
    assert "did you mean 'pilot'" in err


def test_until_is_read_in_both_ways_and_a_number_beside_it_is_refused(call: Called, place: Path) -> None:
    option = dry(call, place, "--confirm-until", "0.9")
    word = dry(call, place, "confirm_blocks=Until(0.9)")
    assert option["precision"] == word["precision"]
    assert option["arms"][0]["members"] == 3 + 2 * 2 + 60 * 2, "the most that there can be"
    code, _, err = call(
        "search", str(place / "mine.py"), "--confirm-until", "0.9", "--confirm-blocks", "5", "--dry-run"
    )
    assert (code, "given twice: as a number and as --confirm-until" in err) == (2, True)


def test_a_time_becomes_members_of_each_arm_which_the_next_command_names(call: Called, place: Path) -> None:
    words = ("search", str(place / "mine.py"), "--dry-run", "--storage", str(place / "runs"), "--name", "other")
    code, out, err = call(*words, "--time-budget", "10m")
    assert code == 0, err
    (number,) = re.findall(r"^(\d+) members of each arm: about .* of the 10m that there are$", out, re.M)
    assert int(number) >= 6
    assert f"--members-per-arm {number}" in out
    assert "--time-budget" not in out.split("next:")[1]
    for given, line in (
        (("--time-budget", "1"), "give a time with its unit"),
        (("--time-budget", "8s"), "the smallest comparison, 6 members of each arm, takes about"),
        (("--time-budget", "10m", "--num-samples", "4"), "says what --num-samples would say"),
        (("--time-budget", "10m", "block_seeds=1"), "says what --block-seeds would say"),
        (("--members-per-arm", "2"), "members_per_arm = 2: at least 6"),
    ):
        code, _, err = call(*words, *given)
        assert (code, err.count("\n")) == (2, 1), err
        assert line in err


def test_a_run_until_is_stored_and_goes_on_from_its_files(call: Called, place: Path, tmp_path: Path) -> None:
    path, words = str(place / "mine.py"), ["confirm_blocks=Until(3.0, 18)"]
    _, space = asked_space(path, words)
    store = Store(tmp_path).child("run")
    found = prepare(Request(space, "run", store, {"space": path, "path": path, "overrides": words, "options": {}}))
    code, out, _ = call("status", "run", "--storage", str(tmp_path), "--json")
    assert (code, json.loads(out)["done"]) == (0, False)
    assert [arm["confirm"]["total"] for arm in json.loads(out)["arms"]] == [20, 20], "the first look is after 10 blocks"
    rows = [row for row in trained(found) if row["stage"] == "confirm"]
    known = read_space(store)
    assert known["confirm_blocks"] == {"half_width": 3.0, "max_blocks": 18, "early": False}
    blocks = {arm: len({row["block"] for row in rows if row["arm"] == arm}) for arm in ("large", "noisy")}
    assert blocks["large"] == blocks["noisy"]
    assert blocks["noisy"] in (10, 14, 18)
    assert replayed_run(store, space, known).finished
    code, out, _ = call("status", "run", "--storage", str(tmp_path), "--json")
    assert json.loads(out)["done"]
    assert {arm["arm"]: arm["confirm"]["total"] // 2 for arm in json.loads(out)["arms"]} == blocks
    # a width between what was reached and what more blocks could reach at most
    state = confirmings(replayed_run(store, space, known), 18)
    selection = sum(state[arm].selection for arm in blocks)
    both = [state[arm].errors[: blocks["noisy"]] for arm in ("noisy", "large")]
    pairs = (both[0] - both[1]).mean(axis=1)
    reached, least = paired_t(pairs, selection, 1, FREEDOM).half_width, least_half_width(selection)
    _, narrower = asked_space(str(place / "mine.py"), [f"confirm_blocks=Until({50 * (reached + least)}, 22)"])
    again = replayed_run(store, narrower, known)
    assert least < reached
    assert not again.finished, "a narrower width goes on where the other stopped"
    assert {member.block for member in again.take().members} <= set(range(blocks["noisy"], 22))
