"""What we make of each run that repeats a paper, in a few sentences and without a number: those are made from the run."""

from __future__ import annotations

REMARKS = {
    "keskar_f1": (
        "On a part of the data the test error does not tell the two batches apart, so there is no drop that sharpness could "
        "explain. Keskar's sharpness in the full space is far higher for the large batch all the same, while its lambda_max is "
        "smaller and its train loss too: the two measures of sharpness disagree."
    ),
}
