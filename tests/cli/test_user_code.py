"""What user code can do wrong, said in one line with its place, before anything starts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Called

SPACE = """
from tune_lb import Arm, Space, over
from tune_lb.data import Digits
import networks_r
{0}
SPACE = Space(
    question="?", data=Digits(num_train=100, num_validation=100), model=networks_r.make, batch_size=50,
    eta_over_b=over(1e-4, 1e-2, log=True), arms=(Arm("small"), Arm("large")), baseline="small", reference="large",
)
"""
NETWORK = """
from torch import nn
{0}
def make(shape, classes):
    {1}
    return nn.Sequential(nn.Flatten(), nn.Linear(64, classes))
"""


def asked(folder: Path, call: Called, network: tuple[str, str], space: str = "") -> tuple[int, str]:
    Path("mine_r.py").write_text(SPACE.format(space))
    Path("networks_r.py").write_text(NETWORK.format(*network))
    code, _, err = call("search", "mine_r.py", "--dry-run")
    assert not Path("runs").exists()
    return code, err


@pytest.mark.parametrize(
    ("made", "used", "kind"),
    [
        ("import threading\nSHARED = threading.Lock()", "with SHARED: pass", "_thread.lock"),
        ("import threading\nSHARED = threading.Event()", "SHARED.set()", "threading.Event"),
        ("SHARED = (i for i in range(3))", "next(SHARED)", "builtins.generator"),
    ],
)
def test_a_global_that_cannot_be_sent_is_named_b4(
    made: str,
    used: str,
    kind: str,
    call: Called,
    tmp_path: Path,
) -> None:
    code, err = asked(tmp_path, call, (made, used))
    assert code == 2
    assert err == (
        f"error: {tmp_path / 'networks_r.py'}: SHARED, a {kind}, cannot be sent to workers: make it inside the function that "
        "uses it\n"
    )


def test_a_module_that_workers_lack_is_named_b17(call: Called, tmp_path: Path) -> None:
    """Such as one with compiled parts, in a folder that only the space knows."""
    (tmp_path / "src" / "fast_r").mkdir(parents=True)
    (tmp_path / "src" / "fast_r" / "__init__.py").write_text(
        "import sys, types\nname = __name__ + '.core'\nsys.modules[name] = types.ModuleType(name)\n"
        "sys.modules[name].__file__ = __file__[:-3] + '.so'\n"
    )
    add = f"import sys\nsys.path.append({str(tmp_path / 'src')!r})\nimport fast_r"
    code, err = asked(tmp_path, call, ("", ""), add)
    sys.modules.pop("fast_r.core")
    assert code == 2
    assert err == (
        "error: fast_r is not importable in the workers: install it (pip install -e), or set "
        f"PYTHONPATH to {tmp_path / 'src'} before the search\n"
    )


RAISING = """
import sys
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import nn
from torch.nn.functional import cross_entropy

from tune_lb import Arm, Remedy, Space, over
from tune_lb.data import DataSource, Digits
from tune_lb.optimizers import OptimizerSettings
from tune_lb.schedules import ScheduleShape

WRONG = "{0}"


class OwnError(Exception):
    pass


def here(place, condition=True):
    if place == WRONG and condition:
        raise {1}  # raised


@dataclass(frozen=True)
class Own(DataSource):
    def load(self, split_seed):
        here("data")
        return Digits(num_train=100, num_validation=100).load(split_seed)


class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(64, classes))

    def forward(self, x):
        here("forward", (x != 0).any())
        here("evaluation", not self.training and (x != 0).any())
        return self.layers(x)


def make(shape, classes):
    here("model")
    return Net(classes)


def loss(outputs, targets):
    here("loss", len(targets) == 50)
    return cross_entropy(outputs, targets, reduction="none")


def start(module):
    here("initialization")


@dataclass(frozen=True)
class Hook(Remedy):
    name: ClassVar[str] = "hook"
    size: float = 0.0

    def gradient(self, inner):
        def changed(params, buffers, batch):
            here("remedy")
            return inner(params, buffers, batch)
        return changed


@dataclass(frozen=True)
class Optimizer(OptimizerSettings):
    def build(self, tensors, lr, *, members_first=False):
        here("optimizer")
        return torch.optim.SGD(tensors, lr=lr)


@dataclass(frozen=True)
class Shape(ScheduleShape):
    def factor(self, position):
        here("schedule")
        return 1.0


SPACE = Space(
    question="?", data=Own(), model=make, loss=loss, initialization=start, optimizer=Optimizer(), schedule=Shape(), batch_size=50,
    eta_over_b=over(1e-4, 1e-2, log=True), arms=(Arm("small"), Arm("large", Hook(size=1.0))), baseline="small", reference="large",
)
"""
ERRORS = ('OwnError("so it is\\\\nindeed")', 'KeyError("x")', "sys.exit(3)")
PLACES = ("data", "forward", "evaluation", "model", "loss", "initialization", "remedy", "optimizer", "schedule")


@pytest.mark.parametrize("place", PLACES)
def test_what_is_raised_before_the_search_is_one_line_with_its_place_b3(
    place: str, call: Called, tmp_path: Path
) -> None:
    error = ERRORS[PLACES.index(place) % len(ERRORS)].replace("sys.exit(3)", "SystemExit(3)")
    text = RAISING.format(place, error)
    Path("raising.py").write_text(text)
    line = next(i for i, line in enumerate(text.splitlines(), 1) if line.endswith("# raised"))
    commands = [("search", "raising.py", "--dry-run"), ("train", "raising.py", "large")]
    for words in commands:
        code, _, err = call(*words)
        assert code == 2, err
        assert len(err.splitlines()) == 1
        assert err.startswith("error: ")
        assert f"raising.py:{line})" in err
        assert error.partition("(")[0] in err
    assert not Path("runs").exists()


def test_ctrl_c_in_code_of_the_user_is_ctrl_c(call: Called, tmp_path: Path) -> None:
    Path("raising.py").write_text(RAISING.format("forward", "KeyboardInterrupt"))
    assert call("train", "raising.py", "large")[0] == 130


def test_what_a_network_prints_is_not_in_the_json_b5(call: Called, tmp_path: Path) -> None:
    text = RAISING.format("none", "OwnError").replace(
        "    if place ==", '    print("hello from", place)\n    if place =='
    )
    Path("raising.py").write_text('print("hello from the space")\n' + text)
    code, out, err = call("search", "raising.py", "--dry-run", "--json")
    assert code == 0, err
    assert [arm["arm"] for arm in json.loads(out)["plan"]["arms"]][:2] == ["small", "large"]
    for place in ("the space", "data", "model", "forward", "loss"):
        assert f"hello from {place}" in err
