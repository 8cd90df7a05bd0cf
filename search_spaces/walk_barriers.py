"""Xing et al. (2018, A Walk with SGD), figure 9: barriers crossed in every epoch, VGG-11 on CIFAR-10.

As published: SGD without momentum, rate 0.1, batch 100, 100 epochs of 450 updates, the loss at 10 points between consecutive
iterates over all train images. Published: no barrier in most epochs, a few late ones of tiny height. All epochs are looked at
here, so the loss is taken over 5,000 images: over all it would take some 40,000 passes over the train set an epoch. A barrier
is a rise above what rounding makes of a flat line, measured in every epoch.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Epochs, Experiment, Space, Walk
from tune_lb.data import CIFAR10, MNIST
from tune_lb.models import MLP, VGG11
from tune_lb.optimizers import SGD
from tune_lb.schedules import Constant


def space(epochs: int, max_samples: int | None, **settings: object) -> Space:
    """Return one arm whose every update is looked at."""
    return Space(
        question="Xing et al. (2018), figure 9: in which epochs does SGD cross barriers, and how high are they?",
        optimizer=SGD(momentum=0.0),
        lr=0.1,
        schedule=Constant(),
        budget=Epochs(epochs),
        arms=(Arm("batch_100", batch_size=100),),
        confirm_blocks=1,
        watched_blocks=1,
        walk=Walk(epochs=tuple(range(1, epochs + 1)), max_samples=max_samples),
        **(UNTUNED | settings),
    )


SPACE = Experiment(
    rows=("walk: figure 9",),
    small=space(40, None, data=MNIST(num_train=2_000, num_validation=0), model=MLP(hidden=(128, 128, 128))),
    paper=space(100, 5_000, data=CIFAR10(num_train=45_000, num_validation=5_000), model=VGG11()),
    differs=(
        "MNIST, 2,000 images, and an MLP in place of CIFAR-10 and VGG-11, so 20 updates an epoch in place of 450",
        "40 epochs in place of 100",
        "one seed",
    ),
    paper_differs=("losses between iterates over 5,000 of the 45,000 images", "one seed"),
    cost="one member in 5 minutes on one core",
    paper_cost="about 773 days on two busy cores, by a dry run",
)
