"""What happened to trials, as small immutable files: ledger/<trial_id>.<event>.json.

The driver records an event before it acts on it (proposed.0 before a trial is handed to Ray), so that after a kill the
next driver knows what had been proposed and what failed. Nothing is appended to: object stores
cannot, and a torn last line would have to be repaired.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from tune_lb.results.locations import StorageError, reason_of
from tune_lb.results.storage import Store
from tune_lb.results.wholeness import NOTE

_TRIAL_ID = re.compile(r"[A-Za-z0-9_-]+")
_EVENT = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*")


@dataclass(frozen=True)
class Event:
    """Something that happened to a trial.

    event: a name that is unique per trial; a number tells repetitions apart (proposed.0, failed.1.2000).
    time: when it was recorded, ISO 8601, UTC, with microseconds. facts: what is known about it, plain JSON.
    """

    trial_id: str
    event: str
    time: str
    facts: dict[str, Any]


class Ledger:
    """The events of one run. One driver writes; anybody may read.

    store: the run's ledger folder. Events never change, so each file is read once.
    problems: one line per file that events() could not read and left out, after its last call.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.problems: list[str] = []
        self._events: dict[str, Event] = {}

    def record(self, trial_id: str, event: str, facts: Mapping[str, Any]) -> bool:
        """Record an event; return False, and leave what is there, where the trial has an event of that name.

        Raises ValueError for a name that is no file name and for facts that JSON cannot hold, StorageError where the
        file cannot be written.
        """
        if not _TRIAL_ID.fullmatch(trial_id) or not _EVENT.fullmatch(event):
            allowed = "letters, digits, _ and -, and dots within the event"
            raise ValueError(f"ledger: trial {trial_id!r}, event {event!r}: allowed are {allowed}")
        name = f"{trial_id}.{event}.json"
        if name in self._events or (self.store.exists(name) and isinstance(_read(self.store, name), Event)):
            return False
        recorded = Event(trial_id, event, datetime.now(UTC).isoformat(timespec="microseconds"), dict(facts))
        try:
            text = json.dumps(vars(recorded) | NOTE, allow_nan=False, indent=1)
        except (TypeError, ValueError) as error:
            raise ValueError(f"ledger: {name}: the facts are not plain JSON: {error}") from error
        self.store.write(name, text.encode(), pause_point="ledger")
        return True

    def events(self) -> list[Event]:
        """Return all events by time, then by file name; files that cannot be read are left out (see problems).

        Cost: one listing, and one small read per file that is new since the last call (16 at a time).
        """
        names = self.store.list(suffix=".json")
        fresh = [name for name in names if name not in self._events]
        self.problems = []
        with ThreadPoolExecutor(16) as threads:
            for name, found in zip(fresh, threads.map(lambda name: _read(self.store, name), fresh), strict=True):
                if isinstance(found, Event):
                    self._events[name] = found
                else:
                    self.problems.append(found)
        known = [name for name in names if name in self._events]
        return [self._events[name] for name in sorted(known, key=lambda name: (self._events[name].time, name))]


def _read(store: Store, name: str) -> Event | str:
    """Return the event of a file, or a line that says why there is none."""
    advice = "the event is left out; delete the file, the search will record what it needs again"
    try:
        entry = json.loads(store.read(name))
    except (StorageError, ValueError) as error:
        return f"ledger: {name} is not readable ({reason_of(error)}); {advice}"
    kinds = {"trial_id": str, "event": str, "time": str, "facts": dict}
    if not isinstance(entry, dict) or any(not isinstance(entry.get(key), kind) for key, kind in kinds.items()):
        return f"ledger: {name} is not an event: it needs {', '.join(kinds)}; {advice}"
    if name != f"{entry['trial_id']}.{entry['event']}.json":
        return f"ledger: {name} holds event {entry['event']} of trial {entry['trial_id']}; {advice}"
    return Event(**{key: entry[key] for key in kinds})
