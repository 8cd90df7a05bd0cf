"""Xing et al. (2018, A Walk with SGD), the multilayer perceptron on MNIST: what the loss does between one update and the next.

As published: SGD without momentum, constant rate 0.1, batch 100, 40 epochs; 10 points between consecutive iterates on the whole
train set. Published: barriers in epochs 1, 10 and 25: 0, 3, 5; larger batches have more negative cosines, the rate has no effect
on them. Gradient descent on all data is the arm of the largest batch. Assumed: three hidden layers of 128.
"""

from search_spaces._walk import walked
from tune_lb import Experiment, Space
from tune_lb.data import MNIST
from tune_lb.models import MLP


def space(
    num_train: int,
    epochs: float,
    watched: tuple[int, ...],
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    max_samples: int,
) -> Space:
    """Return the walk at one scale."""
    return walked(
        question="Xing et al. (2018): does SGD on an MLP cross barriers, and how does it move, by batch size and rate?",
        data=MNIST(num_train=num_train, num_validation=0),
        model=MLP(hidden=(128, 128, 128)),
        lr=0.1,
        sizes=sizes,
        rates=rates,
        epochs=epochs,
        watched=watched,
        looks=5,
        max_samples=max_samples,
    )


SPACE = Experiment(
    rows=("walk: table 1", "walk: figure 4", "walk: tables 2 and 3", "walk: figures 10 to 30"),
    small=space(2_000, 25, (1, 10, 25), (100, 500, 2_000), (0.05, 0.3), 500),
    paper=space(60_000, 40, (1, 10, 25, 40), (100, 500, 1_000, 60_000), (0.05, 0.2, 0.3), 60_000),
    differs=("2,000 of 60,000 train images, so 20 updates an epoch in place of 600", "25 epochs in place of 40"),
    cost="10 members in 2 minutes on two busy cores",
    paper_cost="about 7 days on two busy cores, by a dry run",
)
