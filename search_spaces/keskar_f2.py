"""Keskar et al. (2017), tables 2 to 4, network F2 on TIMIT: how much does a large batch lose, and is it sharper?

As published: ADAM, batch 256 against 72,133 (a tenth of 721,329 frames), 5 seeds. Published: 64.02 +- 0.2 against 59.45 +- 1.05 %
on test frames; sharpness (eps 1e-3) 1.39 against 310.64. The corpus is not free: `tune-lb data TIMIT` says what files are read.
"""

from search_spaces._keskar import regimes
from tune_lb import Experiment
from tune_lb.data import TIMIT
from tune_lb.models import F2, Initialization

START = Initialization("glorot_uniform")
SPACE = Experiment(
    rows=("keskar: table 2", "keskar: table 3", "keskar: table 4"),
    small=regimes(
        question="Keskar et al. (2017), F2 on a part of TIMIT: batch 64 against a tenth, as in tables 2 to 4",
        small=64,
        large=2_000,
        epochs=10,
        seeds=2,
        max_samples=1_000,
        data=TIMIT(num_train=20_000, num_validation=0),
        model=F2(),
        initialization=START,
    ),
    paper=regimes(
        question="Keskar et al. (2017), F2 on TIMIT: batch 256 against a tenth, as in tables 2 to 4",
        large=72_133,
        epochs=100,
        seeds=5,
        max_samples=721_329,
        data=TIMIT(),
        model=F2(),
        initialization=START,
    ),
    differs=(
        "20,000 of 721,329 train frames, so batches of 64 and 2,000",
        "10 epochs in place of 100",
        "2 seeds in place of 5",
        "sharpness on 1,000 frames",
    ),
    cost="not measured: the corpus is not free",
    paper_cost="not measured: the corpus is not free",
)
