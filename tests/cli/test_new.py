"""`new` writes a space that passes a dry run, for arrays, folders of images and a data source of one's own."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.conftest import Called

NETS = """
from dataclasses import dataclass

import numpy as np
from torch import nn

from tune_lb.data import DataSet, DataSource, Part


def make(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), classes))


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        pooled = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), pooled, nn.Linear(4, classes))

    def forward(self, x):
        return self.layers(x)


@dataclass(frozen=True)
class Maker:
    width: int = 4

    def __call__(self, shape, classes):
        return make(shape, classes)


@dataclass(frozen=True)
class Blobs(DataSource):
    def load(self, split_seed):
        rng, t = np.random.default_rng(split_seed), np.arange(120) % 3
        parts = [Part(rng.normal(size=(120, 5)).astype(np.float32), t) for _ in range(3)]
        return DataSet("blobs", 3, *parts)
"""


@pytest.fixture
def folder(call: Called, tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "nets_n.py").write_text(NETS)
    np.savez(
        tmp_path / "photos_n.npz", images=rng.integers(0, 255, (200, 8, 8, 3), np.uint8), labels=np.arange(200) % 4
    )
    for k in range(4):
        (tmp_path / "images" / f"class{k}").mkdir(parents=True)
        for i in range(40):
            Image.fromarray(rng.integers(0, 255, (8, 8, 3), np.uint8)).save(tmp_path / f"images/class{k}/{i}.png")
    return tmp_path


@pytest.mark.parametrize(
    ("data", "model", "expected"),
    [
        ("photos_n.npz", "lib/nets_n.py:make", ["Arrays('photos_n.npz', num_validation=22)", "model=make,"]),
        (
            "images",
            "lib/nets_n.py:Net",
            ["ImageFolder('images', num_validation=", "return Net(classes)", "GhostBatchNorm("],
        ),
        ("lib/nets_n.py:Blobs", "lib/nets_n.py:Maker", ["data=Blobs(),", "model=Maker(),", "# 120 to train on"]),
        ("Digits", None, ["from tune_lb.data import Digits", "model=MLP(hidden=(128, 128)),"]),
    ],
    ids=["arrays", "images", "own source", "ours"],
)
def test_a_new_space_passes_a_dry_run(
    data: str, model: str | None, expected: list[str], folder: Path, call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("--data", data, "--batch-size", "64", "16", *(("--model", model) if model else ()))
    code, out, err = call("new", "fresh_n", *words)
    assert (code, err) == (0, "")
    assert "written: fresh_n.py: batch 16 against 64, and warmup, sam," in out
    text = Path("fresh_n.py").read_text()
    for line in expected:
        assert line in text
    assert '        Arm("sam", SAM(rho=over(0.02, 1.0, log=True))),\n' in text
    assert '        # Arm("mixup", Mixup(' in text
    # a process of its own reads the file that was written last
    monkeypatch.delitem(sys.modules, "fresh_n")
    code, out, err = call("search", "fresh_n.py", "--dry-run", "candidates=1")
    assert (code, err) == (0, ""), err
    assert "sam" in out


def test_a_space_over_batch_sizes_passes_a_dry_run(folder: Path, call: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, err = call("new", "sizes_n", "--data", "Digits", "--batch-sizes", "64", "16", "32")
    assert (code, err) == (0, "")
    assert "written: sizes_n.py: 3 batch sizes from 16 to 64, rates tuned at each" in out
    text = Path("sizes_n.py").read_text()
    for line in ('Arm("batch_32", batch_size=32),', "lr=over(", "gradient_noise_scale", 'baseline="batch_16"'):
        assert line in text
    monkeypatch.delitem(sys.modules, "sizes_n")
    code, out, err = call("search", "sizes_n.py", "--dry-run", "candidates=1")
    assert (code, err) == (0, ""), err
    assert "batch_64" in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("there", "--data", "Digits"), "there.py exists"),
        (("a-b", "--data", "Digits"), "its name is letters"),
        (("no/x_n", "--data", "Digits"), "there is no folder"),
        (("x_n", "--data", "nowhere.npz"), "there is no such file or folder"),
        (("x_n", "--data", "there.py"), "not a file of arrays"),
        (("x_n", "--data", "lib/nets_n.py:Blob"), "no function or class 'Blob'; did you mean 'Blobs'?"),
        (("x_n", "--data", "Digits", "--model", "lib/nets_n.py"), "give FILE.py:FUNCTION"),
        (("x_n", "--data", "Digits", "--model", "lib/nets_n.py:mak"), "did you mean 'make'?"),
        (("x_n", "--data", "Digits", "--model", "lib/none.py:make"), "there is no file lib/none.py"),
        (("x_n", "--data", "Digits", "--batch-size", "32", "32"), "give a small batch and a larger one"),
        (("x_n", "--data", "Digits", "--batch-sizes", "32", "64", "32"), "give 3 different sizes or more"),
        (
            ("x_n", "--data", "photos_n.npz", "--batch-sizes", "16", "32", "5000"),
            "batch_size = 5000 is larger than the train set",
        ),
        (
            ("x_n", "--data", "photos_n.npz", "--batch-size", "32", "5000"),
            "batch_size = 5000 is larger than the train set",
        ),
        (
            ("x_n", "--data", "Digits", "--model", "lib/nets_n.py:Net", "--batch-size", "8", "64"),
            "the network cannot take them",
        ),
    ],
    ids=lambda value: " ".join(value[1:])[-40:] if isinstance(value, tuple) else "",
)
def test_what_does_not_fit_is_said_and_nothing_is_written(
    words: tuple[str, ...], message: str, folder: Path, call: Called
) -> None:
    Path("there.py").write_text("")
    before = sorted(Path().rglob("*.py"))
    code, _, err = call("new", *words)
    assert code == 2, err
    assert message in err
    assert len(err.splitlines()) == 1
    assert sorted(Path().rglob("*.py")) == before
