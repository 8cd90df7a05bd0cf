"""Xing et al. (2018, A Walk with SGD), VGG-11 on CIFAR-10: the base case of the paper.

As published: SGD without momentum, constant rate 0.1, batch 100, 45,000 train images, 100 epochs; the loss at 10 points between
consecutive iterates in epochs 1, 10, 25, 100. Published: barriers 0, 0, 5, 13; heights 0.0625, 0.0199, 0.0104, 0.0025 (rate 0.1);
the spectral norm falls, then rises at the end with a dip of the validation accuracy; gradient descent bounces in a valley
(figure 1: the arm of all examples). Assumed: the other batch sizes and rates.
"""

from search_spaces._walk import walked
from tune_lb import Experiment, Space
from tune_lb.data import CIFAR10
from tune_lb.models import VGG11


def space(
    num_train: int,
    epochs: float,
    watched: tuple[int, ...],
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    max_samples: int,
    looks: int,
    num_validation: int,
    walked_samples: int | None,
    splits: tuple[str, ...],
) -> Space:
    """Return the walk at one scale."""
    return walked(
        question="Xing et al. (2018): does SGD on VGG-11 cross barriers, and how does it move, by batch size and rate?",
        data=CIFAR10(num_train=num_train, num_validation=num_validation),
        model=VGG11(),
        lr=0.1,
        sizes=sizes,
        rates=rates,
        epochs=epochs,
        watched=watched,
        looks=looks,
        max_samples=max_samples,
        walked_samples=walked_samples,
        splits=splits,
    )


SPACE = Experiment(
    rows=(
        "walk: figure 1",
        "walk: figure 2",
        "walk: table 1",
        "walk: figures 3 and 6",
        "walk: figure 4",
        "walk: tables 2 and 3",
    ),
    small=space(500, 3, (1, 3), (100, 500), (0.05,), 100, 1, 200, 200, ("train",)),
    paper=space(
        45_000,
        100,
        (1, 10, 25, 100),
        (100, 500, 1_000, 45_000),
        (0.05, 0.2, 0.3),
        5_000,
        5,
        5_000,
        None,
        ("train", "validation"),
    ),
    differs=(
        "500 of 45,000 train images, so 5 updates an epoch in place of 450",
        "3 epochs in place of 100",
        "losses between iterates on 200 images, spectral norm on 100",
        "batches of 100 and 500",
    ),
    paper_differs=("spectral norm on 5,000 images", "gradient descent in one step of all examples"),
    cost="6 members in half an hour on two cores",
    paper_cost="about 1,440 days on two busy cores, by a dry run",
)
