"""What proposes by a sampler of Optuna's: one study per proposal, rebuilt from the scores, so that none is ever pickled."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from tune_lb.samplers.coding import coded, contains, decoded
from tune_lb.samplers.sampler import Dimensions, Scores, Stopped, Values
from tune_lb.settings.active import has_conditions, is_active
from tune_lb.settings.domain import Choice
from tune_lb.streams import seed_of

if TYPE_CHECKING:
    import optuna

NOTHING = "nothing"
"""A second range for samplers that need two: what it draws is thrown away."""


class StudyProposer:
    """Proposes by a sampler of Optuna's: a proposal is a function of what is stored.

    make: seed -> the sampler. name: what the random stream is called by. generation: of samplers that learn generation by
    generation, the key that its number is stored under, and its size. asked: for samplers that keep a state of their own in
    trials that they were asked for: the scored ones are asked for and told once more, in their order.
    """

    def __init__(
        self,
        dimensions: Dimensions,
        name: str,
        make: Callable[[int], optuna.samplers.BaseSampler],
        *,
        generation: tuple[str, int] | None = None,
        asked: bool = False,
    ) -> None:
        self.domains, self.objectives = dict(dimensions.domains), dimensions.objectives
        self.seed = seed_of(name, dimensions.seed, dimensions.arm)
        self.make, self.generation, self.asked = make, generation, asked

    def propose(self, index: int, scored: Sequence[tuple[Values, Scores | Stopped]]) -> Values:
        """Return the point that the sampler asks for after the scored ones."""
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        # a configuration combined from other arms may lie outside: its neutral values need not be in a range
        inside = [
            (values, score)
            for values, score in scored
            if all(contains(d, values.get(name)) for name, d in self.domains.items() if is_active(d, values))
        ]
        pruned = [(values, score) for values, score in inside if isinstance(score, Stopped)]
        whole = [(values, score) for values, score in inside if not isinstance(score, Stopped)]
        known = list(zip([values for values, _ in whole], self._finite([score for _, score in whole]), strict=True))
        with warnings.catch_warnings():
            # what Optuna calls experimental is what was asked for
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            seed = seed_of(self.seed, 0 if self.asked else index) % 2**32
            study = optuna.create_study(sampler=self.make(seed), directions=["minimize"] * self.objectives)
            distributions = self._distributions()
            for number, (values, score) in enumerate(known):
                self._add(study, distributions, number, values, score)
            for values, stopped in pruned:
                seen = {stopped.look: stopped.value}
                state = optuna.trial.TrialState.PRUNED
                self._store(study, distributions, values, state=state, intermediate_values=seen)
            # those that are being trained were asked for as well, or two would be the same
            waiting = max(0, index - len(inside)) if self.asked else 0
            if has_conditions(self.domains):
                return decoded(self.domains, self._run(study.ask(), distributions))
            trial = [study.ask(distributions) for _ in range(waiting + 1)][-1]
        return decoded(self.domains, trial.params)

    def _run(self, trial: Any, distributions: dict[str, Any]) -> dict[str, Any]:
        """Return the numbers of a trial that is asked for one dimension after the other, of those that are there: define by run."""
        for name, domain in self.domains.items():
            if is_active(domain, decoded(self.domains, trial.params)):
                _suggest(trial, name, distributions[name])
        found: dict[str, Any] = trial.params
        return found

    def _add(
        self, study: Any, distributions: dict[str, Any], number: int, values: Values, score: tuple[float, ...]
    ) -> None:
        if self.asked:
            study.enqueue_trial(coded(self.domains, values))
            trial = study.ask(distributions)
            # Optuna spares itself this for given values, and with it the state
            asked = study.trials[-1]
            study.sampler.sample_relative(study, asked, study.sampler.infer_relative_search_space(study, asked))
            study.tell(trial, list(score))
            return
        attributes = {} if self.generation is None else {self.generation[0]: number // self.generation[1]}
        self._store(study, distributions, values, values=list(score), system_attrs=attributes)

    def _store(self, study: Any, distributions: dict[str, Any], point: Values, **known: Any) -> None:
        """Put a trial of a point into the study, with what is known of it."""
        import optuna

        params = coded(self.domains, point)
        there = {name: distributions[name] for name in params}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=there, **known))

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        found: dict[str, Any] = {}
        for name, domain in self.domains.items():
            if isinstance(domain, Choice):
                # by position: Optuna takes plain values only, and a choice may be between networks
                found[name] = CategoricalDistribution(range(len(domain.values)))
            elif domain.integer:
                found[name] = IntDistribution(int(domain.low), int(domain.high), log=domain.log)
            else:
                found[name] = FloatDistribution(domain.low, domain.high, log=domain.log)
        if self.asked and sum(not isinstance(domain, Choice) for domain in self.domains.values()) == 1:
            found[NOTHING] = FloatDistribution(0.0, 1.0)
        return found

    def _finite(self, scores: Sequence[Scores]) -> list[tuple[float, ...]]:
        """Return the scores as tuples; several objectives without infinite numbers, for a front of these has no volume.

        What is not finite is as bad as the worst that is. A single objective may be infinite.
        """
        rows = [score if isinstance(score, tuple) else (score,) for score in scores]
        if self.objectives == 1:
            return rows
        worst = []
        for column in zip(*rows, strict=True):
            finite = [value for value in column if math.isfinite(value)]
            worst.append(max(finite) if finite else 0.0)
        return [
            tuple(value if math.isfinite(value) else above for value, above in zip(row, worst, strict=True))
            for row in rows
        ]


def _suggest(trial: Any, name: str, distribution: Any) -> None:
    if hasattr(distribution, "choices"):
        trial.suggest_categorical(name, distribution.choices)
    else:
        suggest = trial.suggest_int if isinstance(distribution.low, int) else trial.suggest_float
        suggest(name, distribution.low, distribution.high, log=distribution.log)
