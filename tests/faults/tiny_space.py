"""A space of two arms, twelve members of a few milliseconds each."""

from tune_lb import Arm, Epochs, Space, over
from tune_lb.data import Digits
from tune_lb.metrics import ParameterNorm
from tune_lb.models import MLP

SPACE = Space(
    question="Does it help?",
    data=Digits(num_train=60, num_validation=60),
    model=MLP(hidden=(4,)),
    lr=over(0.01, 0.3, log=True),
    budget=Epochs(1),
    batch_size=30,
    arms=(Arm("small", batch_size=10), Arm("large")),
    baseline="small",
    reference="large",
    derived=False,
    placebo=False,
    num_samples=2,
    candidates=2,
    decide_blocks=1,
    confirm_blocks=2,
    block_seeds=1,
    execution="alone",
    metrics=(ParameterNorm(),),
    crossings=None,
)
