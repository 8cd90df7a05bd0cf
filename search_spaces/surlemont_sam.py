"""Surlemont et al., figures 1 to 4: SGD and Adam with and without SAM, loss and sharpness against the batch size.

As published: a small convolutional network (32, 64, "intermediate maxpooling and drop-out layers", one dense layer), p = 2; no
data set, batch sizes, rho, rates or numbers are given. SAM is said to be worse on test data, sharper at large batches, and to
take twice as long. The implementation that it says it used trains SAM without dropout, so an arm without dropout stands
beside. Assumed: MNIST, rho 0.05, 12 epochs.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Epochs, Experiment, Space, Watch
from tune_lb.data import MNIST
from tune_lb.metrics import Keskar, LambdaMax, ParameterNorm
from tune_lb.models import SmallCNN
from tune_lb.optimizers import SGD, Adam
from tune_lb.remedies import SAM
from tune_lb.schedules import Constant

OPTIMIZERS = (("sgd", SGD(momentum=0.0), 0.05), ("adam", Adam(), 1e-3))


def space(num_train: int, sizes: tuple[int, ...], epochs: float, seeds: int, max_samples: int) -> Space:
    """Return each optimiser at each batch size, plain, with SAM, and with SAM and no dropout at the largest."""
    arms = [
        Arm(f"{name}_{size}{suffix}", *remedies, batch_size=size, optimizer=optimizer, lr=lr)
        for name, optimizer, lr in OPTIMIZERS
        for size in sizes
        for suffix, remedies in (("", ()), ("_sam", (SAM(rho=0.05),)))
    ]
    arms += [
        Arm(
            f"{name}_{sizes[-1]}_no_dropout{suffix}",
            *remedies,
            batch_size=sizes[-1],
            optimizer=optimizer,
            lr=lr,
            model=SmallCNN(dropout=0.0, dropout_after="each_pool"),
        )
        for name, optimizer, lr in OPTIMIZERS
        for suffix, remedies in (("", ()), ("_sam", (SAM(rho=0.05),)))
    ]
    return Space(
        question="Surlemont et al.: is SAM worse, and sharper, at large batches, with SGD and with Adam?",
        data=MNIST(num_train=num_train, num_validation=0),
        model=SmallCNN(dropout_after="each_pool"),
        schedule=Constant(),
        budget=Epochs(epochs),
        arms=tuple(arms),
        baseline=f"sgd_{sizes[0]}",
        reference=f"sgd_{sizes[-1]}",
        confirm_blocks=seeds,
        metrics=(Keskar(spaces=("full",), max_samples=max_samples), LambdaMax(max_samples=max_samples)),
        watched_blocks=1,
        watch=Watch(metrics=(ParameterNorm(),), test_error=True),
        **UNTUNED,
    )


SPACE = Experiment(
    rows=(
        "surlemont: figure 1",
        "surlemont: figure 2",
        "surlemont: figure 3",
        "surlemont: figure 4",
        "surlemont: run time",
    ),
    small=space(2_000, (32, 128, 500), 10, 2, 200),
    paper=space(60_000, (32, 128, 512, 2_048, 8_192), 12, 5, 10_000),
    differs=(
        "2,000 of 60,000 train images",
        "batches of 32, 128 and 500",
        "10 epochs",
        "sharpness on 200 images",
    ),
    paper_differs=("the paper gives no data set, batch sizes, rates, rho or epochs: all are assumed",),
    cost="about 15 minutes on two cores, by its own estimate after 2 of 32 members",
    paper_cost="about 9 days on two busy cores, by a dry run",
)
