"""What user code can do wrong, said in one line with its place, before anything starts."""

from __future__ import annotations

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
