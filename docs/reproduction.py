"""Make docs/reproduction.md from the runs in docs/reproduction: `python docs/reproduction.py`, or with --check."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from making.cards import ROOT
from making.reproduction import reproduction_page

PAGE = ROOT / "docs" / "reproduction.md"


def main(argv: Sequence[str] | None = None) -> int:
    """Make the page, or say that it is out of date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing, and exit with 1 where the page is out of date"
    )
    given = parser.parse_args(argv)
    text = reproduction_page()
    if PAGE.is_file() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    print(f"{'out of date' if given.check else 'made'}: {PAGE.relative_to(ROOT)}")
    if not given.check:
        PAGE.write_text(text, encoding="utf-8")
    return int(given.check)


if __name__ == "__main__":
    sys.exit(main())
