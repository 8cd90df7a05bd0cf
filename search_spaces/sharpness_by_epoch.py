"""Do lambda_max and Keskar's sharpness move together or apart while a training converges?

Hynes calls the sharper minimum of a large batch an artefact of Keskar's measure; Keskar et al. show that measure alone. Here both
along the same trainings, small batch and large, ADAM as theirs, long enough that the train loss falls by orders of magnitude; and
where it first falls below given losses, lambda_max of both batches at equal train loss.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Epochs, Space, Watch
from tune_lb.data import MNIST
from tune_lb.metrics import Keskar, LambdaMax
from tune_lb.models import MLP
from tune_lb.optimizers import Adam
from tune_lb.schedules import Constant

BOTH = (Keskar(spaces=("full",), max_samples=500), LambdaMax(max_samples=500))
BLOCKS = 5

SPACE = Space(
    question="MNIST, 2,000 train images, batch 20 against 500: do lambda_max and Keskar's sharpness move together or apart?",
    data=MNIST(num_train=2_000, num_validation=0, pixels="unit"),
    model=MLP(hidden=(128, 128, 128)),
    optimizer=Adam(),
    lr=1e-3,
    schedule=Constant(),
    budget=Epochs(60),
    arms=(Arm("small_batch", batch_size=20), Arm("large_batch", batch_size=500)),
    baseline="small_batch",
    reference="large_batch",
    confirm_blocks=BLOCKS,
    watched_blocks=BLOCKS,
    metrics=BOTH,
    watch=Watch(metrics=BOTH, every_epochs=4, test_error=True),
    **(UNTUNED | {"crossings": (0.3, 0.1, 0.03)}),
)
