"""Every request that cannot be met: exit code 2, one message that says what, where and what to do, and nothing left behind."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from tests.analysis.old_design.fabrication import ARMS, Procedure, fabricate, store_run
from tests.cli.conftest import Called
from tune_lb.results.run_files import write_space
from tune_lb.results.storage import Store
from tune_lb.space.description import description
from tune_lb.space.loading import load_space

SPACE = """
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb.remedies.ghost_batch_norm import GhostBatchNorm
from tune_lb.remedies.sam import SAM
from tune_lb import Arm, Space, over

SPACE = Space(
    question="?", data=Digits(num_train=400, num_validation=400), model=MLP(hidden=(4,)),
    eta_over_b=over(1e-4, 1e-2, log=True), batch_size=400,
    arms=(
        Arm("small", batch_size=20), Arm("large"), Arm("sam", SAM(rho=0.1)),
        Arm("ghost", GhostBatchNorm(ghost_batch_size=20)),
    ),
    baseline="small", reference="large",
)
"""
RATE = "eta_over_b=over(1e-4, 1e-2, log=True)"

IN_FILES = {
    "no SPACE": (SPACE.replace("SPACE =", "OTHER ="), [["no SPACE in it", "OTHER is a Space: name it SPACE"]]),
    "raises": ("\n1 / 0\n" + SPACE, [["mine.py:2: ZeroDivisionError: division by zero"]]),
    "keyword": (SPACE.replace("rho=0.1", "roh=0.1"), [["mine.py:12: TypeError", "did you mean 'rho'?"]]),
    "rho": (SPACE.replace("rho=0.1", "rho=-0.1"), [["arm 'sam': sam.rho = -0.1: must be at least 0"]]),
    "ghost": (
        SPACE.replace("ghost_batch_size=20", "ghost_batch_size=30"),
        [["arm 'ghost': ", "ghost_batch_size = 30 does not divide batch_size = 400", "20, 25, 40"]],
    ),
    "batch": (
        SPACE.replace("batch_size=400", "batch_size=401"),
        [["batch_size = 401 is larger than the train set (400 examples)"]],
    ),
    "two rates": (SPACE.replace(RATE, f"{RATE}, lr=0.1"), [["space: lr and eta_over_b are both given; give one"]]),
    "no arms": (
        SPACE[: SPACE.index("    arms=(")] + "    arms=(),\n)\n",
        [["space.arms: there are no arms; a comparison needs at least one Arm(...)"]],
    ),
    "baseline": (SPACE.replace('baseline="small"', 'baseline="smal"'), [["not among the arms", "mean 'small'?"]]),
    "circle": (SPACE.replace('Arm("large")', 'Arm("large", combines=("large",))'), [["'large' combines itself"]]),
    "not divided": (SPACE.replace("MLP(hidden=(4,))", "MLP(hidden=4)"), [["space: model.hidden = 4: must be"]]),
    "several": (
        SPACE.replace("rho=0.1", "rho=-0.1").replace('baseline="small"', 'baseline="smal"').replace("20)", "-20)"),
        [["sam.rho = -0.1"], ["'smal' is not among the arms"], ["'small'.batch_size = -20"], ["ghost_batch_size = -20"]],
    ),
}  # fmt: skip

ASKED = {
    "unknown space": (("quickstrat",), [["no search space 'quickstrat'; did you mean 'quickstart'?"]]),
    "no file": (("mien.py",), [["there is no such file; did you mean 'mine.py'?"]]),
    "field": (("mine.py", "epoch=3"), [["epoch=3: no field", "did you mean 'epochs'?"]]),
    "form": (("mine.py", "epochs"), [["epochs: not of the form KEY=VALUE"]]),
    "type": (("mine.py", "candidates=two"), [["space.candidates = two: must be a whole number, not 'two'"]]),
    "range": (("mine.py", "momentum=1.5"), [["optimizer.momentum = 1.5: must be below 1"]]),
    "domain": (("mine.py", "epochs=over(3)"), [["epochs=over(3): over(low, high) takes both ends"]]),
    "sampler": (("mine.py", "--sampler", "sobl"), [["did you mean 'sobol'?"]]),
    "grid": (("mine.py", "--sampler", "grid"), [["sampler grid needs lists of values, eta_over_b is the range"]]),
    "name": (("mine.py", "--name", "a/b"), [["run 'a/b': a name is letters, digits"]]),
    "cpus": (("mine.py", "--cpus-per-trial", "1000"), [["a trial asks for 1000 CPUs", "--cpus-per-trial"]]),
    "gpus": (("mine.py", "--gpus-per-trial", "99"), [["--gpus-per-trial 99: this machine has"]]),
    "auto": (
        ("mine.py", "--gpus-per-trial", "auto"),
        [["--gpus-per-trial auto: it is measured on a GPU", "give a number"]],
    ),
    "workers": (("mine.py", "--max-concurrent", "0"), [["--max-concurrent 0: must be at least 1"]]),
    "data": (("quickstart_mnist",), [["MNIST", "TUNE_LB_DATA", "download"]]),
    "storage": (("mine.py", "--storage", "mine.py"), [["cannot write", "mine.py/mine", "choose another folder"]]),
    "uri": (("mine.py", "--storage", "s9://bucket/runs"), [["cannot open s9://bucket/runs", "give a path, or a URI"]]),
    "all": (("mine.py", "epoch=3", "candidates=0", "oops"), [["epoch=3"], ["candidates = 0"], ["oops"]]),
}


OWN = SPACE.replace("from tune_lb.data.digits import Digits", "import networks\nfrom tune_lb.data import Arrays").replace(
    "Digits(num_train=400, num_validation=400)", 'Arrays("own.npz", num_validation=30)'
).replace("=400", "=100").replace("batch_size=20", "batch_size=10")  # fmt: skip
NETWORKS = """
import torch
from torch import nn

