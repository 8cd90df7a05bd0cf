"""Xing et al. (2018, A Walk with SGD), ResNet-56 on CIFAR-10: the walk with another network.

As published: SGD without momentum, batch 100, rates 0.3 and 0.15, 100 epochs. Published: barriers in epochs 1, 10, 25, 100: 0, 0,
2, 23; heights 0.0380, 0.0131, 0.0094, 0.0017 (rate 0.3) and 0.0084, 0.0034, 0.0020, 0.0013 (0.15). Assumed: the other batch
sizes.
"""

from search_spaces._walk import walked
from tune_lb import Experiment, Space
from tune_lb.data import CIFAR10
from tune_lb.models import ResNet


def space(
    num_train: int,
    epochs: float,
    watched: tuple[int, ...],
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    max_samples: int,
    looks: int,
    depth: int,
) -> Space:
    """Return the walk at one scale."""
    return walked(
        question="Xing et al. (2018): does SGD on a residual network cross barriers, and how does it move?",
        data=CIFAR10(num_train=num_train, num_validation=0),
        model=ResNet(depth=depth),
        lr=0.3,
        sizes=sizes,
        rates=rates,
        epochs=epochs,
        watched=watched,
        looks=looks,
        max_samples=max_samples,
    )


SPACE = Experiment(
    rows=("walk: table 1", "walk: tables 2 and 3", "walk: figures 10 to 30"),
    small=space(500, 10, (1, 5, 10), (100, 500), (0.15,), 100, 5, 8),
    paper=space(45_000, 100, (1, 10, 25, 100), (100, 500, 45_000), (0.15, 0.1), 5_000, 5, 56),
    differs=(
        "500 of 45,000 train images, so 5 updates an epoch in place of 450",
        "8 layers in place of 56",
        "10 epochs in place of 100",
        "spectral norm on 100 images",
    ),
    paper_differs=("spectral norm on 5,000 images",),
    cost="6 members in 24 minutes on two busy cores",
    paper_cost="about 1,873 days on two busy cores, by a dry run",
)
