"""Intervals for other test examples of the same kind, on made-up members whose expected difference is known in closed form.

Model. Example i has a difficulty p_i ~ Beta(c mu, c (1 - mu)): the probability that a member of the reference gets it wrong. An arm
has the same p_i, but for a share h of the examples, where its difficulty is another draw, q_i ~ Beta(c nu, c (1 - nu)). Member j of
a recipe is wrong on i with probability p_i + e_j p_i (1 - p_i), e_j uniform on [-spread, spread], independently of the others
given p_i: what two members have in common is the difficulty, by which their mistakes are correlated with 1 / (c + 1) over examples.
Over all examples of the kind the two differ by h (nu - mu). The test set is one draw of N examples for all blocks, or every block
tests `tested` of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from power_designs import Array
from power_table import table

from tune_lb.inference.procedure import Confirmed, answers
from tune_lb.inference.test_examples import example_variance


@dataclass(frozen=True)
class Kind:
    """A kind of data and two recipes on it."""

    examples: int
    tested: int | None = None
    """Test examples of a block, drawn anew in each; None: all, the same ones in every block."""
    blocks: int = 24
    error: float = 0.06
    of_arm: float = 0.04
    """nu, the arm's error where it differs."""
    changed: float = 0.2
    """h, the share of examples where it does."""
    concentration: float = 0.5
    spread: float = 0.3

    @property
    def difference(self) -> float:
        """Return the expected difference over all examples of the kind."""
        return self.changed * (self.of_arm - self.error)

    @property
    def example_variance(self) -> float:
        """Return the variance over draws of N examples of the mean of q_i - p_i."""
        spread = sum(m * (1 - m) / (self.concentration + 1) for m in (self.error, self.of_arm))
        gap = self.of_arm - self.error
        return (self.changed * (spread + gap**2) - (self.changed * gap) ** 2) / self.examples


def drawn(kind: Kind, rng: np.random.Generator) -> tuple[Array, Array]:
    """Return what the reference and the arm get wrong: (S, N) each, 0 or 1, nan where a block does not test an example."""

    def difficulty(mean: float) -> Array:
        return rng.beta(kind.concentration * mean, kind.concentration * (1 - mean), kind.examples)

    p = difficulty(kind.error)
    q = np.where(rng.random(kind.examples) < kind.changed, difficulty(kind.of_arm), p)
    wrong = []
    for own in (p, q):
        e = rng.uniform(-kind.spread, kind.spread, (kind.blocks, 1))
        wrong.append(
            (rng.random((kind.blocks, kind.examples), dtype=np.float32) < own + e * own * (1 - own)).astype(float)
        )
    if kind.tested is not None:
        left = rng.random((kind.blocks, kind.examples)).argsort(axis=1)[:, kind.tested :]
        for table_of in wrong:
            np.put_along_axis(table_of, left, np.nan, axis=1)
    return wrong[0], wrong[1]


@dataclass(frozen=True)
class Covered:
    """Over runs: shares of intervals that hold the expected difference, mean half-widths, and the mean estimated variance."""

    new: float
    these: float
    half_new: float
    half_these: float
    variance: float


def covered(kind: Kind, repeats: int, seed: int = 0) -> Covered:
    """Return how intervals with the examples' variance, and without, hold the expected difference over examples of the kind."""
    rng = np.random.default_rng(seed)
    rows = []
    for _ in range(repeats):
        reference, arm = drawn(kind, rng)
        variance = example_variance(arm - reference)
        own = Confirmed(np.nanmean(arm, axis=1, keepdims=True), examples=variance)
        given = {"new": own, "these": replace(own, examples=0.0)}
        found = answers(Confirmed(np.nanmean(reference, axis=1, keepdims=True)), given, outside=list(given))
        ends = [found[name].procedure for name in ("new", "these")]
        inside = [effect.low <= kind.difference <= effect.high for effect in ends]
        rows.append([*inside, *(effect.half_width for effect in ends), variance])
    return Covered(*np.mean(rows, axis=0).tolist())


KINDS = {
    "one test set of 10,000": Kind(10_000),
    "one test set of 10,000, fewer blocks": Kind(10_000, blocks=8),
    "one test set of 2,000": Kind(2_000),
    "one test set of 2,000, no effect": Kind(2_000, of_arm=0.06),
    "one test set of 2,000, many other mistakes": Kind(2_000, changed=0.8),
    "one test set of 2,000, mistakes less common to members": Kind(2_000, concentration=5.0),
    "cuts: 400 of 1,797 in each block": Kind(1_797, tested=400),
    "cuts, 12 blocks": Kind(1_797, tested=400, blocks=12),
}


def examples_said(repeats: int) -> str:
    """Return the table of all kinds."""
    rows = []
    for label, kind in KINDS.items():
        found = covered(kind, repeats)
        rows.append(
            [
                label,
                f"{100 * kind.difference:.2f}",
                f"{100 * found.new:.1f}",
                f"{100 * found.these:.1f}",
                f"{100 * found.half_new:.2f}",
                f"{100 * found.half_these:.2f}",
                f"{100 * kind.example_variance**0.5:.3f}",
                f"{100 * found.variance**0.5:.3f}",
            ]
        )
    standard = Kind(2_000)
    return "\n".join(
        [
            f"# New test examples: {repeats} simulated runs of each kind\n",
            "Made by `python benchmarks/power.py --study`; the model stands in benchmarks/power_examples.py: difficulties of "
            f"examples from a Beta distribution with mean {standard.error:g} (concentration {standard.concentration:g}: the "
            f"mistakes of two members are correlated with {1 / (standard.concentration + 1):.2f}), the arm's another draw for "
            f"{standard.changed:.0%} of the examples, members independent given the difficulties but for a deviation of their "
            f"own. Intervals of 95 % over {standard.blocks} blocks of one seed, for the expected difference over all examples of "
            "the kind: with the sampling error of the examples, as estimated from the members' mistakes, and without. Points of "
            f"test error. Monte Carlo standard error at 95 %: {100 * (0.0475 / repeats) ** 0.5:.1f}.\n",
            table(
                [
                    "test examples",
                    "true difference",
                    "cover with, %",
                    "without, %",
                    "half with",
                    "without",
                    "standard error of examples, true",
                    "estimated",
                ],
                rows,
            ),
        ]
    )
