"""What tune_lb never does with files that it did not write, and what never gets into those that it writes.

Archives: tests/data/test_archives.py. The page of a report: tests/analysis/test_page.py. Locations with credentials:
tests/faults/test_secrets.py. The state of a network: tests/training/test_state_coding.py.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Called, call  # noqa: F401  (a fixture)
from tests.faults.small_runs import ASKED, FILE, SPACE, run_of, search
from tune_lb.data.npz import read_arrays
from tune_lb.errors import RequestError, one_line, plain
from tune_lb.results.storage import Store
from tune_lb.tuning.preparation import prepare
from tune_lb.tuning.request import Request

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for folder in ("tune_lb", "analysis", "search_spaces", "docs") for path in (ROOT / folder).rglob("*.py")
]

READERS = {
    "pickle.load",
    "pickle.loads",
    "pickle.Unpickler",
    "cloudpickle.load",
    "cloudpickle.loads",
    "joblib.load",
    "marshal.load",
    "marshal.loads",
    "shelve.open",
    "torch.load",
    "torch.jit.load",
    "torch.hub.load",
    "torch.package.PackageImporter",
    "yaml.load",
    "pandas.read_pickle",
    "pd.read_pickle",
    "read_pickle",
}
"""What runs code that it finds in a file."""
IN_MEMORY = {"tune_lb/testing/metric_laws.py", "tune_lb/testing/remedy_laws.py"}
"""Suites that copy what they were given, in memory."""


def dotted(node: ast.AST) -> str:
    """Return a.b.c of an expression; "" for what is none."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def dangerous(text: str) -> list[str]:
    """Return what a source reads that may run code: calls by name, classes to inherit from, and NumPy where it may unpickle."""
    found = []
    for node in ast.walk(ast.parse(text)):
        name = dotted(node)
        ends = any(name == reader or name.endswith(f".{reader}") for reader in READERS)
        if ends and not name.startswith("safetensors."):
            found.append(name)
        if isinstance(node, ast.Call):
            options = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
            if options.get("allow_pickle", False) is not False or options.get("weights_only", True) is not True:
                found.append(f"{dotted(node.func)} that may unpickle")
            if dotted(node.func) in ("np.load", "numpy.load") and "allow_pickle" not in options:
                found.append("np.load without allow_pickle=False")
        if isinstance(node, ast.ImportFrom) and node.module in ("pickle", "marshal", "shelve", "joblib", "dill"):
            found.append(f"from {node.module}")
    return found


def test_what_may_run_code_is_found() -> None:
    text = """
import pickle
from joblib import load
class Reader(pickle.Unpickler): pass
torch.load(path, weights_only=False)
np.load(path)
np.load(path, allow_pickle=True)
ray.cloudpickle.loads(data)
"""
    assert sorted(dangerous(text)) == [
        "from joblib",
        "np.load that may unpickle",
        "np.load without allow_pickle=False",
        "pickle.Unpickler",
        "ray.cloudpickle.loads",
        "torch.load",
        "torch.load that may unpickle",
    ]
    assert dangerous("pickle.dumps(x); np.load(p, allow_pickle=False); safetensors.torch.load(b)") == []


def test_nobody_reads_what_may_run_code() -> None:
    found = {str(path.relative_to(ROOT)): dangerous(path.read_text()) for path in SOURCES}
    assert {path for path, names in found.items() if names} == IN_MEMORY
    assert len(found) > 400


class Trap:
    """Makes a folder where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.place),)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("done")
    search(place)
    return place


@pytest.fixture
def run(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path, dirs_exist_ok=True)
    return run_of(tmp_path)


@pytest.mark.slow
def test_a_pickle_in_the_place_of_any_file_of_a_run_does_nothing(
    run: Path,
    call: Called,  # noqa: F811
    tmp_path: Path,
) -> None:
    trap = tmp_path / "taken"
    pickle.loads(pickle.dumps(Trap(trap)))
    trap.rmdir()  # it works
    for path in [path for path in run.rglob("*") if path.is_file()]:
        path.write_bytes(pickle.dumps(Trap(trap)))
    (run / "checkpoints").mkdir(exist_ok=True)
    (run / "checkpoints" / "a.0-0.safetensors").write_bytes(pickle.dumps(Trap(trap)))
    (run / "ray" / "state").mkdir(parents=True)
    (run / "ray" / "state" / "tuner.pkl").write_bytes(pickle.dumps(Trap(trap)))
    for words in (("status",), ("check",), ("report",), ("measure",), ("export", "--to", "csv"), ("retry",)):
        code, _, err = call(words[0], "tiny", *words[1:])
        assert code in (1, 2, 3), words
        assert "Traceback" not in err
    call("list")
    assert len(search(tmp_path).trained) == 12, "made anew"
    assert not trap.exists()


def test_an_array_of_objects_is_refused_and_nothing_of_it_runs(tmp_path: Path) -> None:
    trap = tmp_path / "taken"
    np.savez(tmp_path / "data.npz", images=np.array([Trap(trap)], object), labels=np.zeros(1))
    with pytest.raises(RequestError, match=r"data.npz is no .npz file of plain numbers, and is not used"):
        read_arrays(tmp_path / "data.npz")
    assert not trap.exists()


SECRETS = {
    "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI",
    "MLFLOW_TRACKING_PASSWORD": "hunter2hunter2",
    "WANDB_API_KEY": "0123456789abcdefkey",
    "MY_TOKEN": "tok-5f3a9c",
}

KEEPER = """
import os
from dataclasses import dataclass
from tune_lb.models import MLP

