"""Rows count where they were trained with their arm's code as it is."""

from __future__ import annotations

from tune_lb.results.code_versions import counts, old_members, salts

VERSIONS = {
    "same": {"fingerprint": "a", "first": "a"},
    "changed": {"fingerprint": "b", "first": "a"},
    "ours": {"fingerprint": "", "first": ""},
}
ROWS = [
    ({"arm": "same", "code": "a"}, True),
    ({"arm": "same", "code": None}, True),
    ({"arm": "same", "code": float("nan")}, True),
    ({"arm": "same", "code": "b"}, False),
    ({"arm": "changed", "code": "b"}, True),
    ({"arm": "changed", "code": "a"}, False),
    ({"arm": "changed", "code": None}, False),
    ({"arm": "changed"}, False),
    ({"arm": "ours", "code": None}, True),
    ({"arm": "gone", "code": "a"}, True),
]


def test_which_rows_count() -> None:
    assert [counts(row, VERSIONS) for row, _ in ROWS] == [expected for _, expected in ROWS]
    assert old_members([row for row, _ in ROWS], VERSIONS) == {"same": 1, "changed": 3}
    assert all(counts(row, {}) for row, _ in ROWS)


def test_only_changed_code_makes_other_trials() -> None:
    assert salts(VERSIONS) == {"changed": "+b"}
    assert salts({}) == {}
