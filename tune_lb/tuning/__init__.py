"""One search on Ray: preparation, jobs, progress. Offered to others: a member as a Ray Tune trainable (docs/ray_tune.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tune_lb.lazy import face

if TYPE_CHECKING:
    from tune_lb.tuning.member_trainable import MemberTrainable as MemberTrainable
    from tune_lb.tuning.own_tuner import in_range as in_range
    from tune_lb.tuning.own_tuner import mutations as mutations
    from tune_lb.tuning.own_tuner import param_space as param_space
    from tune_lb.tuning.own_tuner import trainable as trainable
    from tune_lb.tuning.ray_domains import from_ray as from_ray
    from tune_lb.tuning.ray_domains import to_ray as to_ray

__getattr__, __dir__, __all__ = face(
    __name__,
    {
        "tune_lb.tuning.member_trainable": "MemberTrainable",
        "tune_lb.tuning.own_tuner": "in_range mutations param_space trainable",
        "tune_lb.tuning.ray_domains": "from_ray to_ray",
    },
)
