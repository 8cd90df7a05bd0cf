"""Members in the files of other programs, opened again by these programs; none twice, whatever was killed before."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from tests.analysis.fabrication import Arm, Procedure, fabricate, store_run
from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tests.killing import REPOSITORY
from tune_lb.export.exported import Exported, Feed, finite
from tune_lb.export.targets import TARGETS, check_target, open_target
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import Store

# of three arms, 2 searched, 2 decided between in one block, 2 blocks: 3 * (2 + 2 + 2) members
ARMS = {"small_batch": Arm(0.02, "baseline"), "large_batch": Arm(0.05, "reference"), "sam": Arm(0.03)}
PROCEDURE = Procedure(
    num_samples=2, candidates=2, decide_blocks=1, confirm_blocks=2, block_seeds=1, num_test=20, num_examples=60
)
MEMBERS = 18
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run. It must be left as it is."""
    place = tmp_path_factory.mktemp("runs") / "made"
    store_run(fabricate(ARMS, PROCEDURE), str(place))
    return place


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Store:
    shutil.copytree(made, tmp_path / "runs" / "made")
    return Store(tmp_path / "runs" / "made")


def write(to: str, run: Store, members: list[Exported] | None = None) -> int:
    writer = open_target(to, run, "made", read_space(run))
    writer.write(Feed(run).new() if members is None else members)
    return writer.close()


def expected(run: Store) -> tuple[dict[tuple[str, int], dict], dict[tuple[str, int], dict]]:
    """Return the rows and the history of the members, as pandas reads them."""
    rows = pd.read_parquet(f"{run.location}/results")
    history = pd.read_parquet(f"{run.location}/history/history.parquet")
    series: dict[tuple[str, int], dict[str, list[tuple[int, float]]]] = {}
    for entry in history.to_dict("records"):
        own = series.setdefault((entry["trial_id"], entry["seed"]), {})
        own.setdefault(entry["name"].replace("@", "_at_"), []).append((entry["step"], entry["value"]))
    assert len(rows) == MEMBERS
    assert len(history) > MEMBERS
    return {(row["trial_id"], row["seed"]): row for row in rows.to_dict("records")}, series


def test_tensorboard_shows_every_point_once(run: Store) -> None:
    pytest.importorskip("tensorboard", reason="pip install 'tune_lb[tensorboard]'")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    folder = Path(run.location, "export", "tensorboard")
    members = Feed(run).new()
    assert write("tensorboard", run, members[:5]) == 5
    # killed between the last byte of a member and its name, and a member that is gone
    done = sorted(folder.glob("*/*"))
    done[0].rename(done[0].with_name(f".{done[0].name}.17"))
    assert write("tensorboard", run) == MEMBERS - 4
    assert write("tensorboard", run) == 0
    assert not list(folder.glob("*/.*"))
    rows, series = expected(run)
    found = {path.name: path for path in folder.glob("*/*")}
    assert sorted(found) == sorted(f"{trial}.{seed}" for trial, seed in rows)
    for key, row in rows.items():
        path = found[f"{key[0]}.{key[1]}"]
        assert path.parent.name == f"{row['arm']}.{row['stage']}"
        events = EventAccumulator(str(path)).Reload()
        for name, points in series[key].items():
            assert [(event.step, event.value) for event in events.Scalars(name)] == [
                (step, pytest.approx(value, rel=1e-6)) for step, value in points
            ]
        (event,) = events.Scalars("result/test_error")
        assert event.value == pytest.approx(row["test_error"], rel=1e-6)
    hyper = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    assert b"eta_over_b" in hyper


@pytest.mark.parametrize("store", [pytest.param("sqlite", marks=pytest.mark.slow), "file"])
def test_mlflow_has_every_value_once(run: Store, store: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="pip install 'tune_lb[mlflow]'")
    from mlflow.entities import Metric
    from mlflow.tracking import MlflowClient

    monkeypatch.setattr("warnings.warn", lambda *words, **more: None)
    uri = f"sqlite:///{run.location}/export/mlflow/mlflow.db"
    if store == "file":
        uri = (tmp_path / "mlruns").as_uri()
        monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    members = Feed(run).new()[:4]
    assert write("mlflow", run, members) == 4
    client = MlflowClient(tracking_uri=uri)
    experiment = client.get_experiment_by_name("made").experiment_id
    # killed in the middle of a member
    cut = client.create_run(experiment, tags={"tune_lb.trial_id": "x", "tune_lb.seed": "0"})
    client.log_batch(cut.info.run_id, metrics=[Metric("history/train_loss", 1.0, 0, 0)])
    known = Feed(run).new()[:6]
    assert write("mlflow", run, known) == 2
    assert write("mlflow", run, known) == 0
    rows, series = expected(run)
    found = client.search_runs([experiment])
    assert len(found) == 6
    assert {(one.data.tags["tune_lb.trial_id"], int(one.data.tags["tune_lb.seed"])) for one in found} == {
        member.key for member in known
    }
    for one in found:
        key = one.data.tags["tune_lb.trial_id"], int(one.data.tags["tune_lb.seed"])
        assert one.info.status == "FINISHED"
        assert one.data.metrics["test_error"] == pytest.approx(rows[key]["test_error"])
        assert float(one.data.params["eta_over_b"]) == pytest.approx(rows[key]["eta_over_b"])
        assert one.data.tags["arm"] == rows[key]["arm"]
        for name, points in series[key].items():
            history = client.get_metric_history(one.info.run_id, f"history/{name}")
            assert sorted((metric.step, metric.value) for metric in history) == sorted(points)