def plain(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(36, classes), nn.BatchNorm1d(classes))

def blank(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.BatchNorm1d(36, affine=False), nn.AdaptiveAvgPool1d(classes))

def summed(outputs, targets):
    return nn.functional.cross_entropy(outputs, targets, reduction="sum")
"""
FIT = "MLP(hidden=(4,))"
# what is changed in the space, which array of the file at which place gets which value, and what is said
OWN_DATA = {
    "shape": ({FIT: "C1()"}, None, [["C1 needs images of at least 29 x 29", "6 x 6"]]),
    "grey": ({FIT: "ResNet50()"}, None, [["ResNet50 needs RGB", "grey images of shape (6, 6)"]]),
    "blank": ({FIT: "networks.blank"}, None, [["every arm: the model has no trainable parameter"]]),
    "sum": (
        {FIT: "networks.plain, loss=networks.summed"},
        None,
        [["every arm: loss summed: it gives", "the mean of their losses is", "reduction='none'"]],
    ),
    "label": ({}, ("labels", 7, -1), [["own.npz: label -1 of example 7 is out of range 0 .. 3"]]),
    "beyond": ({}, ("labels", 7, 4), [["own.npz: label 4 of example 7 is out of range 0 .. 3"]]),
    "nan": ({}, ("images", 9, np.nan), [["own.npz: example 9 has values that are not finite"]]),
    "unselected": (
        {"num_validation=30": "num_validation=0"},
        None,
        [["own: the validation part is empty", "'small', 'large'", "num_validation"]],
    ),
    "no train": ({"num_validation=30": "num_validation=190"}, None, [["leave nothing of 200 examples to train on"]]),
}


def assert_refused(call: Called, words: tuple[str, ...], messages: list[list[str]]) -> None:
    before = sorted(Path().rglob("*"))
    code, _, err = call("search", *words)
    lines = err.splitlines()
    assert code == 2, err
    assert len(lines) == len(messages), err
    for expected in messages:
        assert sum(line.startswith("error: ") and all(text in line for text in expected) for line in lines) == 1, err
    assert [path for path in sorted(Path().rglob("*")) if "__pycache__" not in path.parts] == before


@pytest.mark.parametrize(("text", "messages"), IN_FILES.values(), ids=IN_FILES)
def test_mistakes_in_a_file(
    text: str, messages: list[list[str]], call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("mine.py").write_text(text)
    fresh_import(monkeypatch)
    assert_refused(call, ("mine.py",), messages)


@pytest.mark.parametrize(("words", "messages"), ASKED.values(), ids=ASKED)
def test_mistakes_in_what_is_asked(
    words: tuple[str, ...], messages: list[list[str]], call: Called, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    Path("mine.py").write_text(SPACE)
    monkeypatch.setenv("TUNE_LB_DATA", str(tmp_path / "nothing"))
    fresh_import(monkeypatch)
    assert_refused(call, words, messages)


@pytest.mark.parametrize(("changes", "damage", "messages"), OWN_DATA.values(), ids=OWN_DATA)
def test_mistakes_in_data_and_models_of_ones_own(
    changes: dict[str, str],
    damage: tuple[str, int, float] | None,
    messages: list[list[str]],
    call: Called,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = OWN
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    text = text.replace(
        "SPACE =",
        "from tune_lb.models.alexnet import C1\nfrom tune_lb.models.torchvision_model import ResNet50\nSPACE =",
        1,
    )
    arrays = {
        "images": np.random.default_rng(0).random((200, 6, 6), np.float32),
        "labels": np.arange(200) % 4,
        "classes": np.array(list("abcd")),
    }
    if damage is not None:
        name, place, value = damage
        arrays[name][place] = value
    Path("mine.py").write_text(text)
    Path("networks.py").write_text(NETWORKS)
    np.savez("own.npz", **arrays)
    monkeypatch.setenv("TUNE_LB_DATA", str(Path().resolve()))
    fresh_import(monkeypatch)
    assert_refused(call, ("mine.py",), messages)


def test_a_truncated_file_of_ones_own_is_named_and_its_neighbours_are_not_used(
    call: Called, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("own").mkdir()
    for name in ("train_0", "train_1", "test"):
        np.savez(f"own/{name}.npz", images=np.zeros((200, 6, 6), np.uint8), labels=np.arange(200) % 4)
    half = Path("own/train_1.npz")
    half.write_bytes(half.read_bytes()[:4000])
    Path("mine.py").write_text(OWN.replace("own.npz", "own").replace("import networks\n", ""))
    monkeypatch.setenv("TUNE_LB_DATA", str(Path().resolve()))
    fresh_import(monkeypatch)
    assert_refused(call, ("mine.py",), [["own/train_1.npz is damaged or truncated, and is not used"]])


def test_a_run_of_another_space(call: Called, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(SPACE)
    fresh_import(monkeypatch)
    resolved = description(load_space("mine.py").space)
    write_space(
        Store("runs").child("mine"), {"name": "mine", "procedure": "blocks", "resolved": resolved, "execution": {}}
    )
    before = sorted(Path().rglob("*"))
    code, _, err = call("search", "mine.py", "sam.rho=0.2", "--dry-run")
    assert code == 2
    assert err.startswith("error: run 'mine' exists with another space")
    assert "  arms.sam.rho: was 0.1, now 0.2\n" in err
    assert "take another --name, or --fresh" in err
    assert sorted(Path().rglob("*")) == before


@pytest.mark.slow
def test_a_damaged_result_file_is_named_skipped_and_counted(call: Called) -> None:
    store_run(fabricate(ARMS, Procedure(num_trials=2, split_seeds=(0,))), "runs/damaged")
    file = next(Path("runs/damaged/trials").glob("sam*.members.parquet"))
    file.write_bytes(b"nonsense")
    for words in (("status", "damaged"), ("report", "damaged")):
        code, out, err = call(*words)
        assert (code, err) == (0, "")
        assert file.name in out
        assert "1 file(s) left out" in out


def fresh_import(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the modules of these names that an earlier test imported from its own folder."""
    for name in ("mine", "networks"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
