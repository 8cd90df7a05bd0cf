"""The Tuners of docs/ray_tune.md do what it says, on Ray."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import pytest

from tests.docs.blocks import ROOT, blocks
from tune_lb.tuning.quiet_ray import QUIET

PAGE = ROOT / "docs" / "ray_tune.md"
RUN = """
import json, random
import numpy, ray
import asha, pbt, optuna_search

random.seed(0)
numpy.random.seed(0)

# one worker: each imports torch, and the population is paused and taken up again
ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level="ERROR", address="local")
found = {"asha": asha.asha(8), "pbt": pbt.pbt(2, 10), "optuna_search": optuna_search.optuna_search(3)}
found = {name: json.loads(results.get_dataframe().to_json(orient="records")) for name, results in found.items()}
ray.shutdown()
with open("found.json", "w") as file:
    json.dump(found, file)
"""


@pytest.mark.ray
def test_asha_pbt_and_optuna_train_members_of_an_arm(tmp_path):
    names = []
    for block in blocks(PAGE):
        names.append(re.search(r"^def (\w+)", block.text, re.M)[1])
        (tmp_path / f"{names[-1]}.py").write_text(block.text)
    assert names == ["asha", "pbt", "optuna_search"]
    (tmp_path / "run.py").write_text(RUN)
    settings = {"PYTHONPATH": f"{tmp_path}:{ROOT}", "RAY_AIR_NEW_OUTPUT": "0"}
    settings |= {"RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0", "HOME": str(tmp_path), "RAY_USAGE_STATS_ENABLED": "0"}
    # what a search sets for itself stays in the process of other tests: a user has none of it
    unset = [word for name in QUIET for word in ("-u", name)]
    words = ["env", *unset, *(f"{key}={value}" for key, value in settings.items()), sys.executable, "run.py"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    columns = {"arm", "seed", "eta_over_b", "epochs", "updates", "validation_error", "validation_loss", "status"}
    assert {name: len(rows) for name, rows in found.items()} == {"asha": 8, "pbt": 2, "optuna_search": 3}
    for rows in found.values():
        assert all(columns <= row.keys() for row in rows)
        assert all(row["eta_over_b"] == row["config/eta_over_b"] for row in rows)
        finished = [row for row in rows if row["status"] == "completed"]
        assert finished
        assert all(row["epochs"] == 20 and row["test_error"] < 0.9 for row in finished)
    stopped = [row for row in found["asha"] if row["status"] == "unfinished"]
    assert stopped, "the median is stopped at the latest"
    assert all(row["epochs"] in (4, 8, 16) and row["test_error"] is None for row in stopped)
    assert any(row["configurations"].count("eta_over_b") > 1 for row in found["pbt"]), (
        "the worse one took from the better one"
    )
    low, high = 1e-4, 3e-3
    rates = [
        float(rate) for row in found["pbt"] for rate in re.findall(r"eta_over_b=([\d.e-]+)", row["configurations"])
    ]
    assert all(low <= rate <= high for rate in rates)
