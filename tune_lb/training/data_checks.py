"""Whether a trial fits the data: its network is made, and given two blank examples, before anything is trained."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from tune_lb.data.dataset import DataSet
from tune_lb.data.device import some_examples
from tune_lb.data.targets import target_kind
from tune_lb.errors import RequestError, own_line
from tune_lb.models.stored_weights import StoredWeights
from tune_lb.prediction_errors import OfFunction, PredictionError, alike, class_axis
from tune_lb.settings.identity import describe
from tune_lb.surface.network_forms import Output, adapted
from tune_lb.training.optimizer_checks import optimizer_problems
from tune_lb.training.precision import in_precision
from tune_lb.training.remedy import Remedy, overrides
from tune_lb.training.target_checks import target_check
from tune_lb.training.trial import Trial
from tune_lb.trees import cast, is_tree, mapped, named_leaves

MISFIT = (RuntimeError, ValueError, TypeError, LookupError, AssertionError, AttributeError, NameError, ArithmeticError)
"""What torch, torchvision and Python raise where shapes do not fit or a network of the user's own has a mistake."""


def fitting_network(
    model: Callable[[Any, int], nn.Module],
    input_shape: Any,
    num_classes: int,
    examples: Any = None,
    output: Output | None = None,
    targets: Tensor | None = None,
    error_given: PredictionError | None = None,
) -> nn.Module:
    """Return a fresh network of the model, which gave (2, num_classes) for two examples, in training and in evaluation mode.

    examples: network inputs, two of them; None: blank ones. output: see network_forms. targets: of the two examples,
    where they are not classes: outputs are then of their shape, with an axis of classes more for tokens.

    Raises RequestError, naming model and data, where it cannot be made or run for the shape. Cost: one small forward pass.
    The random state is left as it was.
    """
    what = f"model {describe(model)} on examples of shape {input_shape}, {num_classes} classes"
    with torch.random.fork_rng(devices=[]):
        try:
            network = model(input_shape, num_classes)
            network = adapted(network, input_shape, output) if isinstance(network, nn.Module) else network
        except MISFIT as error:
            raise RequestError(f"{what}: it cannot be made: {_first_line(error)}") from error
        if not isinstance(network, nn.Module):
            raise RequestError(f"{what}: it returns {type(network).__name__}, not a torch.nn.Module")
        lazy = next((name for name, p in network.named_parameters() if isinstance(p, nn.UninitializedParameter)), None)
        if lazy is not None:
            raise RequestError(
                f"{what}: {lazy} is of a lazy layer, which has no weights before its first batch: give the layer its input size"
            )
        given = torch.zeros(2, *input_shape) if examples is None else examples
        given = cast(given, _dtype(network))
        for mode in (True, False):
            try:
                with torch.no_grad():
                    outputs = network.train(mode)(mapped(torch.clone, given))
            except MISFIT as error:
                advice = "give data of the shape that it is made for, or another model"
                if isinstance(given, Tensor) and not given.is_floating_point():
                    advice = "they are whole numbers, as an embedding takes; "
                    advice += "standardize='last', or float32 of a source, makes others"
                raise RequestError(f"{what}: the network cannot take them: {_first_line(error)}; {advice}") from error
            problem = _output_problem(outputs, num_classes, targets, error_given)
            if problem:
                raise RequestError(f"{what}: {problem}{'' if mode else ' (in evaluation mode)'}")
    return network.train()


def _output_problem(outputs: Any, num_classes: int, targets: Tensor | None, error: PredictionError | None) -> str:
    """Say why outputs for two examples are not what targets of their kind need; "" where they are."""
    if not isinstance(outputs, Tensor):
        return (
            f"the network returns {_returned(outputs)}, not one tensor (B, {num_classes}): say which of it by output=, a name, "
            "a place (0 for the first) or a function"
        )
    shape = tuple(outputs.shape)
    said = f"for 2 examples the network returns the shape {shape}"
    if targets is None or target_kind(targets.numpy()) == "classes":
        return "" if shape == (2, num_classes) else f"{said}, not (2, {num_classes}): one number for each class"
    try:
        if target_kind(targets.numpy()) == "tokens":
            axis = class_axis(outputs, targets)
            return "" if shape[axis] == num_classes else f"{said}, and targets have {num_classes} classes"
        if error is None or not isinstance(error, OfFunction):
            alike(outputs, targets)
    except ValueError as problem:
        return str(problem)
    return "" if shape[:1] == (2,) else f"{said}: the first axis must be that of the examples"


def _returned(outputs: Any) -> str:
    names = ", ".join(map(str, outputs)) if isinstance(outputs, Mapping) else ""
    return type(outputs).__name__ + (f" of {names}" if names else "")


def _dtype(network: nn.Module) -> torch.dtype:
    return next((p.dtype for p in network.parameters() if p.is_floating_point()), torch.get_default_dtype())


def _first_line(error: Exception) -> str:
    text, place = str(error).strip(), own_line(error)
    said = f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
    return f"{said} ({place})" if place else said


