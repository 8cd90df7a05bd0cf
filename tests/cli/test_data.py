"""The command that lists data sets and gets them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Called


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "sets"
    folder.mkdir()
    monkeypatch.setenv("TUNE_LB_DATA", str(folder))
    return folder


def put_cifar(root: Path, *names: str) -> None:
    (root / "CIFAR100").mkdir()
    for name in names:
        np.savez(
            root / "CIFAR100" / f"{name}.npz", images=np.zeros((1200, 4, 4, 3), np.uint8), labels=np.arange(1200) % 100
        )


def test_the_table_says_what_is_there_and_how_to_get_the_rest(call: Called, root: Path) -> None:
    put_cifar(root, "train", "test")
    code, out, err = call("data")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line for line in out.splitlines() if line[:1].isalpha()}
    assert "present" in rows["CIFAR100"]
    num_bytes = sum(path.stat().st_size for path in (root / "CIFAR100").iterdir())
    assert rows["CIFAR100"].split()[-3:] == [f"{num_bytes / 1000:.1f}", "kB", "CIFAR100"]
    assert f"TUNE_LB_DATA = {root}" in out
    assert "missing" in rows["MNIST"]
    assert "embedded" in rows["Digits"]
    assert "data MNIST --download" in out
    assert out.splitlines()[-1].endswith("data MNIST --download")


def test_json_has_every_set_with_its_state(call: Called, root: Path) -> None:
    put_cifar(root, "train")
    code, out, _ = call("data", "--json")
    found = {entry["name"]: entry for entry in json.loads(out)["sets"]}
    assert code == 0
    assert found["CIFAR100"]["state"] == "damaged"
    assert "test.npz is missing" in found["CIFAR100"]["problem"]
    assert found["MNIST"]["state"] == "missing"
    assert found["TIMIT"]["download_bytes"] is None
    assert found["CIFAR10"]["get"].endswith("data CIFAR10 --download")
    assert next(iter(found)) == "Digits"


def test_a_named_set_is_read_whole(call: Called, root: Path) -> None:
    put_cifar(root, "train", "test")
    code, out, _ = call("data", "CIFAR100")
    assert code == 0
    assert "CIFAR100 (subset of 1200 + 1200): 200 examples to train on, 1,000 for validation, 1,200 for the test" in out
    path = root / "CIFAR100" / "test.npz"
    path.write_bytes(path.read_bytes()[:-500])
    import tune_lb.data.published

    tune_lb.data.published._last.clear()
    code, out, _ = call("data", "CIFAR100")
    assert code == 1
    assert f"{path} is damaged or truncated" in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("data", "CIFAR"), "did you mean 'CIFAR10'?"),
        (("data", "--download"), "name one data set"),
        (("data", "TIMIT", "--download"), "LDC"),
    ],
)
def test_wrong_requests(call: Called, words: tuple[str, ...], expected: str) -> None:
    code, _, err = call(*words)
    assert code == 2
    assert expected in err


def test_a_missing_set_is_an_exit_code(call: Called) -> None:
    code, out, _ = call("data", "MNIST")
    assert code == 1
    assert out.splitlines()[-1].endswith("data MNIST --download")
    assert call("data", "Digits", "--download")[0] == 0


def test_data_of_ones_own_are_read_and_what_was_done_is_said(call: Called, root: Path) -> None:
    x, words = np.random.default_rng(0).normal(size=(12, 3, 2)).astype(np.float32), np.array(["no", "yes"] * 6)
    np.savez(root / "own.npz", train_features=x, train_labels=words, val_features=x[:4], val_labels=words[:4])
    for name in ("own.npz", str(root / "own.npz")):
        code, out, err = call("data", name)
        assert (code, err) == (0, "")
        assert "own: 9 examples to train on, 4 for validation, 3 for the test" in out
        text = " ".join(out.split())
        assert "the validation part is the arrays val_...; test is cut from the train part" in text
        assert "each of the 2 entries of axis 1 of an example (3, 2)" in text
        assert "labels are strings, numbered in sorted order: no = 0, yes = 1" in text
    code, out, _ = call("data", "own.npz", "--json")
    assert json.loads(out)["sets"][0]["examples"] == {"train": 9, "validation": 4, "test": 3}


def test_the_data_of_a_space_are_read(call: Called, tmp_path: Path) -> None:
    code, out, _ = call("data", "quickstart")
    assert code == 0
    assert "digits" in out
    (tmp_path / "space_of_mine.py").write_text(
        "from dataclasses import dataclass\nfrom tune_lb import Arm, Space\nfrom tune_lb.data import DataSource\n"
        "from tune_lb.models import MLP\n@dataclass(frozen=True)\nclass Mine(DataSource):\n    def load(self, split_seed):\n"
        "        return 1 / 0\n"
        'SPACE = Space(question="?", data=Mine(), model=MLP(), batch_size=2, lr=0.1, arms=(Arm("a"),))\n'
    )
    code, out, err = call("data", str(tmp_path / "space_of_mine.py"))
    assert (code, out) == (2, "")
    assert f"Mine.load: ZeroDivisionError: division by zero ({tmp_path / 'space_of_mine.py'}:8)" in err
