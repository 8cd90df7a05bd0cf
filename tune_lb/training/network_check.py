"""Whether an arm's network is a function of its tensors and inputs: two ways to take a gradient, held against each other.

The fast way calls the module on tensors that stand in for its own; what is not in a tensor of it is lost there. The plain way runs
a network of each member's own. Two updates of two seeds are made in both, before anything is trained.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from tune_lb.data.device import Parts
from tune_lb.errors import one_line
from tune_lb.streams import generator, global_state, seeded
from tune_lb.surface.swapped import PYTHON_STATE
from tune_lb.training.gradient import DROPOUT_KEY, Batch, GradientFn, by_autograd, mean_gradient, on_targets
from tune_lb.training.networks import Networks, Start, tensors
from tune_lb.training.plain_gradient import plain_gradient
from tune_lb.training.python_state import decoded, opaque_attributes, same_value
from tune_lb.training.trial import Trial
from tune_lb.trees import cast, leaves, mapped

SEEDS = (0, 1)
UPDATES = 2
MOST_EXAMPLES = 4
"""Examples of an update: enough for batch norm, few enough for a network that is slow."""

TOLERANCES = {torch.float64: 1e-8, torch.float32: 1e-4}
"""Largest difference between the two ways, relative to the largest entry of a tensor."""

STEP = 1e-2


@dataclass
class Finding:
    """What was found for one network."""

    reasons: list[str] = field(default_factory=list)
    """Why the fast way is not right for it: it is trained the plain way."""
    refusals: list[str] = field(default_factory=list)
    """Why no way is right for it."""
    draws: list[str] = field(default_factory=list)
    """The global generators that it draws from while it trains."""
    writes_inputs: bool = False
    is_random: bool = False
    """Whether it draws random numbers in evaluation mode."""
    dtype: torch.dtype = torch.float64
    """What the two ways were compared in: float32 where the network does not run in float64."""

    @property
    def is_plain(self) -> bool:
        """Say whether members are to be trained the plain way."""
        return bool(self.reasons)


@dataclass
class _Trace:
    """What was seen of one member: by update the loss and gradient, and the tensors after it; then its outputs in evaluation."""

    losses: list[Tensor] = field(default_factory=list)
    seen: list[dict[str, Tensor]] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    outputs: Tensor | None = None


def check_network(trial: Trial, parts: Parts) -> Finding:
    """Return which way the trial's networks are trained, and why. Cost: a dozen small forward and backward passes.

    Compared are loss, gradient, parameters and buffers after each of two updates of two seeds, made in turns; Python attributes
    before and after; outputs in evaluation mode; and the same seed again after another history of the process.
    """
    finding = Finding()
    for dtype in TOLERANCES:
        finding = Finding(dtype=dtype)
        try:
            _compare(trial, parts, finding)
        except _Fails as failure:
            finding.refusals = [str(failure)]
            continue
        break
    return finding


class _Fails(Exception):
    """The network cannot be run the plain way."""


def _compare(trial: Trial, parts: Parts, finding: Finding) -> None:
    networks = Networks(trial, parts, finding.dtype, carries_state=True)
    try:
        plain = _traced_plain(trial, networks, SEEDS, finding)
        with seeded("another history"):
            torch.rand(3)
            again = _traced_plain(trial, networks, SEEDS[:1], Finding())
    # whatever somebody's network raises is what is wrong with it
    except (Exception, SystemExit) as error:
        raise _Fails(f"the network cannot be trained: {one_line(error)}") from error
    name = type(networks.fresh("name")).__name__
    tolerance = TOLERANCES[finding.dtype]
    odd = _difference(plain[0], again[0], tolerance)
    if odd and not finding.is_random:
        finding.refusals = [
            f"{name}: {odd} is another one when the same seed is trained again: it depends on what ran before in the process, or "
            "on random numbers of a generator of its own; draw from torch, numpy.random or random, which are seeded, and keep what "
            "changes in buffers or attributes of the module"
        ]
    if finding.refusals:
        return
    finding.reasons += _state_reasons(networks, plain)
    try:
        fast = _traced_fast(trial, Networks(trial, parts, finding.dtype), SEEDS)
    # the plain way ran: so this is the fast way's
    except (Exception, SystemExit) as error:
        finding.reasons.append(f"{name} does not run on tensors that stand in for its own ({one_line(error)})")
        return
    for own, other in zip(plain, fast, strict=True):
        odd = _difference(own, other, tolerance)
        if odd and not finding.reasons:
            finding.reasons.append(
                f"{name}: {odd} is another one when the network is called as a function of its tensors"
            )


def _traced_plain(trial: Trial, networks: Networks, seeds: Sequence[int], finding: Finding) -> list[_Trace]:
    modules = [networks.of_seed(seed).train() for seed in seeds]
    members = [tensors(module) for module in modules]
    gradients = [plain_gradient(module, on_targets(trial.example_loss)) for module in modules]
    opaque = [opaque_attributes(module) for module in modules]
    traces = _traced(networks, seeds, members, gradients, finding)
    for module, before in zip(modules, opaque, strict=True):
        changed = [name for name, value in opaque_attributes(module).items() if before.get(name, value) != value]
        if changed and not finding.refusals:
            finding.refusals.append(
                f"{changed[0]} is changed by forward, and cannot be stored with a member: keep numbers, texts, arrays, tensors, or "
                "lists and dicts of them, or register a buffer"
            )
    evaluation = networks.fresh("evaluation").eval()
    for module, (params, buffers), trace in zip(modules, members, traces, strict=True):
        module.eval()
        moved = global_state()
        with torch.no_grad():
            trace.outputs = _evaluated(networks, evaluation, (params, buffers))
            drawn = moved.moved(global_state())
            for name, parameter in module.named_parameters():
                parameter.data = (params | buffers)[name]
            own = module(networks.examples(_section(networks, 0)))
        if drawn and not finding.refusals:
            finding.is_random = True
            finding.refusals.append(
                f"{type(module).__name__} draws random numbers in evaluation mode ({', '.join(drawn)}), so its error is not one "
                "number: draw in training mode alone, as F.dropout(x, p, training=self.training) does"
            )
        elif not drawn and not _close(own, trace.outputs, TOLERANCES[networks.dtype]) and not finding.refusals:
            finding.refusals.append(
                f"{type(module).__name__}: two networks with the same parameters, buffers and attributes give other outputs in "
                "evaluation mode: it keeps something elsewhere (a function, a global variable) that is not stored with a member"
            )
    return traces


def _traced_fast(trial: Trial, networks: Networks, seeds: Sequence[int]) -> list[_Trace]:
    module = networks.fresh("training").train()
    gradient = mean_gradient(module, on_targets(trial.example_loss), by_autograd)
    members = [networks.start(seed) for seed in seeds]
    traces = _traced(networks, seeds, members, [gradient] * len(seeds), Finding())
    evaluation = networks.fresh("evaluation").eval()
    for member, trace in zip(members, traces, strict=True):
        with torch.no_grad():
            trace.outputs = _evaluated(networks, evaluation, member)
    return traces


def _traced(
    networks: Networks,
    seeds: Sequence[int],
    members: list[tuple[dict[str, Tensor], dict[str, Tensor]]],
    gradients: Sequence[GradientFn],
    finding: Finding,
) -> list[_Trace]:
    """Make the updates, seed after seed in each; members hold the tensors, which are replaced."""
    traces = [_Trace() for _ in seeds]
    for k, (params, buffers) in enumerate(members):
        members[k] = ({name: value.clone() for name, value in params.items()}, buffers)
        if PYTHON_STATE in buffers:
            traces[k].states.append(buffers[PYTHON_STATE])
    for update, (k, seed) in itertools.product(range(UPDATES), enumerate(seeds)):
        params, buffers = members[k]
        batch = _batch(networks, seed, update)
        untouched = mapped(torch.clone, batch.inputs)
        with seeded("check", seed, update):
            before = global_state()
            loss, gradient, buffers = gradients[k](params, buffers, batch)
            finding.draws = finding.draws or before.moved(global_state())
        pairs = zip(leaves(untouched), leaves(batch.inputs), strict=True)
        finding.writes_inputs |= any(not torch.equal(a, b) for a, b in pairs)
        with torch.no_grad():
            for name, value in params.items():
                value.sub_(gradient[name], alpha=STEP)
        members[k] = (params, buffers)
        traces[k].losses.append(loss)
        shown = {
            name: value for name, value in buffers.items() if name != PYTHON_STATE and not name.endswith(DROPOUT_KEY)
        }
        seen = {f"the gradient by {name}": value for name, value in gradient.items()}
        seen |= {name: value.detach().clone() for name, value in (params | shown).items()}
        traces[k].seen.append(seen)
        if PYTHON_STATE in buffers:
            traces[k].states.append(buffers[PYTHON_STATE])
    return traces


def _section(networks: Networks, update: int) -> slice:
    """Return which train examples an update sees: the first ones again where there are no more."""
    num_train = len(networks.parts.train)
    size = min(MOST_EXAMPLES, num_train)
    start = size * update if size * (update + 1) <= num_train else 0
    return slice(start, start + size)


def _evaluated(networks: Networks, evaluation: nn.Module, member: Start) -> Tensor:
    """Return the outputs of a network in evaluation mode that holds a member's tensors."""
    values = {name: value for name, value in (member[0] | member[1]).items() if not name.endswith(DROPOUT_KEY)}
    outputs: Tensor = torch.func.functional_call(evaluation, values, (networks.examples(_section(networks, 0)),))
    return outputs


