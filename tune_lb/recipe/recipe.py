"""Recipes: a trial as code that trains it, to be run as it is or pasted into another program.

Plain PyTorch, which knows nothing of tune_lb, wherever there is such a form; else the trial itself, trained by tune_lb. Either
trains the member of a seed as the search does.
"""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.data.dataset import DataSet
from tune_lb.recipe.by_tune_lb import by_tune_lb
from tune_lb.recipe.plain import PlainCode, not_plain
from tune_lb.streams import global_state, seeded
from tune_lb.training.trial import Trial


def recipe(trial: Trial, data: DataSet, facts: Sequence[str], seed: int = 0) -> str:
    """Return the Python file of a trial, with the facts as its first lines; seed: of the member that it trains.

    Raises RequestError where the trial holds what no module has by a name. Cost: its network is made a few times.
    """
    header = "\n".join(line.replace("\\", "/").replace('"""', "'''") for line in facts)
    with seeded("recipe"):
        before = global_state()
        module = trial.model(data.input_shape, data.num_classes)
        drawn_from = before.moved(global_state())
    reasons = not_plain(trial, data, module)
    parts = by_tune_lb(trial, seed, reasons) if reasons else PlainCode(trial, data, module, seed, drawn_from).parts()
    return "\n\n\n".join(part.strip("\n") for part in [f'"""{header}\n"""', *parts]) + "\n"
