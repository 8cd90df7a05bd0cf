"""Keskar et al. (2017), figure 4, network C1 on CIFAR-10: test accuracy and sharpness against the batch size.

As published: ADAM, 100 epochs, batches up to 5,000; accuracy falls from about 79.5 to 75.5 %, beyond a batch of about 500,
while the sharpness (eps 1e-3) rises to 800. Assumed: the batches themselves, 5 seeds, rate 1e-3, pixels / 255 as in their
code.
"""

from search_spaces._published import UNTUNED, at_batches
from tune_lb import Epochs, Experiment, Space
from tune_lb.data import CIFAR10
from tune_lb.metrics import Keskar
from tune_lb.models import C1, Initialization
from tune_lb.optimizers import Adam
from tune_lb.schedules import Constant


def space(num_train: int, sizes: tuple[int, ...], epochs: float, seeds: int, max_samples: int) -> Space:
    """Return an arm for each batch size; the smallest is the baseline, the largest the reference."""
    return Space(
        question="Keskar et al. (2017), figure 4: from which batch size on does C1 lose accuracy, and does it end sharper there?",
        data=CIFAR10(num_train=num_train, num_validation=0, pixels="unit"),
        model=C1(),
        initialization=Initialization("glorot_uniform"),
        optimizer=Adam(),
        lr=1e-3,
        schedule=Constant(),
        budget=Epochs(epochs),
        arms=at_batches(sizes),
        baseline=f"batch_{sizes[0]}",
        reference=f"batch_{sizes[-1]}",
        confirm_blocks=seeds,
        metrics=(Keskar(spaces=("full",), max_samples=max_samples),),
        **UNTUNED,
    )


SPACE = Experiment(
    rows=("keskar: figure 4",),
    small=space(5_000, (10, 25, 50, 200, 500), 30, 2, 500),
    paper=space(50_000, (64, 128, 256, 500, 1_000, 2_000, 5_000), 100, 5, 50_000),
    differs=(
        "5,000 of 50,000 train images",
        "30 epochs in place of 100",
        "2 seeds",
        "5 batches, a tenth of 100 to 5,000",
        "sharpness on 500 images",
    ),
    cost="10 members in 24 minutes on two busy cores",
    paper_cost="about 4 days on two busy cores, by a dry run",
)
