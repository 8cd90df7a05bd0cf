"""What do lambda_max, the trace of the Hessian and Metric 2.1 cost, and how exact are they, beside PyHessian, curvlinops and SciPy?

    pip install -e '.[bench]' && python benchmarks/sharpness.py [--network F1 CNN] [--rounds 2] [--members 5]

F1 is Keskar et al.'s network for MNIST (1.46 million parameters, batch norm in evaluation mode) on 2,048 images, CNN two
convolutions on 128; both trained for a moment, in float32, on MNIST where TUNE_LB_DATA has it and on enlarged digits otherwise.
All run in one process on one thread and take turns, so that what else the machine does falls on all alike; every round has another
seed. Seconds are of the processor, which other processes on the machine do not
lengthen as they do wall time; gradient times are seconds / seconds of one full-data gradient of that round. Both are medians
over rounds, errors and products the worst round's. Peers run with their defaults unless the row says otherwise; curvlinops
without its check of determinism.

References, in float64: lambda_max by ARPACK to 1e-8 on a Hessian-vector product written out here. The trace exactly: with
ReLUs and max pooling the logits are piecewise linear in every single weight, so the diagonal of the Hessian is the
Gauss-Newton matrix's, and tr H = mean_i sum_y p_i(y) |grad loss_i(y)|^2, which costs one backward pass for each class.
Metric 2.1 (eps 1e-3, full space, 10 iterations from x) has no exact value: beside it stands SciPy's L-BFGS-B on the same box,
and a value larger than that is better.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import scipy
import torch
import torch.nn.functional as F
from sharpness_peers import Found, by_eigsh, by_hutchinson, by_scipy, of_pyhessian
from sharpness_references import LOSS, Network, exact_lambda_max, exact_trace
from torch import Tensor, nn

from tune_lb.data.device import on_device
from tune_lb.data.digits import Digits
from tune_lb.data.mnist import MNIST
from tune_lb.metrics.keskar import Keskar, label
from tune_lb.metrics.lambda_max import LambdaMax
from tune_lb.metrics.measuring import measure, measure_all, measure_members
from tune_lb.metrics.trace import Trace
from tune_lb.models.mlp import F1, MLP
from tune_lb.models.small_cnn import SmallCNN
from tune_lb.surface.member_surfaces import MemberSurfaces

NETWORKS: dict[str, tuple[Callable[..., nn.Module], int]] = {"F1": (F1(), 2048), "CNN": (SmallCNN(), 128)}
SMALL = (MLP(hidden=(4,)), 1024)
EPS = 1e-3
NUM_PROBES = 30


def images() -> tuple[str, Tensor, Tensor]:
    """Return what they are called, images (N, 28, 28) and their classes."""
    if os.path.isdir(os.path.join(os.environ.get("TUNE_LB_DATA", ""), "MNIST")):
        train = on_device(MNIST(num_train=4096).load(0), "cpu").train
        return "MNIST", train.standardized().reshape(-1, 28, 28), train.targets
    train = on_device(Digits(num_train=1500, num_validation=100).load(0), "cpu").train
    small = train.standardized().reshape(-1, 1, 8, 8)
    return "digits, 28 x 28", F.interpolate(small, size=28, mode="bilinear")[:, 0], train.targets


def trained(model: Callable[..., nn.Module], num_samples: int, inputs: Tensor, targets: Tensor, seed: int) -> Network:
    """Return a network after 60 updates of 256 examples, in evaluation mode."""
    torch.manual_seed(seed)
    module = model(tuple(inputs.shape[1:]), 10).train()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)
    for _ in range(60):
        chosen = torch.randint(len(inputs), (256,))
        optimizer.zero_grad()
        LOSS(module(inputs[chosen]), targets[chosen]).backward()
        optimizer.step()
    optimizer.zero_grad()
    return Network(module.eval(), inputs[:num_samples], targets[:num_samples])


def ours(network: Network, metric: Any, seed: int) -> dict[str, Any]:
    """Return the row of a metric."""
    return measure(network.module, LOSS, network.inputs, network.targets, metric, seed=seed)


def lambda_max_calls(network: Network) -> dict[str, Callable[[int], Found]]:
    """Return the implementations of lambda_max by name; each takes a seed."""

    def own(seed: int) -> Found:
        row = ours(network, LambdaMax(), seed)
        return Found(row["lambda_max"], row["lambda_max.hvps"], row["lambda_max.residual"])

    def peer(tol: float, seed: int) -> Found:
        torch.manual_seed(seed)
        return of_pyhessian(network, lambda hessian: hessian.eigenvalues(maxIter=200, tol=tol)[0][0])

    return {
        "tune_lb": own,
        "PyHessian": lambda seed: peer(1e-3, seed),
        "PyHessian, tol 1e-4": lambda seed: peer(1e-4, seed),
        "curvlinops + eigsh, tol 1e-3": lambda seed: by_eigsh(network, seed),
    }


def trace_calls(network: Network) -> dict[str, Callable[[int], Found]]:
    """Return the implementations of the trace by name; curvlinops has a number of products that tune_lb's smallest call takes."""

    def own(seed: int) -> Found:
        row = ours(network, Trace(), seed)
        return Found(row["trace"], row["trace.hvps"], row["trace.standard_error"] / abs(row["trace"]))

    def peer(seed: int) -> Found:
        torch.manual_seed(seed)
        return of_pyhessian(network, lambda hessian: np.mean(hessian.trace()))

    def hutchinson(seed: int) -> Found:
        torch.manual_seed(seed)
        found = by_hutchinson(network, NUM_PROBES)
        return Found(found.value, found.calls, (found.stated or 0.0) / abs(found.value))

    return {"tune_lb": own, "PyHessian": peer, f"curvlinops, {NUM_PROBES} probes": hutchinson}


