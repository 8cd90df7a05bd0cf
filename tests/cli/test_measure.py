"""measure: columns for a finished run without training again, whatever happens in between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import safetensors.torch
import torch.nn.functional as F

from tests.cli.conftest import Called
from tests.jobs import finished, job_of, work_on
from tune_lb.data.device import on_device
from tune_lb.data.digits import Digits
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure
from tune_lb.models.mlp import MLP
from tune_lb.observation import remeasure as module
from tune_lb.results.run_files import merge, write_space
from tune_lb.results.storage import Store
from tune_lb.space.checks import checked_designs
from tune_lb.space.description import description
from tune_lb.space.loading import load_space
from tune_lb.tuning.run_context import make_context

SPACE = """
from tune_lb.budgets import Epochs
from tune_lb.data.digits import Digits
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.models.mlp import MLP
from tune_lb import Arm, Space, over

SPACE = Space(
    question="?", data=Digits(num_train=120, num_validation=100), budget=Epochs(3), metrics=METRICS,
    model=over([MLP(hidden=(6,)), MLP(hidden=(9,), batch_norm=False)]),
    arms=(Arm("small", batch_size=20, lr=over(0.01, 0.1)), Arm("large", batch_size=60, lr=0.1)), reference="large",
)
"""


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose confirmed members were trained here, without Ray: two of each arm, of both networks."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "asked.py").write_text(SPACE.replace("METRICS", "()"))
    space, store = load_space(str(folder / "asked.py")).space, Store(folder / "runs" / "asked")
    data = space.data.load(0)
    context = make_context(
        "asked", store, space, checked_designs(space), {0: data}, dict.fromkeys(("small", "large"), "alone")
    )
    for i, name in enumerate(("small", "large")):
        design = next(design for design in checked_designs(space) if design.name == name)
        values = {key: domain.to_check()[i] for key, domain in design.dimensions.items()}
        trial = design.template.resolved(values)
        finished(work_on(job_of(trial, (2001, 2002), "confirm", data.fingerprint()), on_device(data, "cpu"), context))
    asked = {"space": "asked.py", "path": str(folder / "asked.py"), "overrides": [], "options": {"name": "asked"}}
    write_space(store, {"asked": asked, "procedure": "blocks", "resolved": description(space), "arms": []})
    merge(store)
    return folder


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    """A copy of the run's folder of its own."""
    shutil.copytree(done / "runs", tmp_path / "runs")
    return tmp_path / "runs" / "asked"


def members(run: Path) -> pd.DataFrame:
    return pd.read_parquet(run / "results").set_index(["arm", "seed"]).sort_index()


def files(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.rglob("*") if path.is_file()}


def test_columns_are_added_and_nothing_else_changes(call: Called, run: Path) -> None:
    before, table = files(run), members(run)
    code, out, err = call("measure", "asked", "--metric", "lambda_max", "--metric", "trace", "--json")
    assert (code, json.loads(out)["measured"], json.loads(out)["failures"]) == (0, 8, [])
    after, merged = files(run), members(run)
    trials = [name for name in before if not name.startswith("results/")]
    assert {name: after[name] for name in trials} == {name: before[name] for name in trials}
    assert len([name for name in after if name.startswith("measurements/")]) == 8
    pd.testing.assert_frame_equal(merged[table.columns], table)
    assert merged["lambda_max"].gt(0).all()
    assert merged["lambda_max.split"].eq("train").all()
    assert merged["trace.standard_error"].ge(0).all()
    assert "8 of 8" in err


def test_the_number_is_that_of_the_stored_network_on_the_run_s_data(call: Called, run: Path) -> None:
    assert call("measure", "asked", "--metric", "lambda_max(max_samples=None)", "--arm", "large")[0] == 0
    row = members(run).loc["large"].iloc[0]
    train = on_device(Digits(num_train=120, num_validation=100).load(0), "cpu").train
    net = MLP(hidden=(9,), batch_norm=False)((64,), 10)
    weights = (run / "weights" / f"{row['trial_id']}.{members(run).loc['large'].index[0]}.safetensors").read_bytes()
    net.load_state_dict(safetensors.torch.load(weights))
    own = measure(net, F.cross_entropy, train.standardized(), train.targets, LambdaMax(max_samples=None))
    assert row["lambda_max"] == pytest.approx(own["lambda_max"], rel=1e-5)
    assert members(run).loc["small"]["lambda_max"].isna().all()


