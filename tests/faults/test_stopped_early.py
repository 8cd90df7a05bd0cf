"""A real search that stops configurations early, killed on its way: it ends as one without Ray that nobody killed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from tests.faults.small_runs import FILE, SPACE, run_of, search
from tests.searching import Searches

pytestmark = [
    pytest.mark.ray,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="finds processes through /proc"),
]

CHANGES = {"stopping": "halving", "epochs": 4, "num_samples": 6, "confirm_blocks": 1}


def test_killed_on_its_way_it_ends_as_it_would_have(
    searches: Searches, tmp_path_factory: pytest.TempPathFactory
) -> None:
    place = tmp_path_factory.mktemp("whole")
    search(place, SPACE.overridden(list(CHANGES.items())))
    words = (
        "search",
        str(FILE),
        "--name",
        "halved",
        *(f"{k}={v}" for k, v in CHANGES.items()),
        "--max-concurrent",
        "2",
    )
    # the first arm is searched, of the second some are at their look
    assert ".decide." in searches.kill_at("rename@.decide.", *words)
    run = searches.folder / "runs" / "halved"
    code, out, err = searches.run(*words)
    assert (code, err) == (0, ""), out + err
    assert "of an arm's configurations 6 to 50 %, 3 to the end: 4.5 whole trainings in place of 6" in " ".join(
        out.split()
    )
    found, expected = (
        pd.read_parquet(of / "results" / "members.parquet").set_index(["trial_id", "seed"]).sort_index()
        for of in (run, run_of(place))
    )
    columns = ["status", "stage", "stopped_at", "look1.validation_loss", "validation_loss", "test_error", "updates"]
    pd.testing.assert_frame_equal(found[columns], expected[columns], check_exact=True)
    assert set(found.loc[found["stage"] == "search", "status"]) == {"completed", "stopped"}
    assert not list((run / "checkpoints").glob("*")), "those of stopped ones too"
