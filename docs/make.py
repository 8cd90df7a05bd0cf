"""Make the pages of remedies, metrics, columns and experiments from the code: `python docs/make.py`, or with --check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from making.cards import ROOT, classes, examples, metric_card, metric_rows, metrics_index, remedies_index, remedy_card
from making.columns import columns_page
from making.experiments import experiments_page


def generated() -> dict[str, str]:
    """Return every file that is made, by its path under the root of the repository."""
    remedies, metrics, example = classes("tune_lb.remedies"), classes("tune_lb.metrics"), examples()
    columns = metric_rows(metrics)
    links = {kind.name: f"{kind.name}.md" for kind in (*remedies.values(), *metrics.values())}
    of_remedies = {kind.name: links[kind.name] for kind in remedies.values()}
    of_metrics = {kind.name: links[kind.name] for kind in metrics.values()}
    found = {
        f"docs/remedies/{of_remedies[kind.name]}": remedy_card(name, kind, example[name], of_remedies)
        for name, kind in remedies.items()
    }
    found |= {
        f"docs/metrics/{of_metrics[kind.name]}": metric_card(name, kind, columns[name], of_metrics)
        for name, kind in metrics.items()
    }
    return found | {
        "docs/remedies/README.md": remedies_index(remedies),
        "docs/metrics/README.md": metrics_index(metrics, columns),
        "docs/columns.md": columns_page(remedies, metrics, columns),
        "docs/experiments.md": experiments_page(),
    }


def out_of_date(files: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Return the files that are missing, are not as they are made, or are made no more."""
    folders = (root / "docs" / name for name in ("remedies", "metrics"))
    there = {path.relative_to(root).as_posix() for folder in folders for path in folder.glob("*.md")}
    wrong = {path for path, text in files.items() if not (root / path).is_file() or (root / path).read_text() != text}
    return sorted(wrong | (there - files.keys()))


def write(files: Mapping[str, str], root: Path = ROOT) -> list[str]:
    """Make the files; return those that were written or removed."""
    changed = out_of_date(files, root)
    for path in changed:
        if path in files:
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(files[path])
        else:
            (root / path).unlink()
    return changed


def main(argv: Sequence[str] | None = None) -> int:
    """Make the files, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, name what is out of date, and exit with 1 for any"
    )
    given = parser.parse_args(argv)
    files = generated()
    changed = out_of_date(files) if given.check else write(files)
    for path in changed:
        print(f"{'out of date' if given.check else 'made'}: {path}")
    return int(given.check and bool(changed))


if __name__ == "__main__":
    sys.exit(main())
