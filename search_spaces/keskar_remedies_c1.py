"""Keskar et al. (2017), tables 6 and 7 and section 4, network C1 on CIFAR-10: what they tried against the drop.

Published, test accuracy of the large batch: augmentation (flips, rotations to 10 degrees, shifts to 0.2) 82.50 +- 0.67 % against
83.63 of the small batch; conservative training (3 ADAM steps, lambda 1e-3) 78.41 +- 0.22 against 80.04; adversarial and stability
training bring nothing; growing batches and warm starts are named. Robust optimization, dismissed there for its price, is SAM's
aim. The figures of tables 6 and 7 are recalled: the text at hand lacks them. Assumed: rate 1e-3, eps 0.1, sigma 0.1, alpha 0.1,
rho 0.05.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Epochs, Experiment, Space
from tune_lb.data import CIFAR10
from tune_lb.metrics import Keskar
from tune_lb.models import C1, Initialization
from tune_lb.optimizers import Adam
from tune_lb.remedies import SAM, Adversarial, Augmentation, BatchGrowth, Conservative, Stability, WarmStart
from tune_lb.schedules import Constant

AUGMENTED = Augmentation(flip=True, rotation=10.0, shift=0.2)


def space(num_train: int, small: int, large: int, epochs: float, seeds: int, max_samples: int) -> Space:
    """Return the small and the large batch, with and without augmentation, and each remedy on the large one."""
    return Space(
        question="Keskar et al. (2017): does what they tried bring the large batch of C1 back, and is its minimum flatter?",
        data=CIFAR10(num_train=num_train, num_validation=0, pixels="unit"),
        model=C1(),
        initialization=Initialization("glorot_uniform"),
        optimizer=Adam(),
        lr=1e-3,
        schedule=Constant(),
        budget=Epochs(epochs),
        batch_size=large,
        arms=(
            Arm("small_batch", batch_size=small),
            Arm("large_batch"),
            Arm("small_batch_augmented", AUGMENTED, batch_size=small),
            Arm("augmentation", AUGMENTED),
            Arm("conservative", Conservative(iterations=3, lam=1e-3)),
            Arm("adversarial", Adversarial(eps=0.1)),
            Arm("stability", Stability(alpha=0.1, sigma=0.1)),
            Arm("batch_growth", BatchGrowth(initial=small, factor=2.0, every=epochs / 8)),
            Arm("warm_start", WarmStart(epochs=epochs / 4, batch_size_before=small, power=0.0)),
            Arm("robust", SAM(rho=0.05)),
        ),
        baseline="small_batch",
        reference="large_batch",
        confirm_blocks=seeds,
        metrics=(Keskar(spaces=("full",), max_samples=max_samples),),
        **UNTUNED,
    )


SPACE = Experiment(
    rows=("keskar: table 6", "keskar: table 7", "keskar: remedies", "keskar: robust optimization"),
    small=space(5_000, 25, 500, 20, 2, 500),
    paper=space(50_000, 256, 5_000, 100, 5, 50_000),
    differs=(
        "5,000 of 50,000 train images, so batches of 25 and 500: the same shares of them",
        "20 epochs in place of 100",
        "2 seeds in place of 5",
        "sharpness on 500 images",
    ),
    cost="about half an hour on two cores, by a dry run",
    paper_cost="about 10 days on two busy cores, by a dry run",
)