def _batch(networks: Networks, seed: int, update: int) -> Batch:
    chosen = _section(networks, update)
    targets = cast(networks.parts.train.targets[chosen], networks.dtype)
    stream = generator("check", seed, update, device=networks.device)
    keys = torch.randint(1 << 62, (len(targets),), generator=stream, device=networks.device)
    return Batch(
        networks.examples(chosen), targets, torch.tensor(update, device=networks.device), {}, {}, {DROPOUT_KEY: keys}
    )


def _state_reasons(networks: Networks, traces: Sequence[_Trace]) -> list[str]:
    """Say which Python attributes change, or differ from one seed to the next."""
    if not traces[0].states:
        return []
    module = networks.fresh("names")

    def odd(one: Tensor, other: Tensor) -> list[str]:
        a, b = decoded(one), decoded(other)
        return [
            f"{type(module.get_submodule(part)).__name__}.{name}"
            for part in a.keys() | b.keys()
            for name in a.get(part, {}).keys() | b.get(part, {}).keys()
            if not same_value(a.get(part, {}).get(name), b.get(part, {}).get(name))
        ]

    changed = sorted({name for trace in traces for state in trace.states[1:] for name in odd(trace.states[0], state)})
    drawn = sorted(set(odd(traces[0].states[0], traces[-1].states[0])) - set(changed))
    return [f"{name} is changed by forward, and is no buffer" for name in changed] + [
        f"{name} is another one for each seed, and is no buffer" for name in drawn
    ]


def _difference(one: _Trace, other: _Trace, tolerance: float) -> str | None:
    """Name the first thing that two traces do not have in common."""
    for update, (a, b) in enumerate(zip(one.losses, other.losses, strict=True), 1):
        seen, found = one.seen[update - 1], other.seen[update - 1]
        if not _close(a, b, tolerance):
            return f"the loss of update {update}"
        for name, value in seen.items():
            if name in found and not _close(value, found[name], tolerance):
                return name if name.startswith("the ") else f"{name} after update {update}"
    if one.outputs is not None and other.outputs is not None and not _close(one.outputs, other.outputs, tolerance):
        return "the output in evaluation mode"
    return None


def _close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    if a.shape != b.shape:
        return False
    if not a.is_floating_point():
        return bool(torch.equal(a, b))
    scale = float(a.detach().abs().nan_to_num().max()) if a.numel() else 0.0
    return torch.allclose(a, b.to(a.dtype), rtol=tolerance, atol=tolerance * scale + 1e-12, equal_nan=True)
