"""Keskar et al. (2017), tables 2 to 4, network F1 on MNIST: does a large batch generalize worse and end sharper?

As published: ADAM, batch 256 against 6,000 (a tenth of the train images), 5 seeds, nothing tuned, until the loss stops
improving. Published: 98.03 +- 0.07 against 97.81 +- 0.07 % on test images; sharpness (eps 1e-3) 1.23 against 205.14. Assumed
where the paper is silent: rate 1e-3, pixels / 255 as in their code for CIFAR (small scale), Glorot's uniform start (Keras 1), a
patience of 5 epochs and 60 epochs at most.
"""

from search_spaces._keskar import regimes
from tune_lb import Experiment
from tune_lb.budgets import UntilPlateau
from tune_lb.data import MNIST
from tune_lb.metrics import Keskar, LambdaMax
from tune_lb.models import F1, Initialization

START = Initialization("glorot_uniform")
SPACE = Experiment(
    rows=("keskar: table 2", "keskar: table 3", "keskar: table 4"),
    small=regimes(
        question="Keskar et al. (2017), F1 on 10,000 images of MNIST: batch 40 against 1,000, as in tables 2 to 4",
        small=40,
        large=1_000,
        epochs=20,
        seeds=3,
        max_samples=1_000,
        data=MNIST(num_train=10_000, num_validation=0, pixels="unit"),
        model=F1(),
        initialization=START,
    ),
    # all 60,000 images train, so nothing can be selected, and nothing is: every field is fixed
    paper=regimes(
        question="Keskar et al. (2017), tables 2 to 4, network F1: MNIST, batch 256 against 6,000, nothing tuned, as in the paper",
        large=6_000,
        epochs=60,
        seeds=5,
        max_samples=6_000,
        data=MNIST(num_train=60_000, num_validation=0),
        model=F1(),
        initialization=START,
        budget=UntilPlateau(patience=5, tolerance=1e-3, max_epochs=60.0),
        metrics=(Keskar(max_samples=6_000), LambdaMax()),
    ),
    differs=(
        "10,000 of 60,000 train images, so batches of 40 and 1,000: the same shares of them",
        "20 epochs",
        "3 seeds in place of 5",
        "sharpness on 1,000 images",
    ),
    # as the committed run, docs/results/keskar_f1, was made
    paper_differs=("sharpness on 6,000 of the 60,000 images", "pixels standardized"),
    cost="6 members in 11 minutes on two busy cores",
    paper_cost="10 members in 35 minutes on two cores",
)
