"""Jaiswal and Taura, section 3: the covariance of a batch's gradient falls as 1 / B; and the recipe of Hoffer et al. beside it.

theta' = theta - eta g + (eta / sqrt(B)) e, e ~ N(0, Sigma): the trace of Sigma is measured on trained members (metric
gradient_covariance). Hoffer et al. (2017), as summarised there: square-root scaling, ghost batch norm and as many updates as
the small batch bring the drop from 5 % to 1-2 %. As in their code: gradients clipped at 5 in every arm, crops of images padded
by 4, flips. Assumed: ghost groups of the small batch; MNIST and an MLP at the small scale.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Experiment, Remedy, Space
from tune_lb.budgets import Epochs, Updates
from tune_lb.data import CIFAR10, MNIST
from tune_lb.metrics import GradientCovariance
from tune_lb.models import MLP, ResNet
from tune_lb.optimizers import SGD
from tune_lb.remedies import Augmentation, GhostBatchNorm, Scaling
from tune_lb.schedules import Step


def space(
    num_train: int,
    small: int,
    large: int,
    epochs: int,
    seeds: int,
    rate: float,
    *changed: Remedy,
    clip_norm: float | None = None,
    **settings: object,
) -> Space:
    """Return small and large batch, and the steps of Hoffer's recipe, one on top of the other. changed: in every arm."""
    scaled, ghost = Scaling(base_batch_size=small, power=0.5), GhostBatchNorm(ghost_batch_size=small)
    return Space(
        question="Hoffer et al. (2017): do a square-root rate, ghost batch norm and as many updates close the drop?",
        optimizer=SGD(momentum=0.9, weight_decay=1e-4, clip_norm=clip_norm),
        schedule=Step(milestones=(0.5, 0.75)),
        budget=Epochs(epochs),
        lr=rate,
        batch_size=large,
        arms=(
            Arm("small_batch", *changed, batch_size=small),
            Arm("large_batch", *changed),
            Arm("scaled", *changed, scaled),
            Arm("scaled_ghost", *changed, scaled, ghost),
            Arm("scaled_ghost_updates", *changed, scaled, ghost, budget=Updates(epochs * num_train // small)),
        ),
        baseline="small_batch",
        reference="large_batch",
        confirm_blocks=seeds,
        metrics=(GradientCovariance(),),
        **(UNTUNED | settings),
    )


SPACE = Experiment(
    rows=("jaiswal: noise model", "jaiswal: related work"),
    small=space(
        2_000, 50, 1_000, 10, 3, 0.05, data=MNIST(num_train=2_000, num_validation=0), model=MLP(hidden=(128, 128, 128))
    ),
    paper=space(
        50_000,
        128,
        4_096,
        180,
        5,
        0.1,
        Augmentation(flip=True, padding=4),
        clip_norm=5.0,
        data=CIFAR10(num_train=50_000, num_validation=0),
        model=ResNet(depth=44),
    ),
    differs=(
        "MNIST, 2,000 images, and an MLP in place of CIFAR-10 and ResNet-44",
        "batch 50 against 1,000 in place of 128 against 4,096",
    ),
    paper_differs=("the rate falls at 1/2 and 3/4 of training in place of epochs 81, 122 and 164",),
    cost="15 members in 2 minutes on two busy cores",
    paper_cost="about 494 days on two busy cores, by a dry run",
)
