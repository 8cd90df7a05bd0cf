"""The page of what the papers leave open: a question, the run that answers it, a table and a sentence, from committed runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

import analysis
from analysis.blocks import arrays
from analysis.notation import listed, points, significant, with_interval
from analysis.results import Results
from making.cards import ROOT
from making.markdown import table
from tune_lb.inference.effects import Effect, differences, paired_t

PLACES = (ROOT / "docs" / "results", ROOT / "docs" / "reproduction")
RULE = (
    "Differences are of test errors, in points, paired by block, with the values that each arm's search found; intervals are "
    "Student's at 95 %, one by one: what stands here is exploratory, and no claim of a run's own family. An answer is *told* where "
    "the interval leaves 0 out; else n, the number of blocks, is too small to tell. *Times the gradients*: gradients of "
    "single examples that a training took, beside those of the arm that it is compared with."
)


class Question(NamedTuple):
    """A question, the run or runs with what they have to do with it, and what comes out of them, as Markdown."""

    title: str
    asked: str
    runs: tuple[str, ...]
    answer: Callable[[], Iterator[str]]


def place_of(name: str) -> Path | None:
    """Return the folder of a committed run, None where it was not kept."""
    return next((place / name for place in PLACES if (place / name).is_dir()), None)


@cache
def run(name: str) -> Results:
    """Return a committed run."""
    place = place_of(name)
    assert place is not None, name
    results = analysis.load(place)
    assert isinstance(results, Results)
    return results


def questions_page() -> str:
    """Return the page."""
    parts = [
        "<!-- Made from committed runs by `python docs/reproduction.py`. Run that again where a run was added. -->",
        "# What the papers leave open",
        "Questions on which the five papers contradict each other or are silent, put to runs of ours. "
        "[The papers' own rows](reproduction.md) stand elsewhere.",
        RULE,
    ]
    for question in QUESTIONS:
        links = [
            f"[{name}]({place.parent.name}/{name}/report/report.md)"
            for name in question.runs
            if (place := place_of(name)) is not None
        ]
        parts += [
            f"## {question.title}",
            f"{question.asked} Runs: {', '.join(links)}.",
            *question.answer(),
        ]
    return "\n\n".join(parts) + "\n"


def difference(results: Results, arm: str, against: str, column: str = "test_error") -> Effect:
    """Return the mean difference of two arms over the blocks that both have."""
    of_arms = arrays(results.confirmed, column)
    return paired_t(differences(of_arms[arm], of_arms[against]))


def _row(name: str, arm: str, against: str) -> list[str]:
    results = run(name)
    effect = difference(results, arm, against)
    times = _costs(results)
    return [
        name,
        arm,
        against,
        f"{effect.freedom + 1:.0f}",
        with_interval(points(effect.estimate), effect.low, effect.high),
        _word(effect),
        f"{times[arm] / times[against]:.2g}",
    ]


def _costs(results: Results) -> dict[str, float]:
    """Return the gradients of single examples that a member of each arm took, beside those of the reference."""
    arms = results.arms.set_index("arm")
    gradients = arms["examples"] * arms["gradient_evaluations"] / arms["updates"]
    return {str(arm): float(number) for arm, number in (gradients / gradients[results.asked.reference]).items()}


def _word(effect: Effect) -> str:
    if not effect.excludes_zero:
        return "not told"
    return "lower" if effect.estimate < 0 else "higher"


HEAD = ("run", "arm", "against", "n", "difference, points", "error", "times the gradients")


def _pairs(*pairs: tuple[str, str, str]) -> str:
    return table(HEAD, [_row(*pair) for pair in pairs])


def _told(name: str, arm: str, against: str) -> str:
    """Return whether a difference is told, and its interval."""
    effect = difference(run(name), arm, against)
    text = with_interval(points(effect.estimate), effect.low, effect.high)
    word = _word(effect) if effect.excludes_zero else "no other that can be told"
    return f"{word} ({text} points, n = {effect.freedom + 1:.0f})"


def _summed(what: str, *pairs: tuple[str, str, str]) -> str:
    """Return how many of the pairs are told, and which way."""
    words = [_word(difference(run(name), arm, against)) for name, arm, against in pairs]
    counts = ", ".join(f"{words.count(word)} {word}" for word in ("lower", "higher", "not told") if word in words)
    return f"**Answer**: {what}: {counts}, of {len(words)} comparisons."


def _sam() -> Iterator[str]:
    own = tuple(
        ("surlemont_sam", f"{name}_500{suffix}_sam", f"{name}_500{suffix}")
        for name in ("sgd", "adam")
        for suffix in ("", "_no_dropout")
    )
    pairs = [
        pair
        for pair in (*own, ("quickstart", "sam", "large_batch"), ("quickstart_mnist", "sam", "large_batch"))
        if place_of(pair[0]) is not None
    ]
    yield _summed("test error of a large batch with SAM beside the same without", *pairs)
    yield _pairs(*pairs)


def _scaling() -> Iterator[str]:
    on_top, without = (("noise_and_scaling", f"{rate}_noise", rate) for rate in ("scaled", "unscaled"))
    yield (
        f"**Answer**: with noise the test error is {_told(*on_top)} on top of linear scaling, and {_told(*without)} with the small "
        "batch's rate."
    )
    yield _pairs(
        on_top,
        without,
        ("noise_and_scaling", "scaled", "unscaled"),
        ("noise_and_scaling", "small_batch", "scaled"),
    )


def _measures() -> Iterator[str]:
    results = run("sharpness_by_epoch")
    two = ("lambda_max", "keskar.full_1e-3")
    history = results.history
    rows = history[history["name"].isin(two)].pivot_table(
        index=["trial_id", "seed", "step", "epoch"], columns="name", values="value"
    )
    rows = rows.reset_index().merge(results.confirmed[["trial_id", "seed", "arm", "block"]], on=["trial_id", "seed"])
    last = rows["epoch"].max()
    cells = []
    for arm, of_arm in rows.groupby("arm"):
        for text, part in (("whole", of_arm), ("last half", of_arm[of_arm["epoch"] > last / 2])):
            found = np.array([spearmanr(m[two[0]], m[two[1]]).statistic for _, m in part.groupby("block")])
            effect = paired_t(found[np.isfinite(found)])
            word = "not told" if not effect.excludes_zero else "together" if effect.estimate > 0 else "apart"
            between = f"{effect.estimate:+.2f} [{max(-1, effect.low):.2f}, {min(1, effect.high):.2f}]"
            cells.append([str(arm), text, str(len(found)), between, word])
    told = "; ".join(f"{arm}, {text}: {word}" for arm, text, _, _, word in cells)
    yield f"**Answer**: {told}. Rank correlations along a training, one for each block, and their mean with its interval:"
    yield table(
        ("arm", "part of the training", "n", "rank correlation of lambda_max and Keskar 1e-3", "they move"), cells
    )
    ends = rows[rows["epoch"] == last]
    yield "At the end, large batch over small, geometric means over blocks:"
    yield table(("measure", "n", "large batch / small batch"), [_ratio(ends, name) for name in (*two,)])


def _ratio(ends: pd.DataFrame, name: str) -> list[str]:
    effect = _large_over_small(ends, name)
    return [name, f"{effect.freedom + 1:.0f}", _times(effect)]


def _large_over_small(rows: pd.DataFrame, value: str) -> Effect:
    """Return the logarithm of the large batch's value over the small one's, over the blocks that have both."""
    by = np.log(rows.pivot_table(index="block", columns="arm", values=value))
    return paired_t((by["large_batch"] - by["small_batch"]).dropna().to_numpy())


def _times(effect: Effect) -> str:
    """Return a logarithm and its interval as factors."""
    middle, low, high = (significant(float(np.exp(end))) for end in (effect.estimate, effect.low, effect.high))
    return f"{middle} [{low}, {high}]"


def _covariance() -> Iterator[str]:
    pairs = [
        (name, arm, against)
        for name in ("remedies", "remedies_mnist")
        for arm, against in (
            ("multiplicative_noise", "white_control"),
            ("layer_noise", "initial_variance_noise"),
            ("fisher_noise", "initial_variance_noise"),
        )
    ]
    yield _summed("noise shaped as the gradient's own covariance beside white noise", *pairs)
    yield _pairs(*pairs)


def _per_gradient() -> Iterator[str]:
    for name in ("remedies", "remedies_mnist"):
        results = run(name)
        arms = results.arms.sort_values("difference")
        times = _costs(results)
        arms = arms[arms["role"].isin(["arm", "compute_matched"])]
        helps = arms[arms["claim"].eq(True) & (arms["difference"] < 0)]
        more = [arm for arm in helps["arm"] if times[arm] > 1.01]
        free = [arm for arm in helps["arm"] if arm not in more]
        yield (
            f"**Answer** of {name}: claimed to lower the error with no more gradients than the large batch alone: "
            f"{listed(free) or 'none'}; with more: {listed(more) or 'none'}. The ten of lowest error, all tuned with the "
            "same number of trainings, with intervals of the whole procedure:"
        )
        yield table(
            ("arm", "n", "difference, points", "claimed", "times the gradients"),
            [
                [
                    str(row["arm"]),
                    str(row["n"]),
                    with_interval(points(row["difference"]), row["difference_low"], row["difference_high"]),
                    "yes" if row["claim"] is True else "no",
                    f"{times[row['arm']]:.2g}",
                ]
                for row in arms.head(10).to_dict("records")
            ],
        )


def _equal_loss() -> Iterator[str]:
    cells = []
    for name in ("quickstart", "quickstart_mnist", "sharpness_by_epoch"):
        results = run(name)
        found = results.history[results.history["name"].str.startswith("lambda_max@")]
        found = found.merge(results.confirmed[["trial_id", "seed", "arm", "block"]], on=["trial_id", "seed"])
        for level, rows in found.groupby("name"):
            if not {"large_batch", "small_batch"} <= set(rows["arm"]):
                continue
            effect = _large_over_small(rows, "value")
            if effect.freedom < 1:
                continue
            word = "not told" if not effect.excludes_zero else "sharper" if effect.estimate > 0 else "flatter"
            number = f"{effect.freedom + 1:.0f}"
            cells.append([name, str(level).partition("@")[2], number, _times(effect), word])
    words = [cell[-1] for cell in cells]
    told = ", ".join(f"{words.count(word)} {word}" for word in ("sharper", "flatter", "not told") if word in words)
    yield f"**Answer**: lambda_max of the large batch over the small one's, where the train loss first falls below a level: {told}."
    yield table(("run", "train loss", "n", "lambda_max, large batch / small batch", "large batch"), cells)


QUESTIONS = (
    Question(
        "Does SAM close the drop where dropout and batch norm train in both passes?",
        "Surlemont et al. find SAM worse; the implementation that they name trains it without dropout. Here dropout and batch "
        "norm are in train mode in both passes, and arms without dropout stand beside.",
        ("surlemont_sam", "quickstart", "quickstart_mnist"),
        _sam,
    ),
    Question(
        "Does noise help on top of linear scaling, and not without it?",
        "Jaiswal and Taura gain by noise on top of linear scaling, Hynes does not gain without.",
        ("noise_and_scaling",),
        _scaling,
    ),
    Question(
        "Do lambda_max and Keskar's sharpness move together as training converges?",
        "Hynes holds that Keskar's measure makes minima look sharp that are not.",
        ("sharpness_by_epoch",),
        _measures,
    ),
    Question(
        "Is it the covariance of the noise, or its size?",
        "Xing et al. and Hynes: isotropic noise is no stand-in for that of small batches. `white_control` is white noise of the "
        "same trace as multiplicative noise; the others search their size.",
        ("remedies", "remedies_mnist"),
        _covariance,
    ),
    Question(
        "Which remedy gives most per gradient, at equal tuning?",
        "Each paper tunes its own remedy alone.",
        ("remedies", "remedies_mnist"),
        _per_gradient,
    ),
    Question(
        "Is the large batch sharper at equal train loss?",
        "Keskar et al. compare minima at the ends of trainings, whose train losses differ.",
        ("quickstart", "quickstart_mnist", "sharpness_by_epoch"),
        _equal_loss,
    ),
)
