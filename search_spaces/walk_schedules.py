"""Xing et al. (2018, A Walk with SGD), figures 7 and 8: cyclical, trapezoidal and step schedules, each with its rate tuned.

As published: batch 100, each schedule's values by a grid search; the trapezoid (ramp, flat, linear anneal) is as good as or
better than cyclical rates and steps. Here every schedule is searched with the same budget and confirmed on fresh blocks.
"""

from tune_lb import Arm, Epochs, Experiment, Space, over
from tune_lb.data import CIFAR10, MNIST
from tune_lb.models import MLP, ResNet
from tune_lb.optimizers import SGD
from tune_lb.schedules import Cyclical, Step, Trapezoid

CYCLES = Cyclical(period_epochs=over(2.0, 20.0, log=True), lowest=over(0.05, 0.5, log=True))


def space(epochs: float, low: float, high: float, **settings: object) -> Space:
    """Return the three schedules, steps as the reference."""
    return Space(
        question="Xing et al. (2018), figures 7 and 8: which schedule is best when each is tuned?",
        optimizer=SGD(momentum=0.9),
        batch_size=100,
        lr=over(low, high, log=True),
        budget=Epochs(epochs),
        arms=(
            Arm("steps", schedule=Step(drop=over([0.1, 0.2, 0.5]))),
            Arm("trapezoid", schedule=Trapezoid(rise=over(0.0, 0.4), fall=over(0.1, 0.6))),
            Arm("cyclical", schedule=CYCLES),
        ),
        reference="steps",
        derived=False,
        crossings=None,
        **settings,
    )


SPACE = Experiment(
    rows=("walk: figures 7 and 8",),
    small=space(
        10,
        0.003,
        0.3,
        data=MNIST(num_train=2_000, num_validation=4_000),
        model=MLP(hidden=(128, 128, 128)),
        num_samples=16,
        candidates=3,
        decide_blocks=3,
        confirm_blocks=10,
        block_seeds=1,
    ),
    paper=space(
        100, 0.01, 1.0, data=CIFAR10(num_train=45_000, num_validation=5_000), model=ResNet(depth=56), confirm_blocks=5
    ),
    differs=("MNIST, 2,000 images, and an MLP in place of CIFAR-10 and ResNet-56", "10 epochs in place of 100"),
    paper_differs=("quasi-random points in place of a grid",),
    cost="140 members in 3 minutes on two busy cores",
    paper_cost="about 654 days on two busy cores, by a dry run",
)
