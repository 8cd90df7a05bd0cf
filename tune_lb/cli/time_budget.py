"""search --time-budget: the numbers of a comparison from the time that there is for it."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable

from tune_lb.cli.asked import FIELD_OPTIONS
from tune_lb.cli.output import Output, duration
from tune_lb.errors import RequestError
from tune_lb.results.run_files import read_space
from tune_lb.space.division import Division
from tune_lb.tuning.preparation import Prepared
from tune_lb.tuning.request import Request
from tune_lb.tuning.time_budget import NUMBERS, members_that_fit, seconds_of, wall_s

DIVIDED = (*Division._fields, "confirm_until", "members_per_arm")


def within_time(request: Request, text: str, prepare: Callable[..., Prepared], out: Output) -> Request:
    """Return the request with the largest space that is expected to fit into a time, as if --members-per-arm had been given.

    It then ends in time where it can: see tune_lb.tuning.time_cut. The time runs from this call on. A run that is there goes on
    with the numbers that it was begun with, less what was cut. Raises RequestError where they are given as well, and where
    nothing fits.
    """
    budget_s = seconds_of(text)
    deadline_s = time.monotonic() + budget_s
    options = dict(request.asked.get("options", {}))
    given = [name for name in FIELD_OPTIONS if name in DIVIDED and name in options]
    given += [
        key for key in (str(word).partition("=")[0] for word in request.asked.get("overrides", [])) if key in DIVIDED
    ]
    if given:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise RequestError(f"--time-budget {text} says what {words} would say: leave one of them out")
    numbers = {}
    if not request.fresh and request.run.exists("space.json"):
        begun = read_space(request.run).get("asked", {}).get("options", {})
        numbers = {name: int(begun[name]) for name in ("members_per_arm", *NUMBERS) if name in begun}
    if numbers:
        said = ", ".join(f"{name} = {number}" for name, number in numbers.items())
        out.line(f"{said}, as the run was begun")
    else:
        estimate = prepare(request, write=False).estimate
        numbers["members_per_arm"] = members = members_that_fit(
            request.space, estimate, max(1.0, deadline_s - time.monotonic())
        )
        takes = duration(wall_s(request.space, estimate, members))
        out.line(f"{members} members of each arm: about {takes} of the {text} that there are")
    options |= numbers
    options.pop("time_budget", None)
    space = request.space.overridden(list(numbers.items()))
    return dataclasses.replace(request, space=space, asked={**request.asked, "options": options}, deadline_s=deadline_s)
