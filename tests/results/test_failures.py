"""Which members failed and were not trained since."""

from __future__ import annotations

from tests.rows import store_trial
from tune_lb.results.failures import failed_members
from tune_lb.results.ledger import Ledger
from tune_lb.results.storage import Store


def test_rows_and_events_say_so_until_the_member_is_there(tmp_path) -> None:
    store = Store(tmp_path)
    store_trial(store, "fine", range(2))
    store_trial(store, "raised", range(1), status="failed", error="ValueError: no")
    store_trial(store, "large", range(1), status="out_of_memory", error="too large")
    store_trial(
        store, "changed", range(1), status="failed", error="of code that was mended", code="before", arm="other"
    )
    ledger = Ledger(store.child("ledger"))
    ledger.record("died", "failed.17.0", {"arm": "sam", "members": ["died.0", "died.3"], "reason": "arm 'sam': killed"})
    ledger.record(
        "fine", "failed.16.1", {"arm": "sam", "members": ["fine.1"], "reason": "arm 'sam': in an earlier call"}
    )
    ledger.record(
        "changed", "failed.16.0", {"arm": "other", "members": ["changed.0"], "reason": "arm 'other': of code"}
    )
    versions = {"code": {"other": {"fingerprint": "after", "first": "before"}}}
    assert failed_members(store, versions) == {
        ("raised", 0): "arm 'sam': ValueError: no",
        ("large", 0): "arm 'sam': too large",
        ("died", 0): "arm 'sam': killed",
        ("died", 3): "arm 'sam': killed",
    }
