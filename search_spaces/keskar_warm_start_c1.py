"""Keskar et al. (2017), figure 5, network C1 on CIFAR-10: a large batch that starts where a small one was after some epochs.

As published: 100 epochs of batch 256, every iterate starts 100 epochs of batch 5,000; few warm epochs gain nothing, later ones
bring accuracy back and sharpness down. Here an arm for each number of warm epochs, which starts from the weights that the small
batch's member of the same seed had then: that is trained once, whatever the number of starts.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Epochs, Experiment, Space, Watch
from tune_lb.data import CIFAR10
from tune_lb.metrics import Keskar
from tune_lb.models import C1, Initialization, StoredWeights
from tune_lb.optimizers import Adam
from tune_lb.schedules import Constant


def space(
    num_train: int, small: int, large: int, warm: tuple[int, ...], epochs: float, seeds: int, max_samples: int
) -> Space:
    """Return an arm for each number of warm epochs, beside the small batch alone and the large one from a random start."""
    return Space(
        question="Keskar et al. (2017), figure 5: after how many small-batch epochs does a large batch keep the accuracy?",
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
            *(Arm(f"warm_{number}", initialization=StoredWeights(arm="small_batch", epoch=number)) for number in warm),
        ),
        baseline="small_batch",
        reference="large_batch",
        confirm_blocks=seeds,
        metrics=(Keskar(spaces=("full",), max_samples=max_samples),),
        watch=Watch(metrics=(), keep_weights=warm, keep_weights_of=("small_batch",)),
        **UNTUNED,
    )


SPACE = Experiment(
    rows=("keskar: figure 5",),
    small=space(5_000, 25, 500, (1, 5, 15, 30), 30, 3, 500),
    paper=space(50_000, 256, 5_000, tuple(range(1, 101)), 100, 5, 50_000),
    differs=(
        "5,000 of 50,000 train images, so batches of 25 and 500: the same shares of them",
        "30 epochs in place of 100",
        "4 warm starts in place of 100",
    ),
    cost="18 members in 27 minutes on one core",
    paper_cost="about 112 days on two busy cores, by a dry run",
)
