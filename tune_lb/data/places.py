"""Where data lie: downloaded sets under TUNE_LB_DATA, a relative path beside the space file first."""

from __future__ import annotations

import os
from pathlib import Path

_folder: list[Path] = []


def data_root() -> Path:
    """Return the folder of downloaded data sets: TUNE_LB_DATA, by default `data` in the working directory."""
    return Path(os.environ.get("TUNE_LB_DATA", "data")).expanduser().resolve()


def look_beside(folder: Path) -> None:
    """Look up the paths of data sources that are made from here on beside a space file, which is in the folder."""
    _folder[:] = [folder]


def folder_of_space() -> Path | None:
    """Return the folder of the space file that was loaded last in this process; None where none was."""
    return _folder[0] if _folder else None


def candidates(path: str, root: Path, beside: Path | None) -> list[Path]:
    """Return where a path may lie, in the order in which these places are tried; an absolute one in its own place alone."""
    given = Path(path).expanduser()
    if given.is_absolute():
        return [given]
    return list(dict.fromkeys(folder / given for folder in (beside, root) if folder is not None))
