"""Make docs/failures.md: every failure of docs/failures.toml with the tests that inject it and their results.

    python tools/failures.py build/rows docs/failures.md

The folder holds what `pytest --failure-rows=FILE.json` wrote, one file for each place where tests run.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import tomllib

PLACES = {
    "suite": "test suite",
    "vm": "virtual machine",
    "firmware": "emulated controller",
    "arm": "emulated aarch64",
}
"""Name of a record -> where its tests ran."""


def page(rows: dict[str, list[str]], records: dict[str, list[dict[str, Any]]]) -> str:
    """The page as Markdown.

    Args:
        rows: Number -> failure, and what the device does.
        records: Place -> injections: `row`, `how`, `test`, `outcome`.
    """
    injected: defaultdict[int, list[str]] = defaultdict(list)
    for place, found in records.items():
        for record in sorted(found, key=lambda record: (record["test"], record["how"])):
            line = f"`{record['test']}` ({PLACES.get(place, place)}; {record['how']}): {record['outcome']}"
            injected[record["row"]].append(line)
    lines = [
        "# Failures that a cart must survive",
        "",
        "Made by `make failures` from [failures.toml](failures.toml) and the results of the tests that inject each",
        "failure. In every case the primary video is untouched: it never passes through this program.",
        "",
        "| # | failure | what the device does | injected by |",
        "|---|---|---|---|",
    ]
    for number, (failure, answer) in rows.items():
        shown = "<br>".join(injected[int(number)]) or "not shown yet"
        lines.append(f"| {number} | {failure} | {answer} | {shown} |")
    return "\n".join(lines) + "\n"


def main(folder: Path, out: Path) -> None:
    """Write the page from every record in a folder."""
    rows = tomllib.loads((out.parent / "failures.toml").read_text())["rows"]
    records = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
    out.write_text(page(rows, records))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