WANDB = """
import sys
from pathlib import Path
from tune_lb.export.exported import Feed
from tune_lb.export.targets import open_target
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import Store
run = Store(sys.argv[1])
writer = open_target("wandb", run, "made", read_space(run))
writer.write(Feed(run).new()[:int(sys.argv[2])])
print(writer.close())
"""


@pytest.mark.slow
def test_wandb_offline_has_every_point_once(run: Store) -> None:
    pytest.importorskip("wandb", reason="pip install 'tune_lb[wandb]'")
    environment = {**os.environ, "WANDB_MODE": "offline", "PYTHONPATH": str(REPOSITORY), "A_SECRET": "hunter2"}

    def written(number: int) -> str:
        words = [sys.executable, "-c", WANDB, run.location, str(number)]
        done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True, timeout=120)
        return done.stdout.strip()

    assert written(3) == "3"
    folder = Path(run.location, "export", "wandb", "wandb")
    cut = folder / "offline-run-20260101_000000-0123456789abcdef"
    cut.mkdir()
    (cut / "run-0123456789abcdef.wandb").write_bytes(b"half")
    assert written(5) == "2"
    assert not cut.exists()
    rows, series = expected(run)
    seen: Counter[str] = Counter()
    for path in folder.glob("offline-run-*/*.wandb"):
        name, points, summary = wandb_records(path)
        seen[name] += 1
        key = next(key for key in rows if name.endswith(f"{key[0]}.{key[1]}"))
        for series_name, values in series[key].items():
            assert points[f"history/{series_name}"] == values
        assert summary["test_error"] == pytest.approx(rows[key]["test_error"])
        assert b"hunter2" not in path.read_bytes()
    assert len(seen) == 5
    assert set(seen.values()) == {1}


def records_of(data: bytes) -> Iterator[bytes]:
    """Yield the records of a file in the log format of LevelDB: blocks of 32 KiB, (crc, length, kind) before each piece."""
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[place : place + 7])
        if not kind:
            return
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):
            yield whole
            whole = b""


def wandb_records(path: Path) -> tuple[str, dict[str, list[tuple[int, float]]], dict[str, float]]:
    """Return the display name, the points and the summary of a run's file."""
    from wandb.proto.wandb_internal_pb2 import Record

    name, points, summary = "", {}, {}
    for data in records_of(path.read_bytes()):
        record = Record()
        record.ParseFromString(data)
        name = record.run.display_name or name
        for update in record.summary.update:
            summary[update.key or ".".join(update.nested_key)] = json.loads(update.value_json)
        items = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
        for key, value in items.items():
            if key.startswith("history/"):
                points.setdefault(key, []).append((items.get("_step", record.history.step.num), value))
    return name, points, summary


