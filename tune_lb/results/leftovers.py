"""What killed writers leave behind: files under the names that they had before they were whole."""

from __future__ import annotations

import contextlib
import re
from typing import Final

import pyarrow.fs as fs

from tune_lb.results.storage import Store, can_rename

_TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{12}|(writable|shared)-[0-9a-f]{12}")
"""Names that `storage` writes under before it renames, and those of files written only to see whether that works."""


def delete_left_over(store: Store, before_s: float | None) -> list[str]:
    """Remove what killed writers left in a run before a time; return the paths, relative to the run.

    before_s: what Store.check_writable returned, by the storage's own clock: a writer at work has changed its file since.
    None: nothing is removed. Cost: one listing of the run; object stores, which have no such files, are not looked at.
    """
    if before_s is None or not can_rename(store.filesystem):
        return []
    found = store.filesystem.get_file_info(fs.FileSelector(store.root, allow_not_found=True, recursive=True))
    left = [
        info.path
        for info in found
        if info.type == fs.FileType.File
        and _TEMPORARY.fullmatch(info.base_name)
        and info.mtime is not None
        and info.mtime.timestamp() < before_s
    ]
    for path in left:
        # another call may tidy up as well
        with contextlib.suppress(FileNotFoundError):
            store.filesystem.delete_file(path)
    return sorted(path.removeprefix(store.root).lstrip("/") for path in left)
