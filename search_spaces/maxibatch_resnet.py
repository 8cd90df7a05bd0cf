"""Hynes (maxi-batch SGD), figures 1 to 5: error, lambda_max and distance travelled of a residual network, by batch size and rate.

As published: CIFAR-10, a residual network of 32 layers with identity mappings, SGD, batches of 50 to 10,000, the rate falls at
epoch 80; batch 50 with rate 0.1 is best (93.1 % test accuracy); lambda_max (500 examples) rises in training for small batches and
not for large ones, and jumps where the rate falls; the small batch travels farther. Assumed: momentum 0.9, weight decay 1e-4, 120
epochs, flips and crops, rates of the batch of 10,000. Figure 2: `tune-lb landscape RUN batch_50 batch_1000`, `... batch_10000
batch_10000_lr_0p4`.
"""

from search_spaces._maxibatch import residual
from search_spaces._published import at_batches, word
from tune_lb import Arm, Experiment, Space, Walk, Watch
from tune_lb.metrics import BatchLambdaMax, LambdaMax


def space(
    num_train: int,
    depth: int,
    sizes: tuple[int, ...],
    rates: tuple[float, ...],
    epochs: float,
    falls: float,
    looks: int,
    measured: tuple[int, int | None],
) -> Space:
    """Return an arm for each batch size at rate 0.1, and for each further rate of the largest.

    measured: examples of a lambda_max, and of the mean of lambda_max over batches of so many.
    """
    of_a_batch, of_batches = measured
    return residual(
        question="Hynes: how do test error, lambda_max and the distance travelled depend on the batch size and on the rate?",
        num_train=num_train,
        depth=depth,
        epochs=epochs,
        falls=falls,
        arms=(
            *at_batches(sizes),
            *(Arm(f"batch_{sizes[-1]}_lr_{word(rate)}", batch_size=sizes[-1], lr=rate) for rate in rates),
        ),
        baseline=f"batch_{sizes[0]}",
        reference=f"batch_{sizes[-1]}",
        confirm_blocks=2,
        watched_blocks=1,
        watch=Watch(
            metrics=(
                LambdaMax(max_samples=of_a_batch),
                BatchLambdaMax(batch_size=of_a_batch, max_samples=of_batches),
            ),
            every_epochs=looks,
            splits=("train", "test"),
            test_error=True,
        ),
        walk=Walk(epochs=()),
    )


SPACE = Experiment(
    rows=(
        "maxibatch: figure 1",
        "maxibatch: figure 2, top",
        "maxibatch: figure 2, bottom",
        "maxibatch: Hessian-vector products",
        "maxibatch: lambda_max",
        "maxibatch: figure 3",
        "maxibatch: figure 4",
        "maxibatch: figure 5",
    ),
    small=space(2_000, 8, (50, 200, 1_000), (0.4,), 12, 8, 4, (250, 500)),
    paper=space(50_000, 32, (50, 100, 250, 500, 1_000, 5_000, 10_000), (0.2, 0.4, 0.8), 120, 80, 5, (500, None)),
    differs=(
        "2,000 of 50,000 train images",
        "8 layers in place of 32",
        "12 epochs, the rate falls at 8",
        "batches of 50, 200 and 1,000",
        "lambda_max on 250 images, and over 2 test batches of 250",
    ),
    cost="about 10 minutes on two cores, by a dry run",
    paper_cost="about 108 days on two busy cores, by a dry run",
)
