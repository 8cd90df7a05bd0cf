"""Hynes (maxi-batch SGD), sections 2.1 and 2.4: gradient noise and batch-norm statistics as causes of the drop.

Published, without numbers: white noise of one fixed variance on the gradients that enter each convolution does not help and can
destabilise; noise with the layer-wise variances of the batch of 50, measured on its own model, neither; statistics of 50 inputs in
place of the batch's lower the accuracy slightly. Assumed: the variances of white noise (three sizes), noise on the weights'
gradients beside that on the back-propagated ones.
"""

from search_spaces._maxibatch import residual
from search_spaces._published import word
from tune_lb import Arm, Experiment, Space, Watch
from tune_lb.remedies import GradientNoise, LayerNoise, SubsampleBatchNorm


def space(num_train: int, depth: int, large: int, epochs: float, falls: float, seeds: int, kept: int) -> Space:
    """Return batch 50, a large batch, and the large batch with each kind of noise and with statistics of 50 examples.

    kept: epochs from one measurement of the small batch's variances to the next.
    """
    return residual(
        question="Hynes: does noise, white or as the small batch has it in each layer, bring a large batch back?",
        num_train=num_train,
        depth=depth,
        epochs=epochs,
        falls=falls,
        batch_size=large,
        arms=(
            Arm("small_batch", batch_size=50),
            Arm("large_batch"),
            *(
                Arm(f"white_{word(alpha)}", GradientNoise(alpha=alpha, gamma=0.0, layers="convolutions"))
                for alpha in (1e-8, 1e-6, 1e-4)
            ),
            Arm("white_back_propagated", GradientNoise(alpha=1e-10, gamma=0.0, layers="convolutions", on="activation")),
            Arm(
                "layer_wise",
                LayerNoise(scale=1.0, small_batch_size=50, profile_of="small_batch", layers="convolutions"),
            ),
            Arm("statistics_of_50", SubsampleBatchNorm(num_examples=50)),
        ),
        baseline="small_batch",
        reference="large_batch",
        confirm_blocks=seeds,
        watch=Watch(metrics=(), keep_weights=kept, keep_weights_of=("small_batch",)),
    )


SPACE = Experiment(
    rows=("maxibatch: isotropic noise", "maxibatch: layer-wise noise", "maxibatch: section 2.1"),
    small=space(2_000, 8, 500, 12, 8, 2, 1),
    paper=space(50_000, 32, 5_000, 120, 80, 5, 5),
    differs=(
        "2,000 of 50,000 train images",
        "8 layers in place of 32",
        "12 epochs, the rate falls at 8",
        "a large batch of 500",
    ),
    cost="about 25 minutes on two cores, by a dry run",
    paper_cost="about 63 days on two busy cores, by a dry run",
)
