"""Keskar et al. (2017), tables 2 to 4, network C3 on CIFAR-100: does a large batch generalize worse and end sharper?

As published: ADAM, batch 256 against 5,000 (a tenth of the train images), 5 seeds, nothing tuned. Published: 49.58 +- 0.39
against 46.45 +- 0.43 % on test images; sharpness (eps 1e-3) 29.85 against 258.75. Assumed where the paper is silent: rate
1e-3, pixels / 255 as in their code ("without any pre-processing" in the text), 100 epochs (figure 2), Glorot's uniform start
(Keras 1), random subspaces of N(0, 1).
"""

from search_spaces._keskar import regimes
from tune_lb import Experiment
from tune_lb.data import CIFAR100
from tune_lb.models import C3, Initialization

START = Initialization("glorot_uniform")
SPACE = Experiment(
    rows=("keskar: table 2", "keskar: table 3", "keskar: table 4"),
    small=regimes(
        question="Keskar et al. (2017), C3 on 5,000 images of CIFAR-100: batch 25 against 500, as in tables 2 to 4",
        small=25,
        large=500,
        epochs=30,
        seeds=3,
        max_samples=500,
        data=CIFAR100(num_train=5_000, num_validation=0, pixels="unit"),
        model=C3(),
        initialization=START,
    ),
    paper=regimes(
        question="Keskar et al. (2017), C3 on CIFAR-100: batch 256 against a tenth, as in tables 2 to 4",
        large=5000,
        epochs=100,
        seeds=5,
        max_samples=50_000,
        # all that the files hold: 50,000 where they are the whole set
        data=CIFAR100(num_validation=0, pixels="unit"),
        model=C3(),
        initialization=START,
    ),
    differs=(
        "5,000 of 50,000 train images, so batches of 25 and 500: the same shares of them",
        "30 epochs in place of 100",
        "3 seeds in place of 5",
        "sharpness on 500 images",
    ),
    paper_differs=("where the files hold a subset of CIFAR-100, as many images as that",),
    cost="6 members in 13 minutes on two busy cores",
    paper_cost="about 24 hours on two busy cores, by a dry run",
)