def metric_calls(network: Network) -> dict[str, Callable[[int], Found]]:
    """Return the implementations of Metric 2.1 by name."""

    def own(mode: Any, seed: int) -> Found:
        row = ours(network, Keskar(eps=(EPS,), spaces=("full",), mode=mode), seed)
        key = f"keskar.full_{label(EPS)}"
        return Found(row[key], row[f"{key}.evaluations"])

    return {
        "tune_lb": lambda seed: own("paper", seed),
        "tune_lb, strong": lambda seed: own("strong", seed),
        "SciPy L-BFGS-B": lambda seed: by_scipy(network, EPS),
    }


def in_turns(
    network: Network, calls: Mapping[str, Callable[[int], Found]], rounds: int
) -> dict[str, list[tuple[Found, float, float]]]:
    """Return by implementation what it found, its seconds and those of a gradient, of every round."""
    found: dict[str, list[tuple[Found, float, float]]] = {name: [] for name in calls}
    network.gradient()
    for seed in range(rounds):
        gradient = min(seconds(network.gradient)[1] for _ in range(3))
        for name, call in calls.items():
            result, taken = seconds(lambda call=call, seed=seed: call(seed))
            found[name].append((result, taken, gradient))
    return found


def seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    """Return what a call returns and the processor time that it takes, on the one thread that there is."""
    started = time.process_time()
    result = call()
    return result, time.process_time() - started


def error_of(found: list[tuple[Found, float, float]], reference: float) -> float:
    """Return the worst relative error over rounds."""
    return max(abs(result.value - reference) / abs(reference) for result, _, _ in found)


def print_rows(
    name: str, quantity: str, found: Mapping[str, list[tuple[Found, float, float]]], reference: float
) -> None:
    """Print the rows of one quantity on one network."""
    for implementation, rounds in found.items():
        results = [result for result, _, _ in rounds]
        taken = statistics.median(taken for _, taken, _ in rounds)
        gradients = statistics.median(taken / gradient for _, taken, gradient in rounds)
        ratios = [own / peer for (_, own, _), (_, peer, _) in zip(found["tune_lb"], rounds, strict=True)]
        stated = [result.stated for result in results if result.stated is not None]
        cells = [
            f"{name} {quantity}",
            implementation,
            f"{results[0].value:.5g}",
            f"{error_of(rounds, reference):.1e}",
            f"{max(stated):.1e}" if stated else "",
            f"{max(result.calls for result in results)}",
            f"{taken:.2f}",
            f"{gradients:.0f}",
            f"{1 / statistics.median(ratios):.2f}",
        ]
        print("| " + " | ".join(cells) + " |", flush=True)


def goals(
    name: str, lambda_max: Mapping[str, list[tuple[Found, float, float]]], exact: float, trace_error: float
) -> list[str]:
    """Return what was aimed at, beside what was found."""
    own = lambda_max["tune_lb"]
    error = error_of(own, exact)
    gradients = statistics.median(taken / gradient for _, taken, gradient in own)
    return [
        f"| {name} lambda_max, relative error | 1e-3 | {error:.1e} |",
        f"| {name} lambda_max, Hessian-vector products | 11 | {max(result.calls for result, _, _ in own)} |",
        f"| {name} lambda_max, gradient times | 25 | {gradients:.0f} |",
        f"| {name} lambda_max, time / that of the fastest peer as exact | 0.5 | {share(lambda_max, exact, error)} |",
        f"| {name} lambda_max, time / that of the fastest peer within 1e-3 | | {share(lambda_max, exact, 1e-3)} |",
        f"| {name} trace, relative error | 2e-2 | {trace_error:.1e} |",
    ]


