"""Imports: the collector of cycles is paused, and as it was afterwards."""

import gc

import pytest

from tune_lb.lazy import collector_paused


@pytest.mark.parametrize("was", [True, False])
def test_the_collector_is_as_it_was_after_imports_also_those_that_fail(was: bool) -> None:
    before = gc.isenabled()
    try:
        (gc.enable if was else gc.disable)()
        with collector_paused():
            assert not gc.isenabled()
        assert gc.isenabled() == was
        with pytest.raises(ImportError), collector_paused():
            raise ImportError
        assert gc.isenabled() == was
    finally:
        (gc.enable if before else gc.disable)()
