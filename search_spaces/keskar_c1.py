"""Keskar et al. (2017), tables 2 to 4, network C1 on CIFAR-10: does a large batch generalize worse and end sharper?

As published: ADAM, batch 256 against 5,000 (a tenth of the train images), 5 seeds, nothing tuned. Published: 80.04 +- 0.12
against 77.26 +- 0.42 % on test images; sharpness (eps 1e-3) 28.58 against 707.23. Assumed where the paper is silent: rate
1e-3, pixels / 255 as in their code ("without any pre-processing" in the text), 100 epochs (figure 2), Glorot's uniform start
(Keras 1), random subspaces of N(0, 1).

Figures 3 and 7: `tune-lb landscape RUN small_batch large_batch`; figure 2, figure 6 and the distances: the history of the
watched members.
"""

from search_spaces._keskar import regimes
from tune_lb import Experiment, Watch
from tune_lb.data import CIFAR10
from tune_lb.metrics import Anisotropy, Keskar, LambdaMax
from tune_lb.models import C1, Initialization

START = Initialization("glorot_uniform")
SPACE = Experiment(
    rows=(
        "keskar: figure 1",
        "keskar: table 2",
        "keskar: table 3",
        "keskar: table 4",
        "keskar: figure 2",
        "keskar: figure 3",
        "keskar: figure 7",
        "keskar: distance from the start",
        "keskar: figure 6",
        "keskar: anisotropy",
    ),
    small=regimes(
        question="Keskar et al. (2017), C1 on 5,000 images of CIFAR-10: batch 25 against 500, as in tables 2 to 4",
        small=25,
        large=500,
        epochs=30,
        # three told nothing of the error (+1.24 points, 95 % interval -1.05 to 3.53): twice as many were set before they were run
        seeds=6,
        max_samples=500,
        data=CIFAR10(num_train=5_000, num_validation=0, pixels="unit"),
        model=C1(),
        initialization=START,
        metrics=(Keskar(max_samples=500), LambdaMax(max_samples=500), Anisotropy(max_samples=500)),
        watched_blocks=1,
        # figure 6 goes along a training, from losses at which both are alike
        watch=Watch(
            metrics=(Keskar(spaces=("full",), max_samples=500),), every_epochs=5, test_error=True, steps=(0, 5, 10, 20)
        ),
    ),
    paper=regimes(
        question="Keskar et al. (2017), C1 on CIFAR-10: batch 256 against a tenth, as in tables 2 to 4",
        large=5000,
        epochs=100,
        seeds=5,
        max_samples=50_000,
        data=CIFAR10(num_train=50_000, num_validation=0, pixels="unit"),
        model=C1(),
        initialization=START,
        metrics=(Keskar(max_samples=50_000), LambdaMax(max_samples=50_000), Anisotropy(max_samples=50_000)),
        watched_blocks=1,
        watch=Watch(
            metrics=(Keskar(spaces=("full",), max_samples=5_000),),
            every_epochs=5,
            test_error=True,
            steps=(0, 5, 10, 20),
        ),
    ),
    differs=(
        "5,000 of 50,000 train images, so batches of 25 and 500: the same shares of them",
        "30 epochs in place of 100",
        "6 seeds in place of 5",
        "sharpness on 500 images",
    ),
    cost="12 members in 26 minutes on two cores",
    paper_cost="about 26 hours on two busy cores, by a dry run",
)
