"""Jaiswal and Taura, figure 3 (after Jastrzebski et al.): the spectral norm of the Hessian against eta / B.

As published: a ReLU network of four layers on FashionMNIST; the norm falls with eta / B. A grid over eta / B and B, so that what
depends on their ratio alone can be told from what does not. MNIST in place of FashionMNIST where that is not at hand.
"""

from tune_lb import Arm, Epochs, Experiment, Space, over
from tune_lb.data import MNIST
from tune_lb.metrics import LambdaMax
from tune_lb.models import FourLayerMLP
from tune_lb.optimizers import SGD
from tune_lb.samplers import Grid
from tune_lb.schedules import Constant


def space(num_train: int, ratios: list[float], sizes: list[int], epochs: float, blocks: int, max_samples: int) -> Space:
    """Return one arm that is searched over the whole grid, every member measured."""
    return Space(
        question="Jaiswal and Taura, figure 3: does the spectral norm at the end of training depend on eta / B alone?",
        data=MNIST(num_train=num_train, num_validation=2_000),
        model=FourLayerMLP(),
        optimizer=SGD(momentum=0.0),
        schedule=Constant(),
        budget=Epochs(epochs),
        eta_over_b=over(ratios),
        batch_size=32,
        arms=(Arm("grid", batch_size=over(sizes)),),
        sampler=Grid(),
        candidates=3,
        decide_blocks=2,
        confirm_blocks=blocks,
        block_seeds=1,
        metrics=(LambdaMax(max_samples=max_samples),),
        metrics_on="all",
        placebo=False,
        crossings=None,
    )


SPACE = Experiment(
    rows=("jaiswal: figure 3",),
    small=space(2_000, [3e-4, 1e-3, 3e-3], [16, 64, 256], 10, 2, 500),
    paper=space(50_000, [1e-4, 3e-4, 1e-3, 3e-3, 1e-2], [16, 32, 64, 128, 256], 20, 5, 10_000),
    differs=("MNIST in place of FashionMNIST", "2,000 of 50,000 train images", "a grid of 3 x 3", "10 epochs"),
    paper_differs=("MNIST in place of FashionMNIST",),
    cost="17 members in 3 minutes on two busy cores",
    paper_cost="about 55 minutes on two busy cores, by a dry run",
)
