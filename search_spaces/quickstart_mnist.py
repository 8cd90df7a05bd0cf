"""The ten-minute demonstration: MNIST with 2,000 train images, batch 32 against 1,000, with every remedy searched."""

from tune_lb import Arm, Epochs, Space, over
from tune_lb.data import MNIST
from tune_lb.metrics import AdaptiveSharpness, Keskar, LambdaMax
from tune_lb.models import MLP
from tune_lb.optimizers import SGD
from tune_lb.remedies import SAM, GhostBatchNorm, GradientNoise, Warmup
from tune_lb.schedules import Cosine

NOISE = GradientNoise(alpha=over(1e-9, 1e-4, log=True), gamma=over(0.0, 1.0))
SHARPNESS_AWARE = SAM(rho=over(0.02, 1.0, log=True))
GHOST = GhostBatchNorm(ghost_batch_size=over([20, 50, 100, 200, 500]))
WARMUP = Warmup(epochs=over(1.0, 8.0))

SPACE = Space(
    question="MNIST, 2,000 train images, batch 32 against 1,000: what brings the accuracy back?",
    data=MNIST(num_train=2_000, num_validation=4_000),
    model=MLP(hidden=(128, 128, 128)),
    optimizer=SGD(momentum=0.9),
    schedule=Cosine(),
    budget=Epochs(20),
    eta_over_b=over(1e-4, 3e-3, log=True),
    batch_size=1_000,
    num_samples=20,
    candidates=4,
    decide_blocks=4,
    confirm_blocks=20,
    block_seeds=1,
    arms=(
        Arm("small_batch", batch_size=32),
        Arm("large_batch"),
        Arm("noise", NOISE),
        Arm("sam", SHARPNESS_AWARE),
        Arm("ghost_norm", GHOST),
        Arm("warmup", WARMUP),
        Arm("longer", budget=Epochs(100)),
        Arm("all", NOISE, SHARPNESS_AWARE, GHOST, WARMUP, combines=("noise", "sam", "ghost_norm", "warmup")),
    ),
    baseline="small_batch",
    reference="large_batch",
    metrics=(LambdaMax(), Keskar(spaces=("full",)), AdaptiveSharpness()),
)
