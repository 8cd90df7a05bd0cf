"""Jaiswal and Taura, figures 4 to 6 and table 2: Caltech-101 with ResNet-50, eta / B kept, with and without noise that decays.

As published: eta / B = 0.01 / 32, the rate falls by 10 % at epochs 25, 40 and every tenth after. Published validation
accuracy: 74.45 % at batch 32, 70.29 at 64, 67.86 at 128; with noise (alpha 1e-5, gamma 0.55) 72.07 at 64 and 71.01 +- 0.42 at
128; training longer brings nothing. Assumed: momentum 0.9, no weight decay, no pretraining, 60 epochs, 64 x 64 pixels, "by 10
%" as a factor of 0.9. Their 9,147 images are with the background class: where the files hold it, give data.background=true.
Figure 6: `tune-lb landscape RUN batch_32 batch_128`.
"""

from search_spaces._published import UNTUNED, at_batches
from tune_lb import Arm, Epochs, Experiment, Space, Watch
from tune_lb.data import Caltech101
from tune_lb.metrics import ParameterNorm
from tune_lb.models import ResNet50, SmallCNN
from tune_lb.optimizers import SGD
from tune_lb.remedies import GradientNoise
from tune_lb.schedules import Step


def space(
    num_train: int | None,
    epochs: float,
    milestones: tuple[float, ...],
    every: float,
    seeds: int,
    model: object,
) -> Space:
    """Return batches of 32, 64 and 128 at equal eta / B, the larger ones with noise and trained twice as long too."""
    noise = GradientNoise(alpha=1e-5, gamma=0.55)
    return Space(
        question="Jaiswal and Taura: at equal eta / B, how much does a larger batch lose, and does decaying noise bring it back?",
        data=Caltech101(num_train=num_train, num_validation=0),
        model=model,
        optimizer=SGD(momentum=0.9),
        eta_over_b=0.01 / 32,
        schedule=Step(milestones=milestones, drop=0.9, every=every, milestone_unit="epochs"),
        budget=Epochs(epochs),
        arms=(
            *at_batches((32, 64, 128)),
            Arm("batch_64_noise", noise, batch_size=64),
            Arm("batch_128_noise", noise, batch_size=128),
            Arm("batch_128_longer", batch_size=128, budget=Epochs(2 * epochs)),
        ),
        baseline="batch_32",
        reference="batch_128",
        confirm_blocks=seeds,
        watched_blocks=1,
        watch=Watch(metrics=(ParameterNorm(),), test_error=True),
        **UNTUNED,
    )


SPACE = Experiment(
    rows=("jaiswal: figure 4", "jaiswal: figure 5", "jaiswal: figure 6", "jaiswal: table 2"),
    small=space(2_000, 12, (5.0, 8.0), 2.0, 2, SmallCNN()),
    paper=space(None, 60, (25.0, 40.0), 10.0, 3, ResNet50()),
    differs=(
        "SmallCNN in place of ResNet-50",
        "2,000 of 6,903 train images",
        "12 epochs, the rate falls at 5, 8 and every second after",
        "images of 64 x 64 pixels, without the background class",
    ),
    paper_differs=(
        "images of 64 x 64 pixels",
        "8,677 images: without the background class, unless data.background=true",
    ),
    cost="12 members in 20 minutes on two cores",
    paper_cost="about 11 days on two busy cores, by a dry run",
)
