"""Xing et al. (2018, A Walk with SGD), figure 5: gradient descent with isotropic noise, and what rescues it.

As published: gradient descent, gradient descent with white noise whose variance is a factor times the largest gradient variance
at the start (two factors, not legible), SGD; afterwards a lower rate, plain gradient descent or SGD from where the noise ended.
Published: noise is worse in loss and accuracy than none and travels farther; only SGD leads out of where it is stuck. Assumed:
MNIST and an MLP in place of VGG-11 at the small scale; factors 0.01 and 0.1.
"""

from search_spaces._published import UNTUNED, word
from tune_lb import Arm, Epochs, Experiment, Phase, Space, Walk
from tune_lb.data import CIFAR10, MNIST
from tune_lb.metrics import LambdaMax, ParameterNorm
from tune_lb.models import MLP, VGG11
from tune_lb.optimizers import SGD
from tune_lb.remedies import InitialVarianceNoise
from tune_lb.schedules import Constant

RATE = 0.1


def space(num_train: int, updates: int, factors: tuple[float, float], seeds: int, **settings: object) -> Space:
    """Return descent with and without noise, SGD with as many updates, and three ways to go on after the stronger noise."""
    noise = InitialVarianceNoise(factor=factors[1], piece_size=20)
    # with the batch and the rate of the noisy arm, whatever those of the arm that goes on from there
    stuck = Phase(epochs=updates, batch_size=num_train, lr=RATE, remedies=(noise,))
    sgd_epochs = updates * 100 / num_train
    return Space(
        question="Xing et al. (2018), figure 5: is isotropic noise a stand-in for the noise of small batches?",
        optimizer=SGD(momentum=0.0),
        lr=RATE,
        schedule=Constant(),
        budget=Epochs(updates),
        batch_size=num_train,
        arms=(
            Arm("sgd", batch_size=100, budget=Epochs(sgd_epochs)),
            Arm("gradient_descent"),
            *(Arm(f"noise_{word(factor)}", InitialVarianceNoise(factor=factor, piece_size=20)) for factor in factors),
            Arm("then_descent", phases=(stuck,)),
            Arm("then_lower_rate", phases=(stuck,), lr=RATE / 10),
            Arm("then_sgd", phases=(stuck,), batch_size=100, budget=Epochs(sgd_epochs)),
        ),
        baseline="sgd",
        reference="gradient_descent",
        confirm_blocks=seeds,
        metrics=(LambdaMax(max_samples=500), ParameterNorm()),
        walk=Walk(epochs=()),
        **(UNTUNED | settings),
    )


SPACE = Experiment(
    rows=("walk: figure 5",),
    small=space(
        1_000, 300, (0.01, 0.1), 3, data=MNIST(num_train=1_000, num_validation=1_000), model=MLP(hidden=(128, 128, 128))
    ),
    paper=space(45_000, 500, (0.01, 0.1), 5, data=CIFAR10(num_train=45_000, num_validation=5_000), model=VGG11()),
    differs=("MNIST, 1,000 images, and an MLP in place of CIFAR-10 and VGG-11", "300 updates"),
    paper_differs=("500 updates: the paper gives no number", "the two factors are not legible in the paper"),
    cost="21 members in 7 minutes on two busy cores",
    paper_cost="about 705 days on two busy cores, by a dry run",
)
