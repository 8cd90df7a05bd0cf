"""Every remedy in an arm of its own, on digits: which brings the accuracy of the small batch back, at what cost?

A quarter of an hour on two cores. Arms share quasi-random points in the rate, so that they differ in the remedy alone; the
ranges of the remedies' own fields are wide and their samples few: a remedy that fails here was not tuned for long.

Beside the arms below run large_batch with the small batch's rate (copied) and rate per example (scaled), a placebo, and,
for arms that take c gradients per update, large_batch trained c times as long: compare those arms with it.
"""

from tune_lb import Arm, Space, over
from tune_lb.budgets import Epochs, Updates
from tune_lb.data import Digits
from tune_lb.metrics import LambdaMax
from tune_lb.models import MLP
from tune_lb.optimizers import LAMB, LARS, SGD, Muon
from tune_lb.remedies import (
    EMA,
    LAWA,
    SAM,
    SWA,
    AdaptiveLinearization,
    AdaScale,
    Adversarial,
    Augmentation,
    BatchGrowth,
    Conservative,
    FisherNoise,
    GhostBatchNorm,
    GradientNoise,
    GradientNormPenalty,
    InitialVarianceNoise,
    LabelSmoothing,
    LayerNoise,
    Mixup,
    MultiplicativeNoise,
    PostLocalSGD,
    Scaling,
    Stability,
    SubsampleBatchNorm,
    WarmStart,
    Warmup,
)
from tune_lb.schedules import Constant, Cosine, Cyclical, Trapezoid

NOISE = (
    Arm("noise", GradientNoise(alpha=over(1e-9, 1e-3, log=True), gamma=over(0.0, 1.0))),
    Arm("fixed_noise", GradientNoise(alpha=over(1e-9, 1e-3, log=True), gamma=0.0)),
    Arm("initial_variance_noise", InitialVarianceNoise(factor=over(1e-4, 1.0, log=True), piece_size=20)),
    # a piece of 20 and 20 updates: variances are measured four times
    Arm("layer_noise", LayerNoise(scale=over(0.03, 3.0, log=True), small_batch_size=20, every=5)),
    # the same, but a variance for each weight
    Arm("fisher_noise", FisherNoise(scale=over(0.03, 3.0, log=True), small_batch_size=20, every=5)),
    Arm("multiplicative_noise", MultiplicativeNoise(small_batch_size=over([20, 50, 100, 200]))),
    # noise of the same trace, but white: what is left of the difference is the covariance's
    Arm("white_control", MultiplicativeNoise(small_batch_size=over([20, 50, 100, 200]), covariance="isotropic")),
)
SHARPNESS_AWARE = (
    Arm("sam", SAM(rho=over(0.02, 1.0, log=True))),
    Arm("m_sam", SAM(rho=over(0.02, 1.0, log=True), m=over([20, 50, 100, 200]))),
    Arm("asam", SAM(rho=over(0.2, 5.0, log=True), adaptive=True)),
    # as long in the 2-norm as the others' balls, of 40,000 weights
    Arm("max_norm_sam", SAM(rho=over(1e-4, 5e-3, log=True), p=1e9)),
    Arm("sam_now_and_then", SAM(rho=over(0.02, 1.0, log=True), every=5)),
    Arm("norm_penalty", GradientNormPenalty(coefficient=over(1e-3, 1.0, log=True), m=over([20, 50, 100, 200]))),
    Arm("linearization", AdaptiveLinearization(delta_plus=over(0.01, 0.2, log=True), every=10, products=5)),
)
BATCHES = (
    Arm("ghost_norm", GhostBatchNorm(ghost_batch_size=over([10, 20, 40, 100]))),
    Arm("subsample_norm", SubsampleBatchNorm(num_examples=over([20, 50, 100]))),
    Arm("warm_start", WarmStart(epochs=over(1.0, 10.0), batch_size_before=20)),
    Arm("batch_growth", BatchGrowth(initial=20, factor=over(1.5, 5.0), every=over(1.0, 6.0))),
    Arm(
        "growth_for_decay",
        BatchGrowth(initial=20, factor=over(1.5, 5.0), every=over(2.0, 8.0), decay=True),
        schedule=Constant(),
    ),
    # its pieces are ghost groups too: compare it with ghost_norm
    Arm(
        "post_local_sgd",
        PostLocalSGD(local_batch_size=over([20, 50, 100]), local_steps=over([2, 4]), start=over(0.0, 0.8)),
    ),
)
RATES = (
    Arm("warmup", Warmup(epochs=over(1.0, 8.0))),
    # the same rates as the others': 20 eta_over_b, of batch 20, by linear, square-root and no scaling
    Arm(
        "scaling",
        Scaling(base_batch_size=20, power=over([0.0, 0.5, 1.0])),
        lr=over(2e-3, 6e-2, log=True),
        eta_over_b=None,
    ),
    # the rate of the pieces, scaled by what their noise allows
    Arm("adascale", AdaScale(small_batch_size=over([20, 50, 100])), lr=over(2e-3, 6e-2, log=True), eta_over_b=None),
    Arm("trapezoid", schedule=Trapezoid()),
    Arm("cyclical", schedule=Cyclical()),
    Arm("regime_adaptation", budget=Updates(400)),
    Arm("lars", optimizer=LARS(), lr=over(0.3, 30.0, log=True), eta_over_b=None),
    Arm("lamb", optimizer=LAMB(), lr=over(1e-3, 0.3, log=True), eta_over_b=None),
    Arm("muon", optimizer=Muon(), lr=over(1e-3, 0.3, log=True), eta_over_b=None),
)
EXAMPLES = (
    Arm("augmentation", Augmentation(rotation=over(0.0, 20.0), shift=over(0.0, 0.15), image_shape=(8, 8))),
    Arm("adversarial", Adversarial(eps=over(0.01, 0.5, log=True))),
    Arm("stability", Stability(alpha=over(0.01, 1.0, log=True), sigma=over(0.05, 1.0, log=True))),
    Arm("conservative", Conservative(iterations=3, lam=over(1e-3, 10.0, log=True))),
    Arm("label_smoothing", LabelSmoothing(smoothing=over(0.01, 0.3))),
    Arm("mixup", Mixup(alpha=over(0.05, 1.0, log=True))),
)
AVERAGES = (
    # one epoch is one update: half-lives in updates
    Arm("ema", EMA(half_life=over(0.5, 8.0, log=True), others=(1.0, 2.0, 4.0))),
    Arm("swa", SWA(start=over(0.5, 0.9), every=1.0), schedule=Constant()),
    Arm("lawa", LAWA(num_snapshots=over(2, 10, log=True, integer=True), others=(2, 4, 8))),
)

SPACE = Space(
    question="Digits, 400 train images, batch 20 against all 400: what does every remedy by itself bring back?",
    data=Digits(num_train=400, num_validation=400),
    model=MLP(hidden=(128, 128, 128)),
    optimizer=SGD(momentum=0.9),
    schedule=Cosine(),
    budget=Epochs(20),
    eta_over_b=over(1e-4, 3e-3, log=True),
    batch_size=400,
    num_samples=16,
    candidates=3,
    decide_blocks=2,
    confirm_blocks=18,
    block_seeds=1,
    arms=(
        Arm("small_batch", batch_size=20),
        Arm("large_batch"),
        *NOISE,
        *SHARPNESS_AWARE,
        *BATCHES,
        *RATES,
        *EXAMPLES,
        *AVERAGES,
    ),
    baseline="small_batch",
    reference="large_batch",
    metrics=(LambdaMax(),),
)
