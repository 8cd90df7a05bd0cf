"""A step compiled whole: one program for every trial of the same shapes."""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from tune_lb.optimizers.building import SHARE, call_build, is_ours, regroup
from tune_lb.settings.identity import identity
from tune_lb.training.cuda_graph import Recordings, are_wanted
from tune_lb.training.gradient import (
    Batch,
    Buffers,
    Params,
)
from tune_lb.training.members import Members
from tune_lb.training.remedy import Remedy
from tune_lb.training.step import composed_step
from tune_lb.training.trial import Trial

MAX_PROGRAMS = 32

MAX_RECOMPILATIONS = 4096
"""More programs than one process makes: torch counts them by the function that is compiled, which is one for all."""


def quiet_compiler() -> None:
    """Let torch's compiler work in this process, say nothing, and raise where it would run eagerly in silence."""
    import torch._dynamo.config
    import torch._inductor.config  # takes a second or two: not for those who do not compile

    # a pool of compiling processes pays on a large machine only, and would outlive an interrupted worker
    torch._inductor.config.compile_threads = 1
    # what is over the limit would run eagerly, and not say so
    torch._dynamo.config.recompile_limit = torch._dynamo.config.accumulated_recompile_limit = MAX_RECOMPILATIONS
    torch._dynamo.config.fail_on_recompile_limit_hit = True
    torch._logging.set_logs(all=logging.ERROR)  # type: ignore[attr-defined]


