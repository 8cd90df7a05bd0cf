"""Networks as a list of layers: written out only where what is written makes the same network."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn

TENSORS = ("_parameters", "_buffers", "_modules")


def layers_code(make: Callable[[], nn.Module]) -> str | None:
    """Return the nn.Sequential(...) that makes what `make` does, None where there is none, or not one that can be told.

    Layers of torch.nn print themselves as the call that makes them, and what that call leaves out is lost: so the text is run,
    and must give the same network. Same are, under the same seed, all tensors to the bit, with their names, places, kinds and
    flags, layers that stand in two places, every other attribute of every layer (hooks among them), and the numbers drawn.
    Cost: the network is made twice.
    """
    module, drawn = _made(make)
    layers = list(module.named_children())
    plain = all(type(part).__module__.startswith("torch.nn.") and not list(part.children()) for _, part in layers)
    if type(module) is not nn.Sequential or not plain or not layers:
        return None
    lines = "\n".join(f"        nn.{layer!r}," for layer in module)
    code = f"nn.Sequential(\n{lines}\n    )"
    try:
        again, drawn_again = _made(lambda: eval(code, {"nn": nn}))
    except Exception:  # text that is no call, or that a layer refuses
        return None
    return code if torch.equal(drawn, drawn_again) and same_networks(module, again) else None


def same_networks(a: nn.Module, b: nn.Module) -> bool:
    """Say whether two networks have the same layers, in the same places, with the same tensors, flags and attributes."""
    ours, theirs = dict(a.named_modules(remove_duplicate=False)), dict(b.named_modules(remove_duplicate=False))
    if list(ours) != list(theirs) or _places(ours.values()) != _places(theirs.values()):
        return False
    tensors = [
        [value for part in parts.values() for store in TENSORS[:2] for value in getattr(part, store).values()]
        for parts in (ours, theirs)
    ]
    return _places(tensors[0]) == _places(tensors[1]) and all(
        type(part) is type(theirs[name]) and _same_layer(part, theirs[name]) for name, part in ours.items()
    )


def _made(make: Callable[[], nn.Module]) -> tuple[nn.Module, Tensor]:
    """Return the network, drawn from a seed, and the state that the draws leave."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)
        return make(), torch.default_generator.get_state()


def _places(things: Iterable[object]) -> list[int]:
    """Return for each thing the first place at which it stands: equal numbers are one thing in several places."""
    first: dict[int, int] = {}
    return [first.setdefault(id(thing), place) if thing is not None else -1 for place, thing in enumerate(things)]


def _same_layer(a: nn.Module, b: nn.Module) -> bool:
    ours, theirs = vars(a), vars(b)
    if ours.keys() != theirs.keys() or list(a._modules) != list(b._modules):
        return False
    for store in TENSORS[:2]:
        mine, other = ours[store], theirs[store]
        if list(mine) != list(other) or not all(_same_tensor(mine[name], other[name]) for name in mine):
            return False
    return all(_same(value, theirs[name]) for name, value in ours.items() if name not in TENSORS)


def _same_tensor(a: Tensor | None, b: Tensor | None) -> bool:
    if a is None or b is None:
        return a is b
    hooks = (a._backward_hooks, b._backward_hooks, *(getattr(t, "_post_accumulate_grad_hooks", None) for t in (a, b)))
    alike = type(a) is type(b) and a.dtype == b.dtype and a.requires_grad == b.requires_grad
    return alike and not any(hooks) and a.shape == b.shape and torch.equal(a.detach(), b.detach())


def _same(a: Any, b: Any) -> bool:
    try:
        return a is b or (type(a) is type(b) and bool(a == b))
    except Exception:  # what cannot be compared is not known to be the same
        return False
