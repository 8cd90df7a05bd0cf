"""Spaces are found by name or path, and what is wrong with one is said in a line with its place."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tune_lb.errors import RequestError
from tune_lb.space.loading import declared, load_space, space_names

SPACE = """
from tune_lb.data.digits import Digits
from tune_lb.models.mlp import MLP
from tune_lb import Arm, Space, over

SPACE = Space(
    question="?", data=Digits(), model=MLP(hidden=(4,)), eta_over_b=over(1e-4, 1e-2, log=True),
    arms=(Arm("small", batch_size=20), Arm("large", batch_size=400)), baseline="small", reference="large",
)
"""


@pytest.fixture(autouse=True)
def _untouched() -> Iterator[None]:
    """Modules and paths of one test are not there in the next."""
    modules, paths = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = paths
    for name in set(sys.modules) - modules:
        if not name.startswith(("tune_lb", "search_spaces", "torch", "sklearn", "scipy", "numpy")):
            del sys.modules[name]


def written(folder: Path, **files: str) -> Path:
    """Write modules by name; return the path of the first."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / f"{next(iter(files))}.py"


def problem(path: Path | str) -> str:
    with pytest.raises(RequestError) as caught:
        load_space(str(path))
    assert len(caught.value.problems) == 1
    assert "\n" not in caught.value.problems[0]
    return caught.value.problems[0]


def test_by_name_and_by_path_of_the_same_file() -> None:
    by_name = load_space("quickstart")
    assert by_name.name == "quickstart"
    assert by_name.modules == ()
    assert load_space(str(by_name.path)) == by_name
    assert "quickstart" in space_names()


def test_questions_are_read_without_importing_the_space() -> None:
    for name in space_names():
        assert declared(name).question == load_space(name).space.question


def test_modules_beside_the_file_are_listed(tmp_path: Path) -> None:
    (tmp_path / "parts_of_mine").mkdir()
    written(tmp_path / "parts_of_mine", __init__="")
    path = written(
        tmp_path, mine_a=f"import beside_a, parts_of_mine, json, sklearn\n{SPACE}", beside_a="", lazy_a="VALUE = 3"
    )
    paths = list(sys.path)
    loaded = load_space(str(path))
    assert loaded.name == "mine_a"
    assert loaded.modules == ("beside_a", "mine_a", "parts_of_mine")
    assert sys.path == [*paths, str(tmp_path)]
    import lazy_a  # type: ignore[import-not-found]

    assert lazy_a.VALUE == 3


def test_file_in_a_package_may_import_relatively(tmp_path: Path) -> None:
    (tmp_path / "package_b").mkdir()
    path = written(tmp_path / "package_b", mine_b=f"from . import beside_b\n{SPACE}", beside_b="", __init__="")
    loaded = load_space(str(path))
    assert (loaded.name, loaded.modules) == ("mine_b", ("package_b",))


def test_unknown_name_and_missing_file(tmp_path: Path) -> None:
    assert "did you mean 'quickstart'?" in problem("quickstrat")
    path = written(tmp_path, digits_space=SPACE)
    assert str(path) in problem(tmp_path / "digit_space.py")
    assert "there is no such file" in problem(tmp_path / "nowhere" / "space.py")
    assert "folder" in problem(tmp_path)


def test_file_without_a_space(tmp_path: Path) -> None:
    assert "no SPACE" in problem(written(tmp_path, without_c="x = 1"))
    assert "mine is a Space: name it SPACE" in problem(written(tmp_path, without_d=SPACE.replace("SPACE =", "mine =")))
    assert "SPACE is a int" in problem(written(tmp_path, without_e="SPACE = 3"))


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("raises_a", "\nx = 1\nraise ValueError('so it is')", "raises_a.py:3: ValueError: so it is"),
        ("raises_b", "x = (1,\n", "raises_b.py:1: SyntaxError: "),
        ("raises_c", "import no_such_module_at_all", "raises_c.py:1: ModuleNotFoundError"),
        ("raises_d", "raise SystemExit(3)", "raises_d.py:1: SystemExit: 3"),
        (
            "keyword_a",
            "from tune_lb.remedies.sam import SAM\nSAM(roh=0.1)",
            "keyword_a.py:2: TypeError: SAM.__init__() got",
        ),
        ("keyword_b", "from tune_lb.remedies.sam import SAM\nSAM(roh=0.1)", "did you mean 'rho'?"),
        ("keyword_c", "import tune_lb as s\ns.over(1, 2, integr=True)", "did you mean 'integer'?"),
        ("name_a", "from tune_lb.remedies.sam import Sam", "did you mean 'SAM'?"),
        ("name_b", "from tune_lb.remedies.warm_up import Warmup", "write `from tune_lb.remedies import Warmup`"),
        ("name_c", "from tune_lb.remedies.warm_up import Warmpu", "did you mean 'warmup'?"),
        ("moved_a", "from tune_lb.space import Arm, Space", "write `from tune_lb import Arm`"),
        (
            "moved_b",
            "from tune_lb.stored import (StoredWeights, over)",
            "write `from tune_lb.models import StoredWeights`, `from tune_lb import over`",
        ),
    ],
)
def test_file_that_raises(tmp_path: Path, name: str, text: str, expected: str) -> None:
    paths = list(sys.path)
    assert expected.lower() in problem(written(tmp_path, **{name: text})).lower()
    assert sys.path == paths


def test_place_is_that_of_the_innermost_line_of_the_user(tmp_path: Path) -> None:
    path = written(tmp_path, outer_f="import inner_f\n", inner_f="\n\nint('x')\n")
    assert f"{tmp_path / 'inner_f.py'}:3: ValueError" in problem(path)


@pytest.mark.parametrize("name", ["random", "ray", "a.b"])
def test_file_named_like_another_module(tmp_path: Path, name: str) -> None:
    path = tmp_path / f"{name}.py"
    path.write_text(SPACE)
    assert "rename" in problem(path)