class CompiledStep:
    """A step compiled whole (torch.compile), with tensors of its own that members are copied into and out of.

    One compilation then serves every trial of the same shapes and the same remedies: searched numbers, the learning rate
    among them, enter as tensors. On a GPU the program is recorded as a CUDA graph (see cuda_graph).
    Cost: the first call compiles (8 to 90 s; a few seconds where the compiler's cache has it).
    """

    def __init__(self, trial: Trial, group: Members, *, members_first: bool, backend: str = "inductor") -> None:
        params = group.params
        self.params = {name: torch.zeros_like(value) for name, value in params.items()}
        first = next(iter(params.values()))
        self.rate = torch.zeros((), dtype=first.dtype, device=first.device)
        self.is_ours = is_ours(trial.optimizer)
        self.optimizer = call_build(trial.optimizer, self.params, trial.learning_rate, members_first=members_first)
        regroup(self.optimizer, self.params, group.optimizer, params)
        self.initial = self._initial_state()
        shared = len(self.optimizer.param_groups) > 1 or bool(trial.optimizer.groups) or not self.is_ours
        for options in self.optimizer.param_groups:
            options["lr"] = torch.zeros((), dtype=first.dtype, device=first.device)
            if shared:
                options[SHARE] = torch.ones((), dtype=first.dtype, device=first.device)
            if "foreach" in options and "momentum" not in options:
                options["foreach"] = False  # torch takes a rate that is a tensor with foreach for SGD only
        kept = {name: own.grad for name, own in self.params.items() if own.grad is not None}
        self.step = composed_step(group.gradient, trial.active, self.optimizer, kept)
        self.unmade: dict[str, list[str]] = {}
        quiet_compiler()
        self.compiled: Callable[..., tuple[Tensor, Buffers]] = torch.compile(self.step, dynamic=False, backend=backend)
        self.recordings = Recordings(self._made, self._state) if are_wanted(first.device) else None

    def __call__(self, params: Params, buffers: Buffers, batch: Batch, rate: float) -> tuple[Tensor, Buffers]:
        """Make one step; the parameters are those of `load`."""
        self.rate.fill_(rate)
        with torch.no_grad():
            if self.unmade:
                return self._first(self.params, buffers, batch, self.rate)
            return (self._made if self.recordings is None else self.recordings)(buffers, batch)

    def _made(self, buffers: Buffers, batch: Batch) -> tuple[Tensor, Buffers]:
        return self.compiled(self.params, buffers, batch, self.rate)

    def _state(self) -> list[Tensor]:
        """Return all that a step changes in place."""
        kept = [value for own in self.params.values() for value in self.optimizer.state[own].values()]
        return [*self.params.values(), *kept]

    def released(self, tree: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return buffers that the next members' steps do not write into."""
        return tree if self.recordings is None else {name: value.clone() for name, value in tree.items()}

    def load(self, params: Params, optimizer: torch.optim.Optimizer) -> None:
        """Take over members' parameters, their optimiser's state, and the shares of its groups."""
        self.unmade = {}
        for options, of_members in zip(self.optimizer.param_groups, optimizer.param_groups, strict=True):
            if SHARE in options:
                options[SHARE].fill_(of_members.get(SHARE, 1.0))
        for name, own in self.params.items():
            own.copy_(params[name])
            given: dict[str, Any] = optimizer.state.get(params[name], {})
            for key, value in self.optimizer.state[own].items():
                if not self.is_ours and key not in given:
                    self.unmade.setdefault(name, []).append(key)
                value.copy_(given.get(key, self.initial[name][key]))

    def store(self, params: Params, optimizer: torch.optim.Optimizer) -> None:
        """Give parameters and optimiser state back to the members they came from."""
        for name, own in self.params.items():
            params[name].copy_(own)
            optimizer.state[params[name]] = {key: value.clone() for key, value in self.optimizer.state[own].items()}

    def _first(self, params: Params, buffers: Buffers, batch: Batch, rate: Any) -> tuple[Tensor, Buffers]:
        """Make a step eagerly, in which an optimiser of the user's own makes its state: what that begins as is not known."""
        unmade, self.unmade = self.unmade, {}
        kept = {
            name: {key: self.optimizer.state[params[name]].pop(key) for key in keys} for name, keys in unmade.items()
        }
        found = self.step(params, buffers, batch, rate)
        for name, state in kept.items():
            # into the tensors that the program knows
            made = self.optimizer.state[params[name]]
            made |= {key: value.copy_(made[key]) for key, value in state.items()}
        return found

    def _initial_state(self) -> dict[str, dict[str, Tensor]]:
        """Make the optimiser's state, which torch makes in the first step only; return what it is before that step."""
        there = {
            name: {key: value.clone() for key, value in self.optimizer.state.get(own, {}).items()}
            for name, own in self.params.items()
        }
        for own in self.params.values():
            own.grad = torch.zeros_like(own)
        self.optimizer.step()
        plain = [
            k for own in self.params.values() for k, v in self.optimizer.state[own].items() if not isinstance(v, Tensor)
        ]
        if plain:
            raise RuntimeError(
                f"the optimiser keeps {plain[0]!r}, which is no tensor: every step would be compiled anew"
            )
        # every state of these optimisers that is not there from the start begins as zeros
        return {
            name: {
                key: there[name].get(key, torch.zeros_like(value)) for key, value in self.optimizer.state[own].items()
            }
            for name, own in self.params.items()
        }


Program = TypeVar("Program")

_programs: dict[str, Any] = {}


def compiled_step(key: str, make: Callable[[], Program]) -> Program:
    """Return the compiled step of a key, made at its first use in this process; the least recently used are dropped."""
    program: Program = _programs.pop(key, None) or make()
    _programs[key] = program
    while len(_programs) > MAX_PROGRAMS:
        _programs.pop(next(iter(_programs)))
    return program


def program_key(trial: Trial, execution: str, *facts: object) -> str:
    """Return what two trials must have in common to share a compiled step: all but the numbers that enter it as tensors.

    Those are the rate and the remedies' floats. Whole numbers (a ghost size) shape the program.
    """
    remedies = [remedy_program(remedy) for remedy in trial.active]
    parts = [identity(part) for part in (trial.model, trial.optimizer, trial.loss, trial.precision)]
    return json.dumps([execution, *parts, remedies, *map(str, facts)], sort_keys=True)


def remedy_program(remedy: Remedy) -> list[Any]:
    """Return what of a remedy shapes the program: all but its floats."""
    fields = {f.name: getattr(remedy, f.name) for f in dataclasses.fields(remedy)}
    shaping = {name: "a number" if isinstance(value, float) else identity(value) for name, value in fields.items()}
    return [f"{type(remedy).__module__}.{type(remedy).__qualname__}", shaping, list(remedy.variant())]
