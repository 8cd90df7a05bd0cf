"""Make the pages of the papers' rows and of what they leave open from committed runs: `python docs/reproduction.py [--check]`."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from making.cards import ROOT
from making.questions import questions_page
from making.reproduction import reproduction_page

PAGES = {"docs/reproduction.md": reproduction_page, "docs/open_questions.md": questions_page}


def main(argv: Sequence[str] | None = None) -> int:
    """Make the pages, or say which are out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, name what is out of date, and exit with 1 for any"
    )
    given = parser.parse_args(argv)
    changed = False
    for path, make in PAGES.items():
        text, page = make(), ROOT / path
        if page.is_file() and page.read_text(encoding="utf-8") == text:
            continue
        changed = True
        print(f"{'out of date' if given.check else 'made'}: {path}")
        if not given.check:
            page.write_text(text, encoding="utf-8")
    return int(given.check and changed)


if __name__ == "__main__":
    sys.exit(main())
