"""Does the network F1 of Keskar et al. (2017) generalize worse, and end sharper, when its batch is a tenth of MNIST?"""

from tune_lb import Arm, Space
from tune_lb.budgets import UntilPlateau
from tune_lb.data import MNIST
from tune_lb.metrics import Keskar, LambdaMax
from tune_lb.models import F1, Initialization
from tune_lb.optimizers import Adam
from tune_lb.schedules import Constant

SPACE = Space(
    question="Keskar et al. (2017), tables 2 to 4, network F1: MNIST, batch 256 against 6,000, nothing tuned, as in the paper",
    # all 60,000 images train, so nothing can be selected, and nothing is: every field is fixed
    data=MNIST(num_train=60_000, num_validation=0),
    model=F1(),
    initialization=Initialization("glorot_uniform"),
    optimizer=Adam(),
    lr=1e-3,
    schedule=Constant(),
    budget=UntilPlateau(patience=5, tolerance=1e-3, max_epochs=60.0),
    confirm_blocks=5,
    block_seeds=1,
    arms=(Arm("small_batch", batch_size=256), Arm("large_batch", batch_size=6_000)),
    baseline="small_batch",
    reference="large_batch",
    derived=False,
    placebo=False,
    # the paper measures on all 60,000; the time that takes on two cores is ten times this
    metrics=(Keskar(max_samples=6_000), LambdaMax()),
)