def check_against_data(trial: Trial, data: DataSet, where: str = "") -> list[str]:
    """Return what is wrong with a resolved trial on the loaded data: the data themselves, batch, network, loss, remedies."""
    where = where or f"arm {trial.arm!r}"
    phases = trial.in_phases()
    if len(phases) > 1:
        places = [f"{where}: phase{i}" for i in range(1, len(phases))] + [where]
        found = [
            problem
            for phase, place in zip(phases, places, strict=True)
            for problem in check_against_data(phase, data, place)
        ]
        return list(dict.fromkeys(found)) or [f"{where}: {problem}" for problem in _changed_shapes(phases, data)]
    num_train = len(data.train.targets)
    found = list(data.problems)
    if trial.batch_size > num_train:
        found.append(f"{where}: batch_size = {trial.batch_size} is larger than the train set ({num_train} examples)")
        return found
    if any("labels are" in problem for problem in found):
        # neither network nor loss can be tried on them
        return found
    try:
        examples, targets = some_examples(data, 2)
        form = (data.input_shape, data.num_classes, examples, trial.output, targets, trial.error)
        module = fitting_network(trial.model, *form)
    except RequestError as error:
        return found + error.problems
    with torch.random.fork_rng(devices=[]):
        try:
            if trial.initialization is not None and not isinstance(trial.initialization, StoredWeights):
                trial.initialization(module)
        except RequestError as error:
            found += [f"{where}: {problem}" for problem in error.problems]
    found += [f"{where}: {problem}" for problem in target_check(trial, module, data)]
    if not any(parameter.requires_grad for parameter in module.parameters()):
        found.append(f"{where}: the model has no trainable parameter")
    found += [f"{where}: {problem}" for problem in optimizer_problems(trial, module)]
    found += [f"{where}: {problem}" for problem in precision_problems(trial, module, data.input_shape, examples)]
    for remedy in trial.remedies:
        if not remedy.is_neutral():
            problems = remedy.conflicts(trial, num_train, module) + _input_problems(remedy, data, examples)
            problems += [] if trial.data.is_excerpt else remedy.length_problems(trial, num_train)
            found += [f"{where}: {problem}" for problem in problems]
    return found or [f"{where}: {problem}" for problem in _changed_network_problems(trial, data, examples)]


def _changed_network_problems(trial: Trial, data: DataSet, examples: Any) -> list[str]:
    """Say what is wrong with the network as remedies change it: stored weights are of that one too."""
    changing = [remedy for remedy in trial.active if overrides(remedy, "network")]
    if not changing and not isinstance(trial.initialization, StoredWeights):
        return []
    with torch.random.fork_rng(devices=[]):
        try:
            module = trial.network(data.input_shape, data.num_classes)
        except RequestError as error:
            return list(error.problems)
        given = cast(examples, _dtype(module))
        return [line for each in changing for line in each.network_problems(module, mapped(torch.clone, given))]


def _input_problems(remedy: Remedy, data: DataSet, examples: Any) -> list[str]:
    if is_tree(examples):
        what = f"several tensors ({', '.join(named_leaves(examples))})"
    elif not examples.is_floating_point():
        what = "whole numbers"
    else:
        return remedy.input_problems(data.input_shape)
    if not remedy.computes_with_inputs():
        return []
    return [
        f"{remedy.name} computes with the inputs, which must be one tensor of real numbers; they are {what}: leave it out"
    ]


def _changed_shapes(phases: list[Trial], data: DataSet) -> list[str]:
    """Say where the network of a phase, as its remedies change it, has other parameters than that of the phase before."""
    with torch.random.fork_rng(devices=[]):
        networks = [phase.network(data.input_shape, data.num_classes) for phase in phases]
    shapes = [{name: tuple(p.shape) for name, p in network.named_parameters()} for network in networks]
    return [
        f"phase{i}: its network has other parameters than the one after it, which is to start from them"
        for i, (before, after) in enumerate(itertools.pairwise(shapes), 1)
        if before != after
    ]


def precision_problems(trial: Trial, module: nn.Module, shape: Any, examples: Any = None) -> list[str]:
    """Return why a trial cannot be trained in its precision: differences of gradients, or a network that does not run in it.

    module: the plain network, of which a copy is run on two examples, blank ones if none are given. shape: that of one.
    """
    if trial.precision == "fp32":
        return []
    what = f"precision = {trial.precision!r}"
    found = [
        f"{what}: {remedy.name} takes Hessian-vector products as differences of gradients, which are lost in the "
        f"rounding of {'bfloat16' if trial.precision == 'bf16' else 'TF32'}; use precision fp32"
        for remedy in trial.active
        if remedy.differentiates_gradients
    ]
    network = copy.deepcopy(module).float().train()
    tensors = dict(network.named_parameters()) | dict(network.named_buffers())
    call = in_precision(
        lambda given, inputs: torch.func.functional_call(network, dict(given), (inputs,)), trial.precision
    )
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            device = next(iter(tensors.values())).device
            given = torch.zeros(2, *shape) if examples is None else examples
            call(tensors, mapped(lambda leaf: leaf.to(device, copy=True), given))
        except RuntimeError as error:
            found.append(f"{what}: the network does not run under autocast: {str(error).strip().splitlines()[0]}")
    return found
