"""The five papers: their rows, which are the tables, figures and claims that can be tried again, by name.

A row is "paper: place": a space names those that it repeats (`Experiment(rows=...)`), or a script does (`SCRIPTS`).
"""

from __future__ import annotations

SCALES = ("small", "paper")
"""The sizes at which an experiment of a paper can be run; the first is taken where none is named."""

PAPERS = {
    "maxibatch": "Hynes: maxi-batch SGD",
    "keskar": "Keskar et al. (2017): On Large-Batch Training for Deep Learning",
    "walk": "Xing et al. (2018): A Walk with SGD",
    "jaiswal": "Jaiswal and Taura: gradient noise for large batches",
    "surlemont": "Surlemont et al.: sharpness-aware minimization for large batches",
}
"""Each paper by the word that its rows and spaces begin with."""

ROWS = {
    "maxibatch: figure 1": "train and test error against the batch size",
    "maxibatch: section 2.1": "batch-norm statistics of 50 examples in place of the batch's",
    "maxibatch: figure 2, top": "loss between minima of different batch sizes",
    "maxibatch: figure 2, bottom": "loss between minima of different learning rates",
    "maxibatch: Hessian-vector products": "the product of the Hessian and a vector, exact",
    "maxibatch: lambda_max": "the largest eigenvalue by power iteration, on 500 examples",
    "maxibatch: figure 3": "lambda_max and generalization error by epoch, batch 50 and 1,000",
    "maxibatch: figure 4": "lambda_max over test batches by epoch, by batch size and by learning rate",
    "maxibatch: isotropic noise": "noise of one fixed variance on the gradients that enter convolutions",
    "maxibatch: layer-wise noise": "noise with the variances of each layer as the small batch has them",
    "maxibatch: figure 5": "distance travelled by epoch, batch 50 and 1,000",
    "maxibatch: adaptive linearization": "rectifiers made linear along the dominant eigenvector",
    "maxibatch: critique of sharpness": "a constant added to the loss changes Keskar's sharpness",
    "keskar: figure 1": "a sketch of a flat and a sharp minimum",
    "keskar: table 2": "train and test accuracy of small and large batch, six networks",
    "keskar: table 3": "sharpness in the full space",
    "keskar: table 4": "sharpness in a random subspace of 100 dimensions",
    "keskar: table 6": "data augmentation",
    "keskar: table 7": "conservative training",
    "keskar: figure 2": "train and test accuracy by epoch",
    "keskar: figure 3": "loss and accuracy on the line from the small to the large batch's minimum",
    "keskar: figure 7": "the same on a curve",
    "keskar: figure 4": "accuracy and sharpness against the batch size",
    "keskar: figure 5": "large-batch training started from each epoch of a small-batch one",
    "keskar: distance from the start": "how much farther the small batch travels",
    "keskar: figure 6": "sharpness against the loss along a training",
    "keskar: anisotropy": "sharp in a few directions only",
    "keskar: remedies": "growing batches, warm starts, adversarial and stability training",
    "keskar: robust optimization": "the largest loss in a ball, minimised",
    "walk: figure 1": "the loss along gradient descent's path",
    "walk: figure 2": "the loss along stochastic gradient descent's path",
    "walk: table 1": "barriers crossed in an epoch",
    "walk: figure 9": "barriers in every epoch",
    "walk: figures 3 and 6": "spectral norm and validation accuracy by epoch",
    "walk: figure 4": "cosine of consecutive gradients by batch size and by learning rate",
    "walk: tables 2 and 3": "height above the valley's floor",
    "walk: figure 5": "gradient descent with isotropic noise",
    "walk: figures 7 and 8": "cyclical, trapezoidal and step schedules",
    "walk: figures 10 to 30": "the same with other networks",
    "walk: figure 36": "a quadratic as an illustration",
    "jaiswal: figure 4": "accuracy at batches of 32, 64 and 128, eta / B kept",
    "jaiswal: figure 5": "training longer",
    "jaiswal: figure 6": "the line between minima of equal eta / B",
    "jaiswal: table 2": "noise that decays brings accuracy back",
    "jaiswal: figure 3": "spectral norm against eta / B",
    "jaiswal: table 1": "ImageNet with ResNet-50",
    "jaiswal: noise model": "the covariance of a batch's gradient falls as 1 / B",
    "jaiswal: related work": "square-root scaling, ghost batch norm and as many updates",
    "surlemont: figure 1": "SGD with and without SAM",
    "surlemont: figure 2": "sharpness with SGD",
    "surlemont: figure 3": "Adam with and without SAM",
    "surlemont: figure 4": "sharpness with Adam",
    "surlemont: run time": "SAM takes twice as long",
    "surlemont: learning rate by batch size": "learning rate and batch size searched together",
    "surlemont: other losses": "other losses and optimisers",
}
"""What each row shows."""

SCRIPTS = {
    "maxibatch: critique of sharpness": "tests/metrics/test_keskar.py",
    "walk: figure 36": "benchmarks/quadratic.py",
}
"""Rows that are no search: the script, or the test, that shows each."""
