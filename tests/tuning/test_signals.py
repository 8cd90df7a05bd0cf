"""SIGTERM is taken like Ctrl-C, and what it did before is put back."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from tune_lb.tuning.signals import interrupts_ignored, sigterm_interrupts, sigterm_kept


def test_sigterm_is_an_interrupt_inside_and_what_it_was_outside() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), sigterm_interrupts():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(5)
    assert signal.getsignal(signal.SIGTERM) is before


def test_what_takes_sigterm_over_loses_it_again() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_kept():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_comes_while_interrupts_are_ignored_is_not_taken(number: signal.Signals) -> None:
    with sigterm_interrupts():
        before = signal.getsignal(number)
        with interrupts_ignored():
            os.kill(os.getpid(), number)
            threading.Event().wait(0.01)
        assert signal.getsignal(number) is before


def test_in_another_thread_nothing_changes() -> None:
    seen: list[object] = []

    def look() -> None:
        with sigterm_interrupts():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]
