"""Whether loss and error go with the targets: tried on outputs of the network's shape, before anything is trained."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from tune_lb.data.dataset import DataSet
from tune_lb.data.device import some_examples
from tune_lb.data.targets import target_kind
from tune_lb.prediction_errors import error_for, error_problems
from tune_lb.training.loss_forms import ignored_by, loss_form_problems
from tune_lb.training.trial import Trial
from tune_lb.trees import cast

TRIED = 4
MOST_CLASSES = 64


def target_check(trial: Trial, module: nn.Module, data: DataSet) -> list[str]:
    """Return why a trial's loss or error cannot be taken of the network's outputs and the data's targets."""
    kind = target_kind(data.train.targets)
    found = error_problems(trial.error, kind, "error")
    outputs, targets = _tried(module, data)
    found += _ignored_problems(trial, data) if kind == "tokens" else []
    with warnings.catch_warnings():
        # torch warns of shapes that broadcast, which are refused here
        warnings.simplefilter("ignore")
        found = found or loss_form_problems(trial.loss, outputs, targets)
    if found:
        return found
    try:
        value = error_for(trial.error, targets)
        value.value(value.counts(outputs, targets))
    except Exception as error:  # a function of the user's
        return [f"error: cannot be taken of outputs {tuple(outputs.shape)} and targets {tuple(targets.shape)}: {error}"]
    return []


def _tried(module: nn.Module, data: DataSet) -> tuple[Tensor, Tensor]:
    """Return random outputs as the network has them, and targets for them: of the data, or each class once."""
    if target_kind(data.train.targets) == "classes":
        number = min(data.num_classes, MOST_CLASSES) + 1
        shape: tuple[int, ...] = (number, data.num_classes)
        targets = torch.arange(number) % data.num_classes
    else:
        examples, targets = some_examples(data, TRIED)
        dtype = next((p.dtype for p in module.parameters() if p.is_floating_point()), torch.float32)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            shape = tuple(module.eval()(cast(examples, dtype)).shape)
        module.train()
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)), cast(targets, torch.float32)


def _ignored_problems(trial: Trial, data: DataSet) -> list[str]:
    """Say where tokens are negative and the loss does not ignore them."""
    ignored = ignored_by(trial.loss)
    for name, part in (("train", data.train), ("validation", data.validation), ("test", data.test)):
        wrong = (part.targets < 0) & (part.targets != ignored)
        if wrong.any():
            number = int(part.targets[wrong].reshape(-1)[0])
            return [
                f"{data.name}, {name} part: targets of tokens are {number} and the loss ignores {ignored}: give the loss "
                f"ignore_index={number}, nn.CrossEntropyLoss(ignore_index={number}), and the space "
                f"error=PerToken(ignore_index={number})"
            ]
    return []
