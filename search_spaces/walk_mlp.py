"""Xing et al. (2018, A Walk with SGD), the multilayer perceptron on MNIST: what the loss does between one update and the next.

As published: SGD without momentum, constant rate 0.1, batch 100, 40 epochs; 10 points between consecutive iterates on the whole
train set. Published: barriers in epochs 1, 10 and 25: 0, 3, 5; larger batches have more negative cosines, the rate has no effect
on them. Gradient descent on all data is the arm of the largest batch. Assumed: three hidden layers of 128.
"""

from search_spaces._published import UNTUNED, at_batches, word
from tune_lb import Arm, Epochs, Experiment, Space, Walk, Watch
from tune_lb.data import MNIST
from tune_lb.metrics import LambdaMax
from tune_lb.models import MLP
from tune_lb.optimizers import SGD
from tune_lb.schedules import Constant


def space(
    num_train: int,
    epochs: float,
    watched: tuple[int, ...],
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    max_samples: int,
) -> Space:
    """Return an arm for each batch size at the base rate, and for each further rate at the base batch of 100."""
    return Space(
        question="Xing et al. (2018): does SGD on an MLP cross barriers, and how does it move, by batch size and rate?",
        data=MNIST(num_train=num_train, num_validation=0),
        model=MLP(hidden=(128, 128, 128)),
        optimizer=SGD(momentum=0.0),
        lr=0.1,
        schedule=Constant(),
        budget=Epochs(epochs),
        arms=(
            *at_batches(sizes),
            *(Arm(f"batch_100_lr_{word(rate)}", batch_size=100, lr=rate) for rate in rates),
        ),
        baseline="batch_100",
        reference=f"batch_{sizes[-1]}",
        confirm_blocks=2,
        watched_blocks=1,
        walk=Walk(epochs=watched),
        watch=Watch(metrics=(LambdaMax(max_samples=max_samples),), every_epochs=5, splits=("train",)),
        **UNTUNED,
    )


SPACE = Experiment(
    rows=("walk: table 1", "walk: figure 4", "walk: tables 2 and 3", "walk: figures 10 to 30"),
    small=space(2_000, 25, (1, 10, 25), (100, 500, 2_000), (0.05, 0.3), 500),
    paper=space(60_000, 40, (1, 10, 25, 40), (100, 500, 1_000, 60_000), (0.05, 0.2, 0.3), 60_000),
    differs=("2,000 of 60,000 train images, so 20 updates an epoch in place of 600", "25 epochs in place of 40"),
    cost="not measured",
    paper_cost="not measured",
)
