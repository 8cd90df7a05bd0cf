"""Surlemont et al., outlook: learning rate and batch size searched together, with and without SAM; and other losses and optimisers.

Published: proposed, not done. A grid over rate and batch size for SGD with and without SAM, every member measured; losses and
optimisers as arms at the largest batch, sharpness on the loss that each trains on and on plain cross entropy.
"""

from tune_lb import Arm, Epochs, Experiment, OnCrossEntropy, Space, over
from tune_lb.data import MNIST
from tune_lb.losses import LabelSmoothedCrossEntropy
from tune_lb.metrics import LambdaMax
from tune_lb.models import SmallCNN
from tune_lb.optimizers import SGD, Adam, AdamW
from tune_lb.remedies import SAM
from tune_lb.samplers import Grid


def space(num_train: int, rates: list[float], sizes: list[int], epochs: float, blocks: int, max_samples: int) -> Space:
    """Return the grid with and without SAM, and the largest batch with other losses and optimisers over the same rates."""
    grid = {"batch_size": over(sizes), "lr": over(rates)}
    last = {"batch_size": sizes[-1], "lr": over(rates)}
    return Space(
        question="Surlemont et al., outlook: which rate does each batch size want, with SAM, another loss, another optimiser?",
        data=MNIST(num_train=num_train, num_validation=2_000),
        model=SmallCNN(dropout_after="each_pool"),
        optimizer=SGD(momentum=0.9),
        budget=Epochs(epochs),
        arms=(
            Arm("plain", **grid),
            Arm("sam", SAM(rho=0.05), **grid),
            Arm("smoothed_loss", loss=LabelSmoothedCrossEntropy(0.1), **last),
            Arm("adam", optimizer=Adam(), batch_size=sizes[-1], lr=over([rate / 30 for rate in rates])),
            Arm("adamw", optimizer=AdamW(), batch_size=sizes[-1], lr=over([rate / 30 for rate in rates])),
        ),
        reference="plain",
        sampler=Grid(),
        candidates=2,
        decide_blocks=2,
        confirm_blocks=blocks,
        block_seeds=1,
        metrics=(LambdaMax(max_samples=max_samples), OnCrossEntropy(LambdaMax(max_samples=max_samples))),
        metrics_on="all",
        placebo=False,
        crossings=None,
        derived=False,
        compute_matched=False,
    )


SPACE = Experiment(
    rows=("surlemont: learning rate by batch size", "surlemont: other losses"),
    small=space(1_000, [0.01, 0.03, 0.1], [32, 125, 500], 4, 2, 200),
    paper=space(50_000, [0.003, 0.01, 0.03, 0.1, 0.3], [32, 128, 512, 2_048, 8_192], 12, 5, 10_000),
    differs=("1,000 of 60,000 train images", "a grid of 3 x 3", "4 epochs", "sharpness on 200 images"),
    paper_differs=("the paper proposes it and gives no values: all are assumed",),
    cost="57 members in half an hour on two busy cores",
    paper_cost="about 4 days on two busy cores, by a dry run",
)
