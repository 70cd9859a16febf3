"""The command line: a table of verbs whose code is imported when the verb is called.

`main` turns every expected error into one message on stderr and an exit code.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from edge import __version__
from edge.errors import EdgeDifomError, MachineError, MissingDependencyError, UsageError
from edge.util.extras import missing, resolve
from edge.util.files import FULL, full_disk
from edge.util.machine_fault import machine_fault
from edge.util.plain_text import printable
from edge_difom.cli import console
from edge_difom.cli.groups import LazyGroup
from edge_difom.cli.hints import explain
from edge_difom.cli.signals import ignore_early_signals
from edge_difom.cli.usage import translate
from edge_difom.runtime_env import configure, fill_standard_descriptors

if TYPE_CHECKING:
    from collections.abc import Sequence


__all__ = ["SECTIONS", "VERBS", "LazyGroup", "group", "main", "resolve"]

VERBS = {
    "phantom": (
        "edge_difom.cli.phantom:command",
        "Write the procedural colonoscopy phantom as a data set.",
    ),
    "data": (
        "edge_difom.cli.data:group",
        "Check and convert labeled images before a training.",
    ),
    "teacher": (
        "edge_difom.cli.teacher:group",
        "Fit a frozen network to the task before it teaches.",
    ),
    "distill": ("edge_difom.cli.distill:distill", "Train a student from teachers and masks."),
    "label": (
        "edge_difom.cli.label:label",
        "Pseudo-label unlabeled frames with an ensemble of trained students.",
    ),
    "review": (
        "edge_difom.cli.review:command",
        "Correct the masks of marked frames on a local page.",
    ),
    "evaluate": (
        "edge_difom.cli.evaluate:command",
        "Measure Dice and IoU of a bundle or a run on labeled images.",
    ),
    "study": (
        "edge_difom.cli.study:group",
        "Train and evaluate the cells of a published table.",
    ),
    "runs": ("edge_difom.cli.runs:command", "List the runs of a folder."),
    "compare": (
        "edge_difom.cli.compare:command",
        "Compare two runs or two evaluations image by image.",
    ),
    "qat": ("edge_difom.cli.qat:qat", "Fine-tune a student to INT8 and export its engines."),
    "export": ("edge_difom.cli.qat:export", "Export the engines of a run or of a checkpoint."),
    "bundle": (
        "edge_difom.cli.bundle:group",
        "Make, inspect, pack, sign and publish bundles.",
    ),
    "verify": ("edge_difom.cli.verify:command", "Check a bundle's hashes and golden frames."),
    "demo": (
        "edge_difom.cli.demo:command",
        "Train, package, run and measure on the built-in phantom.",
    ),
    "run": ("edge_difom.cli.run:command", "Segment a camera, a clip or images with a bundle."),
    "predict": (
        "edge_difom.cli.predict:command",
        "Write the masks of a folder of images as files.",
    ),
    "bench": ("edge_difom.cli.bench:command", "Measure a bundle's latency on this machine."),
    "doctor": (
        "edge_difom.cli.doctor:command",
        "Report what this machine can do and what is missing.",
    ),
    "completion": ("edge_difom.cli.completion:command", "Print a shell completion script."),
    "device": ("edge_difom.cli.device:group", "Prepare, update and check a cart computer."),
}
"""Verb -> (reference to its click command, short help)."""


SECTIONS = {
    "Train": (
        "phantom",
        "data",
        "teacher",
        "distill",
        "label",
        "review",
        "evaluate",
        "study",
        "runs",
        "compare",
    ),
    "Package": ("qat", "export", "bundle", "verify"),
    "Run": ("demo", "run", "predict", "bench", "doctor", "completion"),
    "Cart": ("device",),
}
"""Sections of the help -> verbs."""


@click.group(
    cls=LazyGroup,
    table=VERBS,
    sections=SECTIONS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Research use only, not a medical device. Each command's --help has examples to copy.",
)
@click.version_option(__version__, prog_name="edge-difom")
def group() -> None:
    """Distill foundation models into small polyp segmentation models for endoscopy carts.

    Students are quantized to INT8, and their engines are proved to agree in two runtimes.
    """


LIBRARIES = ("edge", "distill", "quantize", "firmware_bridge")
"""Packages whose log records the command line prints."""


class _ConsoleHandler(logging.Handler):
    """Prints what the libraries log: warnings with a label, other records as plain lines."""

    def emit(self, record: logging.LogRecord) -> None:
        show = console.warn if record.levelno >= logging.WARNING else console.say
        show(record.getMessage())


def show_logs() -> None:
    """Print the libraries' log records from now on; calling it again changes nothing."""
    for name in LIBRARIES:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _ConsoleHandler) for handler in logger.handlers):
            logger.addHandler(_ConsoleHandler(logging.INFO))
        logger.setLevel(logging.INFO)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and end the process with its exit code.

    Args:
        arguments: The arguments after the program's name; None reads `sys.argv`.
    """
    if arguments is None:
        ignore_early_signals(sys.argv)
    fill_standard_descriptors()
    show_logs()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="surrogateescape")  # names of files outside UTF-8
    run_program(group, arguments, name="edge-difom")


def run_program(
    command: click.Command, arguments: Sequence[str] | None = None, *, name: str | None = None
) -> NoReturn:
    """Run a command with the settings, error format and exit codes of this project.

    Args:
        command: What the program does.
        arguments: The arguments after the program's name; None reads `sys.argv`.
        name: The program's name; None lets click find it.
    """
    configure()
    sys.exit(_status(command, arguments, name))


def _status(command: click.Command, arguments: Sequence[str] | None, name: str | None) -> int:
    try:
        result = command.main(args=arguments, prog_name=name, standalone_mode=False)
    except EdgeDifomError as error:
        return _fail(explain(error), _exit_code(error))
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()  # a group without a verb: its help
        return error.exit_code
    except click.ClickException as error:
        return _fail(str(translate(error)), error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        return _fail("interrupted", 130, label="")
    except ModuleNotFoundError as error:
        dependency_error = missing(error)
        if dependency_error is None:
            raise
        return _fail(str(dependency_error), dependency_error.exit_code)
    except OSError as error:
        if error.errno == errno.EPIPE and not error.filename:
            # The reader of stdout has ended, as `head` does; Python must not try to flush it.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 128 + signal.SIGPIPE
        if error.errno in FULL:
            full = full_disk(error.filename or "an output (stdout or a file)")
            return _fail(str(full), full.exit_code)
        if not error.filename:
            raise
        return _fail(f"{error.filename}: {error.strerror}", 1)
    # Without its standalone mode click returns the code of `ctx.exit`.
    return result if isinstance(result, int) and not isinstance(result, bool) else 0


def _exit_code(error: EdgeDifomError) -> int:
    """Return the exit code of an error.

    A wrong option or a missing package does not mend itself, so a service manager does not start
    the program again after their codes. What failed because the machine is short of something looks
    like one of them and does mend itself.
    """
    passing = isinstance(error, UsageError | MissingDependencyError) and machine_fault(error)
    return MachineError.exit_code if passing else error.exit_code


def _fail(text: str, code: int, *, label: str = "error: ") -> int:
    console.erase_status_line()
    click.echo(printable(f"{label}{text}"), err=True)
    return code
