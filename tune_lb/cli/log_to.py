"""search --log-to: the members of a run for other programs while it is searched, by a thread of the driver."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence

from tune_lb.cli.output import Output, on_run
from tune_lb.errors import RequestError, one_line
from tune_lb.export.exported import Feed, Row, Writer
from tune_lb.export.targets import open_target
from tune_lb.results.run_files import read_space
from tune_lb.results.storage import Store
from tune_lb.tuning.preparation import Prepared
from tune_lb.tuning.resume import lacks

EVERY_S = 5.0
"""How long to wait between two looks for new members."""


def opened(names: Sequence[str], store: Store, run: str) -> dict[str, Writer]:
    """Return what writes for each of these programs. Raises RequestError, before anything is trained, where one cannot be."""
    known = read_space(store)
    return {name: open_target(name, store, run, known) for name in dict.fromkeys(names)}


@contextlib.contextmanager
def logged(writers: dict[str, Writer], prepared: Prepared, out: Output, name: str, storage: str) -> Iterator[None]:
    """Write members as they come, those of earlier calls first, and what is left when the search ends.

    What a program refuses is said, and ends writing for it, never the search: `export` writes what is missing later.
    """
    if not writers:
        yield
        return
    feed, over = Feed(prepared.request.run), threading.Event()
    left = dict(writers)

    def write(awaited: Callable[[Row], bool]) -> None:
        try:
            members = feed.new(awaited)
        except RequestError as error:
            out.line(f"--log-to: {error}", style="yellow")
            return
        for target, writer in list(left.items()):
            try:
                writer.write(members)
            # another program's package and server: whatever they raise is no reason to end a search
            except Exception as error:
                del left[target]
                again = on_run("export", name, storage, "--to", target)
                out.line(
                    f"--log-to {target}: {one_line(error)}; what is missing is written by: {again}", style="yellow"
                )

    def go_on() -> None:
        while not over.wait(EVERY_S):
            write(lambda row: lacks(row, prepared.context))

    thread = threading.Thread(target=go_on, name="log-to", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        write(lambda row: False)
        for target, writer in left.items():
            writer.close()
            out.line(f"{target}: {writer.place}")