def test_wandb_without_a_key_is_said_before_anything(
    run: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb", reason="pip install 'tune_lb[wandb]'")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(Exception, match="wandb: there is no key for it: `wandb login`, or WANDB_API_KEY"):
        open_target("wandb", run, "made", {})


def test_optuna_loads_a_study_for_each_arm(run: Store) -> None:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    members = Feed(run).new()
    assert write("optuna", run, [m for m in members if m.row["arm"] == "sam"]) == 2
    assert write("optuna", run) == 4
    assert write("optuna", run) == 0
    storage = JournalStorage(JournalFileBackend(str(Path(run.location, "export", "optuna", "studies.log"))))
    assert sorted(optuna.get_all_study_names(storage)) == ["made.large_batch", "made.sam", "made.small_batch"]
    rows = [row for row in expected(run)[0].values() if row["stage"] == "search" and row["arm"] == "sam"]
    study = optuna.load_study(study_name="made.sam", storage=storage)
    assert study.best_value == pytest.approx(min(row["validation_loss"] for row in rows))
    assert {trial.params["eta_over_b"] for trial in study.trials} == {row["eta_over_b"] for row in rows}
    decided = [r for r in expected(run)[0].values() if r["stage"] == "decide" and r["arm"] == "sam"]
    for trial in study.trials:
        own = [r["validation_loss"] for r in decided if r["configuration_id"] == trial.user_attrs["configuration_id"]]
        assert trial.user_attrs["decide.validation_loss"] == pytest.approx(sum(own) / len(own))
    domain = {arm["name"]: arm for arm in read_space(run)["arms"]}["sam"]["dimensions"]["eta_over_b"]
    distribution = study.trials[0].distributions["eta_over_b"]
    assert (distribution.low, distribution.high, distribution.log) == (domain["low"], domain["high"], domain["log"])


def test_a_diverged_configuration_is_pruned_and_one_from_outside_is_an_attribute(run: Store) -> None:
    from optuna.trial import TrialState

    from tune_lb.export.optuna import Optuna

    arm = {"name": "sam", "dimensions": {"lr": {"low": 0.1, "high": 1.0, "log": True}, "how": {"values": ["a", "b"]}}}
    writer = Optuna(Path("unused"), "made", {"arms": [arm]})
    row = {"arm": "sam", "stage": "search", "trial_id": "t", "seed": 0, "lr": 0.5, "how": "b"}

    def trial(**changes: object) -> object:
        member = Exported({**row, **changes}, {}, {}, {}, [], 0.0, 1.0)
        return writer._trial(member, arm["dimensions"], [member])

    fine = trial(status="completed", validation_loss=0.25)
    assert (fine.state, fine.value, fine.params) == (TrialState.COMPLETE, 0.25, {"lr": 0.5, "how": "b"})
    assert trial(status="diverged", validation_loss=None).state == TrialState.PRUNED
    outside = trial(status="completed", validation_loss=0.25, lr=0.0, how="c")
    assert (outside.params, outside.user_attrs["param.lr"]) == ({}, 0.0)


def test_csv_is_what_the_tables_hold(run: Store) -> None:
    assert write("csv", run) == MEMBERS
    folder = Path(run.location, "export", "csv")
    rows = pd.read_parquet(f"{run.location}/results").set_index(["trial_id", "seed"]).sort_index()
    read = pd.read_csv(folder / "members.csv", dtype={"trial_id": str}).set_index(["trial_id", "seed"]).sort_index()
    assert list(read) == list(rows)
    for name in ("test_error", "eta_over_b", "stage", "arm", "updates"):
        assert read[name].tolist() == rows[name].tolist()
    history = pd.read_csv(folder / "history.csv", dtype={"trial_id": str})
    stored = pd.read_parquet(f"{run.location}/history/history.parquet")
    keys = ["trial_id", "seed", "name", "step"]
    pd.testing.assert_frame_equal(
        history.sort_values(keys).reset_index(drop=True)[list(stored)],
        stored.sort_values(keys).reset_index(drop=True),
        check_dtype=False,
    )
    described = pd.read_csv(folder / "columns.csv").set_index("name")
    assert described.loc["test_error", "role"] == "outcome"
    assert described["description"].notna().all()


def test_names_of_rows_lead_nowhere(run: Store) -> None:
    (member, *_) = Feed(run).new()
    strange = Exported({**member.row, "trial_id": "../../../x", "arm": "/etc/a\x00b"}, {}, {}, {}, [], 0.0, 1.0)
    assert write("tensorboard", run, [strange]) == 1
    (made,) = Path(run.location, "export", "tensorboard").glob("*/*")
    assert made.parent.name == f"_etc_a_b.{member.row['stage']}"
    assert made.name == f"__.._.._x.{member.row['seed']}"


def test_the_command_says_where_and_what_opens_it(run: Store, call: Called) -> None:  # noqa: F811
    code, out, _ = call("export", "made", "--to", "optuna")
    assert code == 0
    assert out.splitlines()[0].startswith("6 configurations written for optuna, the others were there: ")
    assert out.splitlines()[1].startswith("open it: optuna-dashboard ")
    code, out, _ = call("export", "made", "--to", "csv", "--out", "elsewhere", "--json")
    assert (code, json.loads(out)["written"], Path("elsewhere/members.csv").exists()) == (0, MEMBERS, True)
    for words, line in (
        (("--to", "tensorbord"), "--to tensorbord: there is no such target; did you mean 'tensorboard'?"),
        (("--to", "csv", "--out", "elsewhere/members.csv"), "export: cannot write: "),
    ):
        code, _, err = call("export", "made", *words)
        assert (code, err.count("\n")) == (2, 1)
        assert line in err


def test_a_package_that_is_missing_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(Exception, match=r"mlflow: mlflow is not installed: pip install 'tune_lb\[mlflow\]'"):
        check_target("mlflow")
    assert set(TARGETS) == {"tensorboard", "mlflow", "wandb", "optuna", "csv"}


def test_members_are_given_once(run: Store) -> None:
    feed = Feed(run)
    assert len({member.key for member in feed.new()}) == MEMBERS
    assert feed.new() == []


def test_what_is_not_finite_is_left_out_where_it_is_refused() -> None:
    assert finite({"a": 1.0, "b": float("nan"), "c": float("inf")}) == {"a": 1.0}
