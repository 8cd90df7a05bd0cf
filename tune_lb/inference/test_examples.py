"""The sampling error of the test examples: what a difference would move by if other examples had been drawn."""

from __future__ import annotations

import numpy as np

from tune_lb.inference.effects import FloatArray


def example_variance(differences: FloatArray) -> float:
    """Return the variance over test examples of a mean difference: (1 / N) var_i(delta_i), a squared share; nan if unknown.

    differences: (J, N), wrong (1) or right (0) of an arm minus the same of its reference, for J different members (or means over
    members of a block) and N test examples; nan where an example was no test example of a member's cut. delta_i, what the two
    procedures differ by on example i, is known with the members' noise; squares of its mean would count that noise, so it is
    estimated from products of two *different* members' centred differences:

        w_i = n_i / sum n,  v_i = (T_i^2 - sum_j d_ij^2) / (n_i (n_i - 1)),  sum_i w_i^2 v_i  N / (N - 1)

    with T_i = sum_j d_ij over the n_i members that tested example i. With a fixed test set n_i = J: the covariance over examples
    of two members' differences, by N. With resampled cuts each example counts by how often it was tested; one that was tested
    once counts as the others do on average. 0 where the estimate is negative; nan below two members, or where no example was
    tested twice. Cost: one pass over J x N numbers.
    """
    there = np.isfinite(differences)
    times = there.sum(axis=0)
    tested = times > 0
    n, d = times[tested], np.where(there, differences, 0.0)[:, tested]
    if d.shape[0] < 2 or n.size < 2 or not (n > 1).any():
        return float("nan")
    centred = np.where(there[:, tested], d - d.sum() / n.sum(), 0.0)
    twice = n > 1
    products = centred.sum(axis=0) ** 2 - (centred**2).sum(axis=0)
    v = np.divide(products, n * (n - 1), out=np.zeros(n.size), where=twice)
    weights = n / n.sum()
    known = float(np.sum(weights[twice] ** 2 * v[twice]))
    share = float(np.sum(weights[twice] ** 2) / np.sum(weights**2))
    return float(max(0.0, known / share * n.size / (n.size - 1)))
