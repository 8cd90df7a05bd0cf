"""Where a relative path of a data set is looked up: beside the space file first, then under TUNE_LB_DATA."""

from __future__ import annotations

from pathlib import Path

_folder: list[Path] = []


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
