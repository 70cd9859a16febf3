"""Console output of the commands: lines, steps, tables, progress, and records as JSON.

Text goes to stdout. If a command prints its JSON there (`--json -`), text goes to stderr instead.
Steps and progress always go to stderr.
"""

from __future__ import annotations

import os
import shlex
import shutil
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from edge.errors import UsageError
from edge.util.plain_text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from edge.util.progress import Progress

_TEXT_TO_STDERR = "edge_difom.cli.console.text_to_stderr"
_LINE_EVERY_S = 5.0
_ERASE = "\r\x1b[K"
_open_line = False
"""Whether a status line stands on the terminal, which the next line has to replace."""

F = TypeVar("F", bound="Callable[..., Any]")


def say(text: str = "") -> None:
    """Print a line for the reader."""
    context = click.get_current_context(silent=True)
    erase_status_line()
    to_stderr = context is not None and _TEXT_TO_STDERR in context.meta
    click.echo(printable(text), err=to_stderr)


def step(n: int, total: int, text: str) -> None:
    """Announce step `n` of `total`."""
    erase_status_line()
    click.echo(printable(f"[{n}/{total}] {text}"), err=True)


def warn(text: str) -> None:
    """Print a warning on stderr."""
    erase_status_line()
    click.echo(printable(f"warning: {text}"), err=True)


def status_line(text: str) -> None:
    """Show a line on the terminal of stderr that the next line of any kind replaces."""
    global _open_line
    width = shutil.get_terminal_size().columns
    click.echo(f"{_ERASE}{printable(text)[: width - 1]}", err=True, nl=False, color=True)
    _open_line = True


def erase_status_line() -> None:
    """Remove the status line, if one stands on the terminal."""
    global _open_line
    if _open_line:
        click.echo(_ERASE, err=True, nl=False, color=True)
        _open_line = False


def made(*paths: str | Path) -> None:
    """Print the files and folders the command made; folders end with a slash."""
    for path in paths:
        say(f"made: {path}{'/' if Path(path).is_dir() else ''}")


def next_command(command: str) -> None:
    """Print the command to run next."""
    say(f"next: {command}")


def quote(value: str | Path) -> str:
    """Return a name as a shell takes it in the command to run next."""
    return shlex.quote(str(value))


def examples(*commands: str) -> str:
    """Format the examples of a command's help, for click's `epilog`."""
    return "\b\nExamples:\n" + "\n".join(f"  {command}" for command in commands)


def table(headers: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; numbers are right-aligned, None prints as a dash."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [max(len(line[i]) for line in [list(headers), *cells]) for i in range(len(headers))]
    right = [
        bool(rows) and all(row[i] is None or isinstance(row[i], int | float) for row in rows)
        for i in range(len(headers))
    ]
    for line in [list(headers), ["-" * width for width in widths], *cells]:
        aligned = zip(line, widths, right, strict=True)
        say("  ".join(text.rjust(w) if r else text.ljust(w) for text, w, r in aligned).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else printable(str(value))


class BundlePath(click.ParamType[Path]):
    """A bundle: a directory, a `.difom` file, or the name of a shipped bundle."""

    name = "B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:  # noqa: ARG002 - click's
        """Return the path of the bundle; whether it exists is checked when it is opened."""
        from edge.bundle.shipped import find_bundle

        try:
            str(value).encode("utf-8")
        except UnicodeEncodeError:
            raise UsageError(
                f"the name of the bundle {value} is not UTF-8",
                expected="a name that manifests and records can hold",
                hint="rename the bundle, or set the locale to UTF-8",
            ) from None
        return find_bundle(value)


BUNDLE = BundlePath()


def json_option(
    help: str = "Write the record as JSON; `-` prints it on stdout.",
) -> Callable[[F], F]:
    """The option `--json FILE|-`, given to the command as `json_path: str | None`."""
    return click.option(
        "--json",
        "json_path",
        metavar="FILE",
        default=None,
        callback=keep_stdout_for_json,
        help=help,
    )


def keep_stdout_for_json(
    context: click.Context, _: click.Parameter, value: str | None
) -> str | None:
    """Callback of a `--json` option: with `-`, text goes to stderr."""
    if value == "-":
        context.meta[_TEXT_TO_STDERR] = True
        if sys.stdout is None:
            raise UsageError("stdout is closed", expected="an open stdout, or a file for the JSON")
    return value


def write_json(target: str | Path, record: object) -> None:
    """Write a record as indented JSON.

    Args:
        target: A file, written atomically, or `-` for stdout.
        record: msgspec structs, dataclasses, dicts, lists, paths, numpy values; NaN becomes null.
    """
    from edge.util.files import atomic_write, json_text

    text = json_text(record, enc_hook=_plain)
    if str(target) == "-":
        click.echo(text, nl=False)
    else:
        atomic_write(Path(target), text)


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return os.fsencode(value).decode("utf-8", "backslashreplace")
    if hasattr(value, "tolist"):  # numpy arrays and scalars, without importing numpy
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} cannot be written as JSON")


@contextmanager
def progress(total: int, label: str) -> Iterator[Progress]:
    """Show progress: a bar on a terminal, otherwise a plain line every few seconds.

    Args:
        total: Number of updates to expect.
        label: What is counted.
    """
    if not sys.stderr.isatty():
        lines = _Lines(total, label)
        yield lines
        lines.finish()
        return
    with click.progressbar(
        length=total,
        label=label,
        show_pos=True,
        file=sys.stderr,
        item_show_func=lambda note: printable(note or ""),
    ) as bar:
        yield _Bar(bar)


class _Bar:
    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def update(self, n: int = 1, note: str = "") -> None:
        self._bar.update(n, note)


class _Lines:
    def __init__(self, total: int, label: str) -> None:
        self._total, self._label = total, label
        self._done, self._note = 0, ""
        self._begin = self._last = time.monotonic()

    def update(self, n: int = 1, note: str = "") -> None:
        self._done += n
        self._note = note
        now = time.monotonic()
        if now - self._last >= _LINE_EVERY_S:
            self._last = now
            left = (now - self._begin) / max(self._done, 1) * (self._total - self._done)
            self._line(f"about {left:.0f} s left")

    def finish(self) -> None:
        self._line(f"in {time.monotonic() - self._begin:.1f} s")

    def _line(self, when: str) -> None:
        note = f", {self._note}" if self._note else ""
        line = f"{self._label}: {self._done}/{self._total}, {when}{note}"
        click.echo(printable(line), err=True)
