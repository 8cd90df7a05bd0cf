"""The text of a space that asks how large a batch may be: an arm for each batch size, rates tuned at every one of them."""

from __future__ import annotations

from collections.abc import Sequence

from tune_lb.cli.new_space import Asked, definition_of, imports_of, problems, sizes_of
from tune_lb.data.dataset import DataSet
from tune_lb.errors import RequestError
from tune_lb.space.space import Space

LEAST = 3
"""Different batch sizes below which nothing lies between the ends."""


def checked_sizes(given: Sequence[int]) -> list[int]:
    """Return the batch sizes in order. Raises RequestError for fewer than 3 different ones, and for those below 1."""
    sizes = sorted(set(given))
    if len(sizes) < LEAST or sizes[0] < 1:
        raise RequestError(
            f"--batch-sizes {' '.join(map(str, given))}: give {LEAST} different sizes or more, from 1 on"
        )
    return sizes


def batch_sizes_text(asked: Asked, sizes: Sequence[int], data: DataSet | None) -> str:
    """Return the file. data: what is known of them, where they are loaded."""
    lines = [
        "from tune_lb import Arm, Epochs, Space, Watch, over",
        "from tune_lb.optimizers import SGD",
    ]
    arms = "".join(f'        Arm("batch_{size}", batch_size={size}),\n' for size in sizes)
    return imports_of(asked, lines) + definition_of(asked) + TEXT.format(
        small=sizes[0], large=sizes[-1], data=asked.data.expression, model=asked.model.expression, sizes=sizes_of(data), arms=arms,
    )  # fmt: skip


def misfits(space: Space, data: DataSet, sizes: Sequence[int]) -> list[str]:
    """Return what is wrong with the arms on the data, each thing once."""
    return list(dict.fromkeys(problem for size in sizes for problem in problems(space, f"batch_{size}", data)))


TEXT = """
SPACE = Space(
    question="How large a batch? From {small} to {large}: up to which is nothing lost, and what does the next doubling cost?",
    data={data},{sizes}
    # a function of (shape of one input, number of classes) that returns a fresh network
    model={model},
    optimizer=SGD(momentum=0.9),
    # as many epochs at every batch size; with Updates(1000) the question is another one
    budget=Epochs(20),
    # the rate is searched at every batch size by itself; widen it where a selected value lies at an end
    lr=over(3e-3, 3.0, log=True),
    arms=(
{arms}    ),
    baseline="batch_{small}",
    reference="batch_{large}",
    # rates that each batch size tries, the same number for all, and the best of them in fresh blocks
    num_samples=12,
    candidates=3,
    decide_blocks=2,
    # fresh blocks of the one that was decided for; more of them, narrower intervals (--confirm-blocks 16)
    confirm_blocks=8,
    block_seeds=1,
    # test error at every epoch end, for updates and examples to a target; the gradient noise scale at a few
    watch=Watch(metrics=("gradient_noise_scale",), epochs=(1, 5, 20), test_error=True),
    watched_blocks=8,
    metrics=("lambda_max",),
    # the arms are compared with each other: no copies of the large one at other rates or lengths
    derived=False,
    compute_matched=False,
    placebo=False,
)
"""