def test_what_is_there_is_not_measured_again_unless_asked(call: Called, run: Path) -> None:
    call("measure", "asked", "--arm", "small")
    stamps = {path: path.stat().st_mtime_ns for path in (run / "measurements").iterdir()}
    code, out, _ = call("measure", "asked", "--json")
    found = json.loads(out)
    assert (code, found["measured"], found["there_before"]) == (0, 2, 2)
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    call("measure", "asked", "--metric", "lambda_max(max_samples=50)", "--again")
    assert members(run)["lambda_max.num_samples"].eq(50).all()


def test_another_part_of_the_data_has_columns_of_its_own(call: Called, run: Path) -> None:
    call("measure", "asked")
    train = members(run)["lambda_max"]
    assert call("measure", "asked", "--split", "test")[0] == 0
    both = members(run)
    assert both["lambda_max"].equals(train)
    assert both["test_lambda_max.split"].eq("test").all()
    assert both["test_lambda_max.loss"].to_numpy() == pytest.approx(both["test_loss"].to_numpy(), rel=1e-5)
    assert not both["test_lambda_max"].equals(train)


def test_interrupted_in_the_middle_it_keeps_what_it_has_and_goes_on(
    call: Called, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write, calls = module.write_measurement, []

    def interrupted(*given: object) -> None:
        calls.append(1)
        if len(calls) > 3:
            raise KeyboardInterrupt
        write(*given)

    monkeypatch.setattr(module, "write_measurement", interrupted)
    assert call("measure", "asked")[0] == 130
    assert members(run)["lambda_max"].notna().sum() == 3
    monkeypatch.setattr(module, "write_measurement", write)
    code, out, _ = call("measure", "asked", "--json")
    assert (code, json.loads(out)["measured"], json.loads(out)["there_before"]) == (0, 1, 3)
    assert members(run)["lambda_max"].notna().all()


def test_weights_that_are_not_the_row_s_are_said_and_the_others_measured(call: Called, run: Path) -> None:
    names = sorted((run / "weights").iterdir())
    torn, other = names[0], names[-1]
    torn.write_bytes(torn.read_bytes()[:-9])
    tensors = safetensors.torch.load(other.read_bytes())
    other.write_bytes(safetensors.torch.save({name: 1.5 * value for name, value in tensors.items()}))
    code, out, _ = call("measure", "asked", "--json")
    found = json.loads(out)
    assert (code, found["measured"]) == (3, 2)
    assert "is damaged" in " ".join(found["failures"])
    assert "its row says" in " ".join(found["failures"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--metric", "lambda_mx"], "did you mean 'lambda_max'"),
        (["--metric", "trace(probes=3)"], "no setting 'probes'"),
        (["--arm", "smal"], "did you mean 'small'"),
    ],
)
def test_requests_that_cannot_be_met_start_nothing(call: Called, run: Path, words: list[str], message: str) -> None:
    before = files(run)
    code, _, err = call("measure", "asked", *words)
    assert code == 2
    assert message in err
    assert files(run) == before


def test_a_space_that_has_changed_and_a_run_without_weights_are_refused(call: Called, run: Path, done: Path) -> None:
    known = json.loads((run / "space.json").read_text())
    changed = run.parents[1] / "changed.py"
    changed.write_text(SPACE.replace("METRICS", "()").replace("Epochs(3)", "Epochs(4)"))
    write_space(Store(run), known | {"asked": known["asked"] | {"path": str(changed)}})
    code, _, err = call("measure", "asked")
    assert (code, "budget.epochs: was 3, now 4" in err or "epochs" in err) == (2, True)
    write_space(Store(run), known)
    for path in (run / "weights").iterdir():
        path.unlink()
    code, _, err = call("measure", "asked")
    assert (code, "no weights are stored" in err) == (2, True)


def test_a_file_that_is_not_whole_is_named_left_out_and_made_again(call: Called, run: Path) -> None:
    call("measure", "asked")
    member = members(run).loc["large"].iloc[0]["trial_id"]
    path = next(path for path in (run / "measurements").iterdir() if path.name.startswith(member))
    path.write_bytes(b"PAR1")
    found = json.loads(call("measure", "asked", "--arm", "small", "--json")[1])
    assert [line.split(": not a")[0] for line in found["problems"]] == [
        f"results: measurements/{path.name} is left out"
    ]
    assert members(run)["lambda_max"].notna().sum() == 3
    assert json.loads(call("measure", "asked", "--json")[1])["measured"] == 1
    assert members(run)["lambda_max"].notna().all()
