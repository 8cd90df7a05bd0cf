"""Optuna's tree-structured Parzen estimator."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from tune_lb.samplers.sampler import Dimensions, Sampler, Values
from tune_lb.settings.domain import Choice, Domain
from tune_lb.streams import seed_of


@dataclass(frozen=True)
class TPE(Sampler):
    """Optuna's tree-structured Parzen estimator (Bergstra et al., 2011), one for each arm.

    It learns from the one search block. Its first ten proposals are random.
    """

    name: ClassVar[str] = "tpe"
    learns: ClassVar[bool] = True
    exchangeable: ClassVar[bool] = False

    def proposer(self, dimensions: Dimensions) -> Estimator:
        """Return the arm's estimator."""
        seed = seed_of("tpe", dimensions.seed, dimensions.arm)
        return Estimator(dimensions.domains, seed)


class Estimator:
    """One study per proposal, rebuilt from the scores: a proposal is a function of what is stored, and no study is pickled."""

    def __init__(self, domains: Mapping[str, Domain], seed: int) -> None:
        self.domains, self.seed = dict(domains), seed

    def propose(self, index: int, scored: Sequence[tuple[Values, float]]) -> Values:
        """Return the point that TPE asks for after the scored ones."""
        import optuna
        from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        distributions: dict[str, BaseDistribution] = {}
        for name, domain in self.domains.items():
            if isinstance(domain, Choice):
                # by position: Optuna takes plain values only, and a choice may be between networks
                distributions[name] = CategoricalDistribution(range(len(domain.values)))
            elif domain.integer:
                distributions[name] = IntDistribution(int(domain.low), int(domain.high), log=domain.log)
            else:
                distributions[name] = FloatDistribution(domain.low, domain.high, log=domain.log)
        study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed_of(self.seed, index) % 2**32))
        for values, score in scored:
            # a configuration combined from other arms may lie outside: its neutral values need not be in a range
            if all(_contains(domain, values.get(name)) for name, domain in self.domains.items()):
                study.add_trial(
                    optuna.trial.create_trial(
                        params=coded(self.domains, values), distributions=distributions, value=score
                    )
                )
        return decoded(self.domains, study.ask(distributions).params)


def coded(domains: Mapping[str, Domain], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the dimensions as plain numbers: what is chosen from a list by its position there."""
    return {
        name: domain.values.index(values[name]) if isinstance(domain, Choice) else values[name]
        for name, domain in domains.items()
    }


def decoded(domains: Mapping[str, Domain], numbers: Mapping[str, Any]) -> Values:
    """Return the values that coded() made numbers of."""
    return {
        name: domain.values[numbers[name]] if isinstance(domain, Choice) else numbers[name]
        for name, domain in domains.items()
    }


def _contains(domain: Domain, value: Any) -> bool:
    if isinstance(domain, Choice):
        return value in domain.values
    return isinstance(value, int | float) and domain.low <= value <= domain.high