KEY = os.environ["MY_TOKEN"]


@dataclass(frozen=True)
class Telling(MLP):
    def __call__(self, shape, classes):
        if os.environ.get("TELL"):
            raise ValueError(f"https://me:pass@host refused {KEY}")
        return super().__call__(shape, classes)
"""


def texts_of(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield all that can be read in the files of a folder: bytes as they are, and the texts of tables with their metadata."""
    for path in folder.rglob("*"):
        if not path.is_file():
            continue
        yield str(path), path.read_bytes().decode("latin-1")
        if path.suffix == ".parquet":
            table = pq.read_table(path)
            yield str(path), str(table.schema.metadata) + json.dumps(table.to_pylist(), default=str)


@pytest.mark.slow
def test_values_of_the_environment_get_into_no_file_and_no_line(
    call: Called,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)
    text = FILE.read_text().replace("MLP(hidden=(4,))", "telling.Telling(hidden=(4,))")
    (tmp_path / "mine.py").write_text("import telling\n" + text)
    (tmp_path / "telling.py").write_text(KEEPER)
    printed = ""
    for words in (("show",), ("search", "--dry-run")):
        code, out, err = call(words[0], "mine.py", *words[1:])
        assert code == 0, err
        printed += out + err
    search(tmp_path)
    for words in (("status",), ("report",), ("check",), ("export", "--to", "optuna"), ("list",)):
        printed += "".join(map(str, call(words[0], *(["tiny"] if words != ("list",) else []), *words[1:])))
    monkeypatch.setenv("TELL", "1")
    code, out, err = call("train", "mine.py", "large")
    assert code == 2
    assert "https://...@host refused $MY_TOKEN" in err
    printed += out + err
    places = list(texts_of(tmp_path / "runs"))
    assert len(places) > 20
    for value in SECRETS.values():
        assert value not in printed
        assert [place for place, held in places if value in held] == []


def test_what_is_raised_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, "HOME_TOKENS": "a", "PLAIN": "value"}.items():
        monkeypatch.setenv(name, value)
    said = one_line(ConnectionError("s3://AK:hun2@bucket said wJalrXUtnFEMI and tok-5f3a9c; a plain value"))
    assert said == "ConnectionError: s3://...@bucket said $AWS_SECRET_ACCESS_KEY and $MY_TOKEN; a plain value"
    assert plain("http://localhost:8080/a@b, 12:30@noon") == "http://localhost:8080/a@b, 12:30@noon"


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"asked": {**ASKED, "overrides": ["data.url=https://me:pass@host/x"]}}, "as asked, overrides"),
        ({"address": "ray://me:pass@host:10001"}, "--address"),
        ({"space": SPACE.overridden([("question", "see https://host/x?access_token=abc")])}, "question"),
    ],
)
def test_a_uri_with_a_password_is_refused_wherever_it_would_be_stored(
    changes: dict[str, object], where: str, tmp_path: Path
) -> None:
    request = {"space": SPACE, "name": "tiny", "run": Store(tmp_path / "runs" / "tiny"), "asked": ASKED, **changes}
    with pytest.raises(RequestError) as caught:
        prepare(Request(**request))
    (problem,) = caught.value.problems
    assert problem.startswith(f"{where}: a URI with a password or key in it would be stored")
    assert "pass" not in problem.replace("password", "")
    assert not (tmp_path / "runs").exists()


def test_what_only_looks_like_a_uri_with_a_password_is_taken(tmp_path: Path) -> None:
    asked = {**ASKED, "overrides": ["a=http://host:8080/a@b", "b=train_loss@ema", "c='12:30@noon'"]}
    of = SPACE.overridden([("question", "Is https://host:443/x?a=b as good: train@test?")])
    assert prepare(Request(of, "tiny", Store(tmp_path / "runs" / "tiny"), asked)).designs


def test_texts_that_a_table_holds_are_no_programs(tmp_path: Path) -> None:
    """Parquet may hold types of its own, by name and by bytes that PyArrow once unpickled."""
    trap = tmp_path / "taken"
    import pyarrow as pa

    field = pa.field("a", pa.int64(), metadata={b"ARROW:extension:name": b"arrow.py_extension_type"})
    data = pickle.dumps(Trap(trap))
    field = field.with_metadata({**(field.metadata or {}), b"ARROW:extension:metadata": data})
    buffer = io.BytesIO()
    pq.write_table(pa.table([pa.array([1])], schema=pa.schema([field])), buffer)
    from tune_lb.results.tables import decode_table

    with contextlib.suppress(RequestError):
        decode_table(buffer.getvalue())
    assert not trap.exists()
