"""Every remedy in an arm of its own, on 2,000 images of MNIST with the network F1 of Keskar et al. (2017).

An hour or more on two cores, in which a member is 20 updates of 1,000 images: so 20 members an arm, eight of them
configurations of the search, and ranges narrowed to where the space `remedies` and the papers place them. The forms of a
remedy that `remedies` has in arms of their own (fixed noise, SAM in other norms, growth in place of decay, cyclical rates) are
left to it.

Beside the arms below run large_batch with the small batch's rate (copied) and rate per example (scaled), a placebo, and, for
arms that take c gradients per update, large_batch trained c times as long: compare those arms with it.
"""

from tune_lb import Arm, Space, over
from tune_lb.budgets import Epochs, Updates
from tune_lb.data import MNIST
from tune_lb.metrics import LambdaMax
from tune_lb.models import F1
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
from tune_lb.schedules import Constant, Cosine, Trapezoid

NOISE = (
    Arm("noise", GradientNoise(alpha=over(1e-9, 1e-5, log=True), gamma=0.55)),
    Arm("initial_variance_noise", InitialVarianceNoise(factor=over(1e-6, 1e-2, log=True), piece_size=50)),
    # a piece of 50 and 20 updates: variances are measured twice
    Arm("layer_noise", LayerNoise(scale=over(0.03, 3.0, log=True), small_batch_size=50, every=10)),
    # the same, but a variance for each weight
    Arm("fisher_noise", FisherNoise(scale=over(0.03, 3.0, log=True), small_batch_size=50, every=10)),
    Arm("multiplicative_noise", MultiplicativeNoise(small_batch_size=over([32, 100, 250, 500]))),
    # noise of the same trace, but white: what is left of the difference is the covariance's
    Arm("white_control", MultiplicativeNoise(small_batch_size=over([32, 100, 250, 500]), covariance="isotropic")),
)
SHARPNESS_AWARE = (
    Arm("sam", SAM(rho=over(0.02, 1.0, log=True))),
    Arm("m_sam", SAM(rho=over(0.02, 1.0, log=True), m=over([50, 100, 250]))),
    Arm("asam", SAM(rho=over(0.2, 5.0, log=True), adaptive=True)),
    Arm("norm_penalty", GradientNormPenalty(coefficient=over(1e-3, 1.0, log=True), m=over([50, 100, 250]))),
    Arm("linearization", AdaptiveLinearization(delta_plus=over(0.01, 0.2, log=True), every=10, products=5)),
)
BATCHES = (
    Arm("ghost_norm", GhostBatchNorm(ghost_batch_size=over([20, 50, 100, 200]))),
    Arm("subsample_norm", SubsampleBatchNorm(num_examples=over([20, 50, 100]))),
    Arm("warm_start", WarmStart(epochs=over(0.5, 4.0), batch_size_before=32)),
    Arm("batch_growth", BatchGrowth(initial=32, factor=over(1.5, 5.0), every=over(0.5, 2.0))),
    # its pieces are ghost groups too: compare it with ghost_norm
    Arm(
        "post_local_sgd",
        PostLocalSGD(local_batch_size=over([50, 100, 250]), local_steps=over([2, 4]), start=over(0.0, 0.8)),
    ),
)
RATES = (
    Arm("warmup", Warmup(epochs=over(1.0, 5.0))),
    # the same rates as the others': 32 eta_over_b, of batch 32, by linear, square-root and no scaling
    Arm(
        "scaling",
        Scaling(base_batch_size=32, power=over([0.0, 0.5, 1.0])),
        lr=over(1.6e-3, 0.048, log=True),
        eta_over_b=None,
    ),
    # the rate of the pieces, scaled by what their noise allows
    Arm("adascale", AdaScale(small_batch_size=over([50, 100, 250])), lr=over(1.6e-3, 0.048, log=True), eta_over_b=None),
    Arm("trapezoid", schedule=Trapezoid()),
    # as many updates as the small batch makes would be 625: 31 times the work of an arm
    Arm("regime_adaptation", budget=Updates(100)),
    Arm("lars", optimizer=LARS(), lr=over(1.0, 30.0, log=True), eta_over_b=None),
    Arm("lamb", optimizer=LAMB(), lr=over(3e-3, 0.1, log=True), eta_over_b=None),
    Arm("muon", optimizer=Muon(), lr=over(3e-3, 0.1, log=True), eta_over_b=None),
)
EXAMPLES = (
    Arm("augmentation", Augmentation(rotation=over(0.0, 20.0), shift=over(0.0, 0.15), image_shape=(28, 28))),
    Arm("adversarial", Adversarial(eps=over(0.01, 0.5, log=True))),
    Arm("stability", Stability(alpha=over(0.01, 1.0, log=True), sigma=over(0.05, 1.0, log=True))),
    Arm("conservative", Conservative(iterations=2, lam=over(1e-3, 10.0, log=True))),
    Arm("label_smoothing", LabelSmoothing(smoothing=over(0.01, 0.3))),
    Arm("mixup", Mixup(alpha=over(0.05, 1.0, log=True))),
)
AVERAGES = (
    # one epoch is two updates
    Arm("ema", EMA(half_life=over(0.25, 4.0, log=True))),
    Arm("swa", SWA(start=over(0.5, 0.9), every=0.5), schedule=Constant()),
    Arm("lawa", LAWA(num_snapshots=over(2, 8, log=True, integer=True), every=0.5)),
)

SPACE = Space(
    question="MNIST, 2,000 train images, F1, batch 32 against 1,000: what does every remedy by itself bring back?",
    data=MNIST(num_train=2_000, num_validation=4_000),
    model=F1(),
    optimizer=SGD(momentum=0.9),
    schedule=Cosine(),
    budget=Epochs(10),
    eta_over_b=over(5e-5, 1.5e-3, log=True),
    batch_size=1_000,
    # 8 searched, the 2 best decided between in 2 blocks, one confirmed in 8
    members_per_arm=20,
    measured_blocks=4,
    crossings=None,
    arms=(
        Arm("small_batch", batch_size=32),
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
    # on all 2,000 images it would take longer than the training
    metrics=(LambdaMax(max_samples=500),),
)
