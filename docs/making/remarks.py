"""What we make of each run that repeats a paper, in a few sentences and without a number: those are made from the run."""

from __future__ import annotations

REMARKS = {
    "jaiswal_caltech101": (
        "At equal eta / B no drop is told up to the largest batch, whose test error is about the smallest's, so there is "
        "nothing that noise could bring back, and noise lowers the error at one batch size and raises it at the other, neither "
        "told. Training the largest batch twice as long ends below the smallest batch's error. The small network fits the train "
        "images whole and generalizes poorly at every batch size, which leaves little room for the published steps."
    ),
    "jaiswal_noise_model": (
        "A square-root rate closes most of the drop, ghost batch norm adds little to it here, and as many updates as the "
        "small batch close it whole, which is the order that Hoffer et al. report. The large batch is far from trained: most "
        "of its drop is missing updates, not a worse minimum."
    ),
    "jaiswal_spectral_norm": (
        "lambda_max at the end falls as eta / B grows wherever the train loss falls with it, as published; in the one cell of "
        "the largest batch and rate training did not get down, and lambda_max is high. Few cells are trained to convergence "
        "at this size, so part of the fall is that of the loss."
    ),
    "keskar_batch_size_c1": (
        "Keskar's sharpness rises with every step of the batch size, as published, and by more than an order of magnitude in "
        "all. The test error does not: on a tenth of the data no batch size loses accuracy, so here is sharpness without a "
        "drop."
    ),
    "keskar_c1": (
        "The large batch is sharper by every measure and many times over, as published, and it errs more on the train set "
        "too: after the same number of epochs it has made a twentieth of the updates and is not trained to the end. Its test "
        "error is the small batch's to within less than a point, so at this size the published sharpness is there and the "
        "published drop is not. An earlier run of half as many seeds had a drop of more than a point that was not told from "
        "none: its large batches had trained in stacks and its small ones alone, here the other way round, and rounding alone "
        "moves a seed's error by a point and more."
    ),
    "keskar_c2": (
        "Both batches are far from trained at this size, and the one that is further, with the lower train and test error, is "
        "the large one; neither difference is told from two seeds. Keskar's sharpness is higher for the large batch by one to "
        "two orders of magnitude, as published, but so uneven over its two seeds that not even its sign is told."
    ),
    "keskar_c3": (
        "Neither batch is trained to the end at this size, the large one least, and their test errors are not told apart. The "
        "large batch is sharper by every measure, as published, but at train losses so far apart that says little of minima."
    ),
    "keskar_c4": (
        "A hundred classes are hardly learnt from so few images, whatever the batch, and the test errors are not told apart. "
        "The large batch is sharper many times over all the same, as published, at a train loss that is nearly the small "
        "batch's: sharpness that is not the end of a training, and without a drop."
    ),
    "keskar_f1": (
        "On a part of the data the test error does not tell the two batches apart, so there is no drop that sharpness could "
        "explain. Keskar's sharpness in the full space is far higher for the large batch all the same, while its lambda_max "
        "is smaller and its train loss too: the two measures of sharpness disagree."
    ),
    "keskar_f1_paper": (
        "At the paper's size the paper is found again: the large batch fits the train set better and the test images worse, by "
        "about the published difference, and it is sharper by Keskar's measure in the full space and in random subspaces at the "
        "larger eps. Its train loss is the lower one, so the sharpness is not that of a training that has not ended. "
        "lambda_max does not tell the two apart, which no paper says of this network. Of the test error an earlier run of as many "
        "other seeds (docs/answers/keskar_f1.md) told nothing, with an interval that holds both zero and this difference."
    ),
    "keskar_remedies_c1": (
        "There is no drop to bring back at this size, and no remedy is told from the large batch. Conservative training and "
        "stability training leave the minimum as sharp as it was, as published of the first; what ends flatter "
        "(augmentation, adversarial training, a warm start) has not got far down in train loss. Only the warm start is "
        "flatter at a test error that is no worse."
    ),
    "keskar_warm_start_c1": (
        "There is no drop to bring back at this size: no warm start is told from the large batch by its test error. What the "
        "paper's figure shows of sharpness is seen: the longer the small batch goes first, the flatter the large batch ends, "
        "but for the shortest start. Its train loss falls along with that, to far below either batch's alone."
    ),
    "maxibatch_linearization": (
        "Small steps towards linear change next to nothing: the test error is not told from the large batch's, and lambda_max is "
        "a little higher at every look at the watched seed, where a little lower was published. The whole step at once makes "
        "training jump, flattens one seed and sharpens the other; its error is not told either. The large batch is hardly "
        "trained at this size, so a generalization gap that could be narrowed is not there yet."
    ),
    "maxibatch_noise": (
        "No noise brings anything back, whatever its size, where it enters or whether it follows the small batch's layers, and "
        "batch norm from few samples costs a little: the published negative results, at a size where the large batch is "
        "hardly trained."
    ),
    "maxibatch_resnet": (
        "As published, train and test error both get worse with the batch size, so that the gap shrinks, and a higher rate "
        "helps the large batch without making up for it. lambda_max ends lowest for the largest batch at the common rate, "
        "which fits the published rise for small batches alone. With the same epochs the large batch makes a twentieth of the "
        "updates and is hardly trained: what it loses here is training."
    ),
    "surlemont_lr_by_batch": (
        "Plain SGD and SAM both want the smallest batch of the grid, and at equal tuning SAM is not told from plain. The arms "
        "of the largest batch make so few updates that neither losses nor optimisers can be compared at this size."
    ),
    "surlemont_sam": (
        "SAM ends flatter than the same training without it, by lambda_max in every pair of arms, for either optimiser and "
        "with dropout or without. Test error at the large batch goes either way, and only a little: what is lost there is "
        "training that has not ended, for there are few updates. Whether dropout in both passes is what stands in SAM's way "
        "cannot be told from two seeds at this size."
    ),
    "walk_barriers": (
        "No update of any epoch crosses a barrier above what rounding makes of a flat line. The few late barriers that the "
        "paper counts come after far more updates of a far larger network."
    ),
    "walk_isotropic_noise": (
        "Isotropic noise raises loss and error and ends far away, as published, and more of it more so. From where it ended "
        "SGD comes back farthest, then plain descent, and the lower rate least, which is the published order; none of them "
        "gets back to what descent without noise reaches."
    ),
    "walk_mlp": (
        "No update crosses a barrier, where the paper counts a few in later epochs. Consecutive gradients are nearly "
        "orthogonal for small batches and nearly parallel for all data at once: with so few updates at one rate the large "
        "batch is still on its first slope, so its cosines do not turn negative as published. The rate hardly changes them, "
        "which agrees."
    ),
    "walk_resnet56": (
        "No update crosses a barrier. Consecutive gradients of the small batch point against each other, more so as training "
        "goes on, and the valley is higher at the higher rate, both as published; all data at once goes straight ahead, since "
        "it makes so few updates."
    ),
    "walk_schedules": (
        "No schedule is told from another: that a trapezoid is as good as steps is not contradicted. Steps chose the mildest "
        "fall that was offered, so their range is too narrow."
    ),
    "walk_vgg11": (
        "Between successive iterates the loss has no barrier in any epoch that was looked at, neither of the small batches nor "
        "of the descent on the whole data; in the last one most successive gradients of the small batch oppose each other while "
        "its distance from the start hardly grows: it bounces between the walls of a valley, as published, the smaller rate "
        "lower over its floor at first. The small batch at the common rate ends farthest from the start. The whole batch makes "
        "a handful of updates at this size, so that nothing is to be made of the errors, and less of a path than the paper's "
        "figures show."
    ),
}
