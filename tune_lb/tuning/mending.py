"""What a search does with a damaged run before it goes on: damaged files are set aside, and a lost space.json is made up for."""

from __future__ import annotations

from tune_lb.errors import RequestError
from tune_lb.results.damage import FOLDER, mend, set_aside
from tune_lb.results.run_files import UnusableSpace, read_members, read_space
from tune_lb.results.storage import Store

SPACE = "space.json"


def mended(run: Store) -> list[str]:
    """Set aside what is damaged in a run; return one line for each file, with what becomes of it."""
    lines = []
    if run.exists(SPACE):
        try:
            read_space(run)
        except UnusableSpace as error:
            set_aside(run, SPACE)
            lines.append(
                f"{SPACE} is damaged: {error.reason}; it is set aside in {run.location}/{FOLDER}, and made anew from the space "
                "and the members (what it said of earlier --confirm-blocks and of changed code is lost)"
            )
    return lines + mend(run)


def executions(run: Store) -> dict[str, str] | None:
    """Return how the members of each arm were trained, from their rows: of a run whose space.json is gone. None for a new run."""
    members, _ = read_members(run)
    rows = members.select(["arm", "execution"]).to_pylist()
    return {row["arm"]: row["execution"] for row in rows if row["execution"] is not None} or None


def refuse_other_space(run: Store, space_hash: str) -> None:
    """Refuse to go on with the members of a run without its space.json, where not one was trained for this space."""
    members, _ = read_members(run)
    hashes = set(members["space_hash"].to_pylist())
    if hashes and space_hash not in hashes:
        raise RequestError(
            f"run {run.location} has no usable {SPACE}, and its {members.num_rows:,} members were trained for another space "
            f"({', '.join(sorted(hashes)[:3])}, not {space_hash}): give the command as it was given then, or take another --name"
        )
