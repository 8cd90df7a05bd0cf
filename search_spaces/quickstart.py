"""Which of four remedies brings the accuracy back when digits are trained with the whole train set as one batch?"""

from tune_lb import Arm, Epochs, Space, over
from tune_lb.data import Digits
from tune_lb.metrics import AdaptiveSharpness, Keskar, LambdaMax
from tune_lb.models import MLP
from tune_lb.optimizers import SGD
from tune_lb.remedies import SAM, GhostBatchNorm, GradientNoise, Warmup
from tune_lb.schedules import Cosine

NOISE = GradientNoise(alpha=over(1e-9, 1e-3, log=True), gamma=over(0.0, 1.0))
SHARPNESS_AWARE = SAM(rho=over(0.02, 1.0, log=True))
GHOST = GhostBatchNorm(ghost_batch_size=over([10, 20, 40, 100]))
WARMUP = Warmup(epochs=over(1.0, 8.0))

SPACE = Space(
    question="Digits, 400 train images, batch 20 against all 400: what brings the accuracy back?",
    data=Digits(num_train=400, num_validation=400),
    model=MLP(hidden=(128, 128, 128)),
    optimizer=SGD(momentum=0.9),
    schedule=Cosine(),
    budget=Epochs(20),
    eta_over_b=over(1e-4, 3e-3, log=True),
    batch_size=400,
    num_samples=24,
    candidates=5,
    decide_blocks=6,
    confirm_blocks=24,
    block_seeds=1,
    arms=(
        Arm("small_batch", batch_size=20),
        Arm("large_batch"),
        Arm("noise", NOISE),
        Arm("sam", SHARPNESS_AWARE),
        Arm("ghost_norm", GHOST),
        Arm("warmup", WARMUP),
        Arm("all", NOISE, SHARPNESS_AWARE, GHOST, WARMUP, combines=("noise", "sam", "ghost_norm", "warmup")),
    ),
    baseline="small_batch",
    reference="large_batch",
    metrics=(LambdaMax(), Keskar(spaces=("full",)), AdaptiveSharpness()),
)