def share(found: Mapping[str, list[tuple[Found, float, float]]], exact: float, largest_error: float) -> str:
    """Return tune_lb's share of the time of the fastest of those peers whose errors are at most so large."""
    shares = {
        peer: statistics.median(own[1] / other[1] for own, other in zip(found["tune_lb"], rounds, strict=True))
        for peer, rounds in found.items()
        if peer != "tune_lb" and error_of(rounds, exact) <= largest_error
    }
    if not shares:
        return "no peer is"
    peer = max(shares, key=lambda name: shares[name])
    return f"{shares[peer]:.2f} ({peer})"


def together(name: str, networks: list[Network], rounds: int) -> str:
    """Return the row of lambda_max of several members at once beside one after the other."""
    first = networks[0]
    pairs = [(dict(own.module.named_parameters()), dict(own.module.named_buffers())) for own in networks]
    metrics, data = [LambdaMax()], (first.inputs, first.targets)

    def losses(outputs: Tensor, targets: Tensor) -> Tensor:
        return F.cross_entropy(outputs, targets, reduction="none")

    def at_once() -> list[Any]:
        with MemberSurfaces(first.module, pairs, losses, *data) as surfaces:
            return measure_members(metrics, surfaces, 0)

    def alone() -> list[Any]:
        rows = []
        for one in pairs:
            with MemberSurfaces(first.module, [one], losses, *data) as surfaces:
                rows.append(measure_all(metrics, surfaces.surfaces[0], 0))
        return rows

    times = []
    for _ in range(rounds):
        (rows, joint), (singles, apart) = seconds(at_once), seconds(alone)
        times.append((joint, apart))
    differences = [abs(a["lambda_max"] / b["lambda_max"] - 1) for a, b in zip(rows, singles, strict=True)]
    with MemberSurfaces(first.module, pairs, losses, *data) as surfaces:
        way = "one pass" if surfaces.at_once() else "member after member"
    ratio = statistics.median(joint / apart for joint, apart in times)
    return (
        f"| {name} | {sum(p.numel() for p in first.parameters):,} | {len(first.inputs):,} | {way} | "
        f"{statistics.median(joint for joint, _ in times):.2f} | {statistics.median(apart for _, apart in times):.2f} | "
        f"{ratio:.2f} | {max(differences):.0e} |"
    )


def heading(*names: str) -> None:
    """Print the first two lines of a table."""
    print("| " + " | ".join(names) + " |\n" + "|---" * len(names) + "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", nargs="+", choices=sorted(NETWORKS), default=["F1", "CNN"])
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--members", type=int, default=5)
    given = parser.parse_args()
    torch.set_num_threads(1)
    source, inputs, targets = images()
    print(f"torch {torch.__version__}, scipy {scipy.__version__}, 1 thread, {given.rounds} rounds, {source}\n")
    heading("", "", "value", "rel. error", "stated error", "products", "seconds", "gradients", "time / tune_lb")
    aims, members = [], []
    for name in given.network:
        model, num_samples = NETWORKS[name]
        network = trained(model, num_samples, inputs, targets, 0)
        exact, trace = exact_lambda_max(network), exact_trace(network)
        found = in_turns(network, lambda_max_calls(network), given.rounds)
        print_rows(name, f"lambda_max = {exact:.6g}", found, exact)
        traces = in_turns(network, trace_calls(network), 1)
        print_rows(name, f"trace = {trace:.6g}", traces, trace)
        keskar = in_turns(network, metric_calls(network), 1)
        print_rows(name, "Metric 2.1 (products: evaluations)", keskar, keskar["SciPy L-BFGS-B"][0][0].value)
        aims += goals(name, found, exact, error_of(traces["tune_lb"], trace))
    for name, (model, num_samples) in {"small MLP": SMALL, **{key: NETWORKS[key] for key in given.network}}.items():
        several = [trained(model, min(num_samples, SMALL[1]), inputs, targets, seed) for seed in range(given.members)]
        members.append(together(name, several, 1 if name == "F1" else given.rounds))
    print()
    heading("", "goal: at most", "found")
    print("\n".join(aims))
    print(f"\nlambda_max of {given.members} members (goal: a ratio of at most 1)\n")
    heading("", "parameters", "examples", "way", "together, s", "alone, s", "ratio", "largest difference")
    print("\n".join(members))


if __name__ == "__main__":
    main()
