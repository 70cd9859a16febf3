"""The README's table of comparisons, made from the records that are committed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from benchmarks.record import Record
from edge.bench.report.markdown import table
from edge.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence


RESULTS = Path(__file__).parent / "results"
BEGIN, END = (
    "<!-- benchmarks: made by `python -m benchmarks table --into README.md` -->",
    "<!-- /benchmarks -->",
)


def read_records(folder: Path) -> list[Record]:
    """Every record of a folder's lists of records, by name of the file; other forms, such as studies, are left out.

    Raises:
        DataError: A file is a list, but not of records.
    """
    records: list[Record] = []
    for path in sorted(folder.glob("*.json")):
        content = path.read_bytes()
        if not content.lstrip().startswith(b"["):
            continue
        try:
            records += msgspec.json.decode(content, type=list[Record])
        except msgspec.DecodeError as error:
            raise DataError(
                f"{path} holds no records",
                expected="what `python -m benchmarks --out` writes",
                got=str(error),
            ) from error
    return records


def benchmark_table(records: Sequence[Record]) -> str:
    """A Markdown table; of two valid records of one comparison on one machine the newer one counts.

    Args:
        records: Those that are not valid are left out.
    """
    newest: dict[tuple[str, str], Record] = {}
    for record in sorted(records, key=lambda record: record.created):
        if record.valid:
            newest[record.name, _machine(record)] = record
    rows = []
    for (_, machine), record in sorted(newest.items(), key=lambda item: item[0][1]):
        found = record.comparison
        low, high = found.ratio_ci95
        sides = f"{_short(found.left.median)} over {_short(found.right.median)} {found.unit}"
        rows.append(
            [record.what, sides, f"{found.ratio:.3g}", f"{low:.3g} to {high:.3g}", _goal(record), machine]
        )
    return table(["comparison", "medians", "ratio", "95 % interval", "goal", "on"], rows)


def put_between(text: str, content: str) -> str:
    """The text with its lines between the markers replaced.

    Raises:
        DataError: The markers are not there, each once and in order.
    """
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in after or END in before:
        raise DataError("the text has no place for the table", expected=f"{BEGIN}, then {END}, each once")
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 1000 else f"{value:.3g}"


def _machine(record: Record) -> str:
    """Two machines of one name that multiply integers by other instructions are two machines."""
    device = record.device
    vnni = any("vnni" in flag for flag in device.flags)
    integers = ("VNNI" if vnni else "no VNNI") if device.architecture == "x86_64" else ""
    name = device.board or device.cpu or device.architecture
    return ", ".join(filter(None, (name, f"{device.usable_cores} cores", integers, *device.cuda)))


def _goal(record: Record) -> str:
    goal = record.comparison.goal
    if goal is None:
        return "reported"
    word = "at least" if goal.at_least else "at most"
    return f"{goal.what} {word} {goal.bound:g}: {_short(goal.value)}{'' if goal.reached else ', missed'}"
