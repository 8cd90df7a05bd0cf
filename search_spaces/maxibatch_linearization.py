"""Hynes (maxi-batch SGD), adaptive linearization: rectifiers made linear along the dominant eigenvector of the Hessian.

Published, without numbers: steps of 0.02, 0.05 and 1 lower the early lambda_max and the final gap a little and cost a little
accuracy. Assumed: an eigenvector's sign by the gradient, a move every 50 updates.
"""

from search_spaces._maxibatch import residual
from search_spaces._published import word
from tune_lb import Arm, Experiment, Space, Watch
from tune_lb.metrics import LambdaMax
from tune_lb.remedies import AdaptiveLinearization


def space(num_train: int, depth: int, large: int, epochs: float, falls: float, every: int, looks: int) -> Space:
    """Return batch 50, a large batch, and the large batch with each step of the slopes."""
    return residual(
        question="Hynes: does it help a large batch to make rectifiers linear along the Hessian's dominant eigenvector?",
        num_train=num_train,
        depth=depth,
        epochs=epochs,
        falls=falls,
        batch_size=large,
        arms=(
            Arm("small_batch", batch_size=50),
            Arm("large_batch"),
            *(
                Arm(f"linear_{word(step)}", AdaptiveLinearization(delta_plus=step, every=every))
                for step in (0.02, 0.05, 1.0)
            ),
        ),
        baseline="small_batch",
        reference="large_batch",
        confirm_blocks=2,
        watched_blocks=1,
        watch=Watch(metrics=(LambdaMax(max_samples=500),), every_epochs=looks),
    )


SPACE = Experiment(
    rows=("maxibatch: adaptive linearization",),
    small=space(2_000, 8, 500, 12, 8, 5, 4),
    paper=space(50_000, 32, 5_000, 120, 80, 50, 5),
    differs=(
        "2,000 of 50,000 train images",
        "8 layers in place of 32",
        "12 epochs, the rate falls at 8",
        "a large batch of 500",
    ),
    cost="10 members in 30 minutes on two busy cores",
    paper_cost="about 15 days on two busy cores, by a dry run",
)
