"""new: a space file to begin with, for a network and data of one's own, checked before it is written."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import os
import re
from pathlib import Path
from typing import Any

import tune_lb.data
from tune_lb.cli.new_batch_sizes import batch_sizes_text, checked_sizes, misfits
from tune_lb.cli.new_space import Asked, Part, fitted_arms, space_text
from tune_lb.cli.output import Output, command
from tune_lb.data.dataset import DataSet
from tune_lb.errors import RequestError, nearest, user_code
from tune_lb.space.loading import load_space
from tune_lb.space.space import Space

VALIDATION_SHARE = 0.15
"""Of the train examples, where the data have no validation part."""


def run(given: argparse.Namespace, out: Output) -> int:
    """Write NAME.py; what does not fit is said, and then nothing is written."""
    place = Path(given.name if given.name.endswith(".py") else f"{given.name}.py")
    if not re.fullmatch(r"[A-Za-z_]\w*", place.stem):
        raise RequestError(f"new {given.name}: a space is a module: its name is letters, digits and _")
    if place.exists():
        raise RequestError(f"new {given.name}: {place} exists; take another name, or delete it")
    if not place.absolute().parent.is_dir():
        raise RequestError(f"new {given.name}: there is no folder {place.absolute().parent}; make it first")
    if given.batch_sizes:
        return _over_sizes(given, out, place)
    small, large = sorted(given.batch_size)
    if not 1 <= small < large:
        raise RequestError(f"--batch-size {small} {large}: give a small batch and a larger one")
    asked = Asked(data_part(given.data, place), model_part(given.model, place), small, large)
    try:
        # twice: what fits is known when the two plain arms are a space
        place.write_text(space_text(asked, [], None), encoding="utf-8")
        space = load_space(str(place)).space
        asked, space, loaded = with_validation(asked, space)
        arms = fitted_arms(space, loaded, large)
        place.write_text(space_text(asked, arms, loaded), encoding="utf-8")
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    active = [arm.name for arm in arms if not arm.reason]
    out.line(
        f"written: {place}: batch {small} against {large}, and {', '.join(active)}; the other remedies are comments"
    )
    out.close(
        {"path": str(place), "arms": ["small_batch", "large_batch", *active]},
        command("search", str(place), "--dry-run"),
    )
    return 0


def _over_sizes(given: argparse.Namespace, out: Output, place: Path) -> int:
    """Write a space with an arm for each batch size."""
    sizes = checked_sizes(given.batch_sizes)
    asked = Asked(data_part(given.data, place), model_part(given.model, place), sizes[0], sizes[-1])
    try:
        place.write_text(batch_sizes_text(asked, sizes, None), encoding="utf-8")
        space = load_space(str(place)).space
        asked, space, loaded = with_validation(asked, space)
        wrong = misfits(space, loaded, sizes)
        if wrong:
            raise RequestError(wrong)
        place.write_text(batch_sizes_text(asked, sizes, loaded), encoding="utf-8")
    except BaseException:
        place.unlink(missing_ok=True)
        raise
    out.line(f"written: {place}: {len(sizes)} batch sizes from {sizes[0]} to {sizes[-1]}, rates tuned at each")
    found = {"path": str(place), "arms": [f"batch_{size}" for size in sizes]}
    out.close(found, command("search", str(place), "--dry-run"))
    return 0


def with_validation(asked: Asked, space: Space) -> tuple[Asked, Space, DataSet]:
    """Return what is asked with a validation part where the data have none, and the data. Raises RequestError for misfits."""
    with user_code(f"data {asked.data.expression}", made_by=space.data.load):
        loaded = space.data.load(0)
        if not len(loaded.validation.targets) and hasattr(space.data, "num_validation"):
            number = max(1, round(VALIDATION_SHARE * len(loaded.train.targets)))
            expression = asked.data.expression.removesuffix(")") + f", num_validation={number})"
            asked = asked._replace(data=asked.data._replace(expression=expression.replace("(, ", "(")))
            given: dict[str, Any] = {"num_validation": number}
            space = dataclasses.replace(space, data=dataclasses.replace(space.data, **given))
            loaded = space.data.load(0)
    if not len(loaded.validation.targets):
        raise RequestError(
            f"{asked.data.expression}: its validation part is empty, so nothing can be selected: give it one"
        )
    return asked, space, loaded


def data_part(argument: str, place: Path) -> Part:
    """Return how a space at a place names the data: an .npz file, a folder of images or arrays, FILE:CLASS, or one of ours."""
    if argument in tune_lb.data.__all__ and argument not in ("DataSet", "DataSource", "Part"):
        return Part(f"from tune_lb.data import {argument}", f"{argument}()")
    file, colon, name = argument.rpartition(":")
    if colon and file.endswith(".py"):
        line, _ = imported(file, name, place, "--data")
        return Part(line, f"{name}()")
    path = Path(argument).expanduser()
    if not path.exists():
        raise RequestError(
            f"--data {argument}: there is no such file or folder; give an .npz file, a folder of images, or FILE.py:CLASS"
        )
    folder = place.absolute().parent
    written = (
        os.path.relpath(path.absolute(), folder) if path.absolute().is_relative_to(folder) else str(path.absolute())
    )
    arrays = path.suffix in (".npz", ".npy") or any(path.glob("*.npz"))
    kind = "Arrays" if arrays else "ImageFolder"
    if path.is_file() and not arrays:
        raise RequestError(
            f"--data {argument}: not a file of arrays; give an .npz file, a folder of images, or FILE.py:CLASS"
        )
    return Part(f"from tune_lb.data import {kind}", f"{kind}({written!r})")


def model_part(argument: str | None, place: Path) -> Part:
    """Return how a space at a place names the network: FILE:FUNCTION of (shape, classes), or a class of networks."""
    if argument is None:
        return Part("from tune_lb.models import MLP", "MLP(hidden=(128, 128))")
    file, colon, name = argument.rpartition(":")
    if not colon:
        raise RequestError(f"--model {argument}: give FILE.py:FUNCTION")
    line, node = imported(file, name, place, "--model")
    if isinstance(node, ast.ClassDef):
        methods = {child.name: child for child in node.body if isinstance(child, ast.FunctionDef)}
        if "__call__" in methods:
            return Part(line, f"{name}()")
        number = num_required(methods["__init__"]) - 1 if "__init__" in methods else 0
    else:
        number = num_required(node)
    if not isinstance(node, ast.ClassDef) and number == 2:
        return Part(line, name)
    if number not in (0, 1, 2):
        raise RequestError(
            f"--model {argument}: it takes {number} arguments; give a function of the shape of one input and the number of classes"
        )
    given = {0: "", 1: "classes", 2: "shape, classes"}[number]
    return Part(line, "network", f"def network(shape, classes):\n    return {name}({given})\n")


def num_required(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return how many arguments a function must be given, self included."""
    return len(function.args.posonlyargs) + len(function.args.args) - len(function.args.defaults)


def imported(file: str, name: str, place: Path, option: str) -> tuple[str, ast.FunctionDef | ast.ClassDef]:
    """Return the lines that import a name of a file into a space at a place, and its definition."""
    path = Path(file).expanduser().absolute()
    if not path.is_file():
        raise RequestError(f"{option} {file}:{name}: there is no file {file}")
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise RequestError(f"{option}: {path}:{error.lineno}: SyntaxError: {error.msg}") from error
    defined = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    if name not in defined:
        raise RequestError(f"{option} {file}:{name}: {file} has no function or class {name!r}{nearest(name, defined)}")
    root, module = path.parent, path.stem
    while (root / "__init__.py").is_file():
        root, module = root.parent, f"{root.name}.{module}"
    line = f"from {module} import {name}"
    if root != place.absolute().parent:
        relative = os.path.relpath(root, place.absolute().parent)
        line = f"sys.path.insert(0, str(Path(__file__).parent / {relative!r}))\n{line}  # noqa: E402"
    return line, defined[name]
