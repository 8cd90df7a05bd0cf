"""How much each searched dimension matters, by Optuna's evaluators, beside a dimension of no meaning."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from analysis.asked import Asked
from analysis.decisions import scores_of_all

MIN_POINTS = 10
NOISE = "a dimension of no meaning"
TREES = 64
COLUMNS = ["arm", "dimension", "importance", "noise", "n"]


def importances(members: pd.DataFrame, asked: Asked, seed: int = 0) -> pd.DataFrame:
    """How much of the variance of the log validation loss (or of the error that selects) each dimension explains.

    One row per arm and dimension, of arms that searched two dimensions or more with 10 points: arm, dimension, importance (share
    of 1), noise, n (points). noise: the importance that a random column gets in the same fit, what chance alone reaches with so few
    points. Where configurations were stopped early: of all of them at the first look. Where a dimension of a list of parts is not
    there, the middle of its range, or its first value, stands for it. By
    optuna.importance.MeanDecreaseImpurityImportanceEvaluator, a random forest of 64 trees, seeded. Cost: about a tenth of a second
    an arm, and the imports of optuna and scikit-learn.
    """
    scores = scores_of_all(members, asked)
    rows = []
    for arm in asked.arms:
        own = scores[scores["arm"] == arm.name]
        domains = {
            name: domain
            for name, domain in (arm.dimensions or {}).items()
            if name in own and own[name].nunique(dropna=True) > 1
        }
        own = own.drop_duplicates("configuration_id")
        own = own.assign(
            **{name: own[name].fillna(_absent(domains[name])) for name in domains if domains[name].get("only")}
        )
        own = own.dropna(subset=[*domains, "value"])
        own = own[np.isfinite(own["value"]) & (own["value"] > 0)]
        if len(domains) < 2 or len(own) < MIN_POINTS:
            continue
        found = _evaluated(own, domains, seed)
        noise = found.pop(NOISE, math.nan)
        rows += [(arm.name, name, share, noise, len(own)) for name, share in found.items()]
    return pd.DataFrame(rows, columns=COLUMNS)


def _absent(domain: Mapping[str, Any]) -> Any:
    """What stands for a dimension where it is not there."""
    if "low" not in domain:
        return domain["values"][0]
    low, high = float(domain["low"]), float(domain["high"])
    middle = math.sqrt(low * high) if domain.get("log") else (low + high) / 2
    return round(middle) if domain.get("integer") else middle


def _evaluated(rows: pd.DataFrame, domains: Mapping[str, Mapping[str, Any]], seed: int) -> dict[str, float]:
    import optuna

    generator = np.random.default_rng((seed, 1))
    distributions: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for name, domain in domains.items():
        if "low" in domain and not isinstance(rows[name].iloc[0], str):
            low, high = (min(domain["low"], rows[name].min()), max(domain["high"], rows[name].max()))
            log = bool(domain.get("log")) and low > 0
            kind = (
                optuna.distributions.IntDistribution
                if domain.get("integer")
                else optuna.distributions.FloatDistribution
            )
            distributions[name] = kind(low, high, log=log)
            columns[name] = rows[name].tolist()
        else:
            texts = [str(value) for value in rows[name]]
            distributions[name] = optuna.distributions.CategoricalDistribution(sorted(set(texts)))
            columns[name] = texts
    distributions[NOISE] = optuna.distributions.FloatDistribution(0.0, 1.0)
    columns[NOISE] = generator.random(len(rows)).tolist()
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        study = optuna.create_study()
        with warnings.catch_warnings():
            # of numbers that the domain rounds, and of what optuna calls experimental
            warnings.simplefilter("ignore")
            study.add_trials(
                [
                    optuna.trial.create_trial(
                        params={name: columns[name][i] for name in columns},
                        distributions=distributions,
                        value=math.log(value),
                    )
                    for i, value in enumerate(rows["value"])
                ]
            )
            evaluator = optuna.importance.MeanDecreaseImpurityImportanceEvaluator(n_trees=TREES, seed=seed)
            found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    finally:
        optuna.logging.set_verbosity(level)
    return {str(name): float(share) for name, share in found.items()}
