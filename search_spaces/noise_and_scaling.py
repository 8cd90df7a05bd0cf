"""Does gradient noise help a large batch whose rate is scaled linearly, and not one whose rate is the small batch's?

Jaiswal and Taura add noise on top of linear scaling (table 2) and gain; Hynes adds it without (section 2.4) and does not. Here both
on the same network: digits, the rate of the small batch and the one scaled linearly, each with and without noise whose alpha and
gamma are searched with the same budget.
"""

from tune_lb import Arm, Epochs, Space, over
from tune_lb.data import Digits
from tune_lb.models import MLP
from tune_lb.optimizers import SGD
from tune_lb.remedies import GradientNoise, Scaling
from tune_lb.schedules import Cosine

NOISE = GradientNoise(alpha=over(1e-8, 1e-2, log=True), gamma=over(0.0, 1.0))
SCALED = Scaling(base_batch_size=20, power=1.0)

SPACE = Space(
    question="Digits, batch 20 against all 400: does gradient noise help on top of linear scaling, and without it?",
    data=Digits(num_train=400, num_validation=400),
    model=MLP(hidden=(128, 128, 128)),
    optimizer=SGD(momentum=0.9),
    schedule=Cosine(),
    budget=Epochs(20),
    lr=0.02,
    batch_size=400,
    num_samples=24,
    candidates=5,
    decide_blocks=6,
    confirm_blocks=40,
    block_seeds=1,
    arms=(
        Arm("small_batch", batch_size=20),
        Arm("unscaled"),
        Arm("unscaled_noise", NOISE),
        Arm("scaled", SCALED),
        Arm("scaled_noise", SCALED, NOISE),
    ),
    baseline="small_batch",
    reference="unscaled",
    derived=False,
    placebo=False,
    compute_matched=False,
)
