"""Networks of torchvision, transformers and timm, and three more kinds, through search, measure and best: -m zoo."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys

import pandas as pd
import pytest

from tests.searching import Searches
from tests.zoo import others

pytestmark = pytest.mark.zoo


@pytest.mark.parametrize("case", others.CASES, ids=lambda case: case.model.__name__)
def test_it_goes_through_search_measure_and_best(searches: Searches, case: others.Case) -> None:
    if importlib.util.find_spec(case.needs) is None:
        pytest.skip(f"{case.needs} is not installed: pip install -e '.[zoo]'")
    shutil.copy(others.__file__, searches.folder / "spaces" / "others.py")
    (searches.folder / "spaces" / "asked_others.py").write_text(others.space_of(case))
    code, out, err = searches.run("search", "spaces/asked_others.py", "--name", "others", "--json")
    assert code == 0, out + err
    rows = pd.read_parquet(searches.folder / "runs" / "others" / "results").query("stage == 'confirm'")
    assert len(rows) == 4
    assert set(rows.status) == {"completed"}
    assert rows[["train_loss", "test_loss", "test_error"]].notna().all(axis=None)
    assert (rows["lambda_max"].notna() | rows["lambda_max.reason"].notna()).all()
    code, out, err = searches.run(
        "measure", "others", "--metric", "trace(deflate=1, min_probes=2, max_hvps=3)", "--json"
    )
    assert code == 0, out + err
    code, out, err = searches.run("best", "others", "large")
    assert code == 0, out + err
    (searches.folder / "best.py").write_text(out)
    done = subprocess.run(
        [sys.executable, "best.py"],
        cwd=searches.folder,
        env=searches.environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, out + done.stderr
    note = {
        "case": case.model.__name__,
        "execution": sorted(set(rows.execution)),
        "says": done.stdout.strip().splitlines()[-1:],
    }
    note["lambda_max"] = rows["lambda_max"].tolist()
    print(json.dumps(note))
