"""Jaiswal and Taura, table 1: ImageNet with ResNet-50 at batches of 256 to 32,768, as others have published it.

Quoted there, 90 epochs, test accuracy: He et al. batch 256, 75.3 %; Goyal et al. 8,192, 76.3; Codreanu et al. 11,520, 75.0; You
et al. 16,000, 75.3; Akiba et al. 32,768, 74.9. As Goyal et al.: rate 0.1 B / 256, five epochs of warmup, drops at 30, 60 and 80
epochs, weight decay 1e-4. The images are not ours to give: a folder ImageNet/ under TUNE_LB_DATA with train/CLASS/*.jpg and
val/CLASS/*.jpg.
"""

from search_spaces._published import UNTUNED
from tune_lb import Arm, Epochs, Experiment, Space
from tune_lb.data import ImageFolder
from tune_lb.models import ResNet50
from tune_lb.optimizers import SGD
from tune_lb.remedies import Augmentation, Warmup
from tune_lb.schedules import Step


def space(sizes: tuple[int, ...], image_size: int, epochs: float, seeds: int) -> Space:
    """Return an arm for each batch size, with linear scaling and warmup."""
    return Space(
        question="Jaiswal and Taura, table 1: up to which batch size does ResNet-50 keep its accuracy on ImageNet?",
        data=ImageFolder("ImageNet", image_size=image_size),
        model=ResNet50(),
        optimizer=SGD(momentum=0.9, weight_decay=1e-4),
        eta_over_b=0.1 / 256,
        schedule=Step(milestones=(30 / 90, 60 / 90, 80 / 90)),
        budget=Epochs(epochs),
        precision="bf16",
        arms=tuple(
            Arm(f"batch_{size}", Warmup(epochs=epochs / 18), Augmentation(flip=True), batch_size=size) for size in sizes
        ),
        baseline=f"batch_{sizes[0]}",
        reference=f"batch_{sizes[-1]}",
        confirm_blocks=seeds,
        **UNTUNED,
    )


SPACE = Experiment(
    rows=("jaiswal: table 1",),
    small=space((256, 2_048), 64, 9, 1),
    paper=space((256, 8_192, 16_384, 32_768), 224, 90, 1),
    differs=("images of 64 x 64 pixels", "9 epochs in place of 90", "batches of 256 and 2,048"),
    paper_differs=("flips alone: no random crops of other sizes", "one seed"),
    cost="not measured: the images are not free",
    paper_cost="not measured: the images are not free",
)
