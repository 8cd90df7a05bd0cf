"""Keskar et al. (2017), tables 2 to 4, network C2 on CIFAR-10: does a large batch generalize worse and end sharper?

As published: ADAM, batch 256 against 5,000 (a tenth of the train images), 5 seeds, nothing tuned. Published: 89.24 +- 0.12
against 87.26 +- 0.07 % on test images; sharpness (eps 1e-3) 8.68 against 925.32. Assumed where the paper is silent: rate 1e-3,
pixels / 255 as in their code ("without any pre-processing" in the text), 100 epochs (figure 2), Glorot's uniform start (Keras
1), random subspaces of N(0, 1).
"""

from search_spaces._keskar import regimes
from tune_lb import Experiment
from tune_lb.data import CIFAR10
from tune_lb.metrics import Keskar
from tune_lb.models import C2, Initialization

START = Initialization("glorot_uniform")
SPACE = Experiment(
    rows=("keskar: table 2", "keskar: table 3", "keskar: table 4"),
    small=regimes(
        question="Keskar et al. (2017), C2 on 1,000 images of CIFAR-10: batch 10 against 100, as in tables 2 and 3",
        small=10,
        large=100,
        epochs=10,
        seeds=2,
        max_samples=100,
        metrics=(Keskar(spaces=("full",), max_samples=100),),
        data=CIFAR10(num_train=1_000, num_validation=0, pixels="unit"),
        model=C2(),
        initialization=START,
    ),
    paper=regimes(
        question="Keskar et al. (2017), C2 on CIFAR-10: batch 256 against a tenth, as in tables 2 to 4",
        large=5000,
        epochs=100,
        seeds=5,
        max_samples=50_000,
        data=CIFAR10(num_train=50_000, num_validation=0, pixels="unit"),
        model=C2(),
        initialization=START,
    ),
    differs=(
        "1,000 of 50,000 train images, so a large batch of 100, a tenth, and a small one of 10",
        "10 epochs in place of 100",
        "2 seeds in place of 5",
        "sharpness on 100 images, in the full space alone: nothing of table 4",
    ),
    cost="about half an hour on two cores, by a dry run",
    paper_cost="about 96 days on two busy cores, by a dry run",
)
