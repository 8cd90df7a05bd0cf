"""The recipe of a trial that has no form as plain PyTorch: the trial itself, and what trains it as the search does."""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence

from tune_lb.recipe import templates
from tune_lb.recipe.expressions import Expressions
from tune_lb.training.trial import Trial

IMPORTS = (
    "from tune_lb.data.device import on_device",
    "from tune_lb.observation.outcome import outcomes",
    "from tune_lb.training.phased_training import begun",
)


def by_tune_lb(trial: Trial, seed: int, reasons: Sequence[str]) -> list[str]:
    """Return the parts of the file. reasons: what has no plain form, a line each."""
    written = Expressions(re.findall(r"[A-Za-z_]\w*", templates.BY_TUNE_LB))
    made = written.of(trial)
    return [
        "\n".join(written.lines(*IMPORTS)),
        "\n".join(
            [
                *(f"# NOT WRITTEN OUT: {reason}" for reason in reasons),
                "# what has no form as plain PyTorch is trained by tune_lb itself",
                f"SEED = {seed}  # of a member of the search; another number is another training of the same kind",
                made_lines(made),
            ]
        ),
        templates.BY_TUNE_LB,
    ]


def made_lines(made: str) -> str:
    """Return TRIAL = Trial(...) with a field on each line."""
    call = ast.parse(made, mode="eval").body
    assert isinstance(call, ast.Call)
    fields = "".join(f"    {word.arg}={ast.unparse(word.value)},\n" for word in call.keywords)
    return f"TRIAL = {ast.unparse(call.func)}(\n{fields})"
