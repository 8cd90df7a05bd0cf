"""Keskar et al. (2017), tables 2 to 4, network C1 on CIFAR-10: does a large batch generalize worse and end sharper?

As published: ADAM, batch 256 against 5,000 (a tenth of the train images), 5 seeds, nothing tuned. Published: 80.04 +- 0.12
against 77.26 +- 0.42 % on test images; sharpness (eps 1e-3) 28.58 against 707.23. Assumed where the paper is silent: rate 1e-3,
100 epochs (figure 2), Glorot's uniform start (Keras 1), random subspaces of N(0, 1).

Figures 3 and 7: `tune-lb landscape RUN small_batch large_batch`; figure 2, figure 6 and the distances: the history of the watched
members.
"""

from search_spaces._keskar import regimes
from tune_lb import Experiment, Watch
from tune_lb.data import CIFAR10
from tune_lb.metrics import Keskar
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
        question="Keskar et al. (2017), C1 on 5,000 images of CIFAR-10: batch 256 against a tenth, as in tables 2 to 4",
        large=500,
        epochs=30,
        seeds=3,
        max_samples=500,
        data=CIFAR10(num_train=5000, num_validation=0),
        model=C1(),
        initialization=START,
        watch=Watch(metrics=(Keskar(spaces=("full",), max_samples=500),), every_epochs=5),
    ),
    paper=regimes(
        question="Keskar et al. (2017), C1 on CIFAR-10: batch 256 against a tenth, as in tables 2 to 4",
        large=5000,
        epochs=100,
        seeds=5,
        max_samples=50_000,
        data=CIFAR10(num_train=50_000, num_validation=0),
        model=C1(),
        initialization=START,
        watch=Watch(metrics=(Keskar(spaces=("full",), max_samples=5_000),), every_epochs=5),
    ),
    differs=(
        "5,000 of 50,000 train images, so a large batch of 500",
        "30 epochs in place of 100",
        "3 seeds in place of 5",
        "sharpness on 500 images",
    ),
    cost="not measured",
    paper_cost="not measured",
)
