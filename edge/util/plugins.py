"""Plug-ins of other distributions, found by their entry points.

A distribution adds a source, sink, engine, student, teacher, detector or delineator by an entry
point in its metadata:

    [project.entry-points."edge_difom.sources"]
    ultrasound = "my_package:UltrasoundSource"

The name is then a scheme (`ultrasound:TARGET`) or the name of the student. A plug-in is looked up
only for a name that is not built in, so that built-in names cost nothing and cannot be replaced.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from edge.errors import EdgeDifomError, MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

T = TypeVar("T")

SOURCES = "edge_difom.sources"
"""Classes whose `from_spec(spec)` returns an `edge.sources.base.BaseSource`."""

SINKS = "edge_difom.sinks"
"""Classes whose `from_spec(spec, options)` returns an `edge.sinks.base.BaseSink`."""

ENGINES = "edge_difom.engines"
"""Callables `(files, *, threads, device="")` that return an `edge.contracts.Engine`."""

STUDENTS = "edge_difom.students"
"""Callables `(*, pretrained)` that return a `distill.students.base.Student`."""

TEACHERS = "edge_difom.teachers"
"""Callables `()` or `(source)` that return a `distill.teachers.base.Teacher`."""

DETECTORS = "edge_difom.detectors"
"""Callables `()` or `(source)` that return an `edge.evaluation.delimit.base.Detector`."""

DELINEATORS = "edge_difom.delineators"
"""Callables `()` or `(source)` that return an `edge.evaluation.delimit.base.Delineator`."""


class Plugin:
    """A loaded entry point.

    Args:
        entry: The entry point; loaded here.

    Raises:
        MissingDependencyError: It cannot be loaded; the error names its distribution.
    """

    def __init__(self, entry: EntryPoint) -> None:
        self._entry = entry
        self._value: Any = self._guarded(entry.load)

    def build(self, kind: Any, *arguments: Any, method: str = "", **keywords: Any) -> Any:
        """Call the plug-in.

        Args:
            kind: Class or protocol of the object that it must return.
            *arguments: Arguments of the call.
            method: Name of the method to call; empty to call the plug-in itself.
            **keywords: Keyword arguments of the call.

        Raises:
            EdgeDifomError: The plug-in refuses the arguments.
            MissingDependencyError: It fails or returns an object of a different kind; the error
                names its distribution.
        """

        def call() -> object:
            target = getattr(self._value, method) if method else self._value
            return target(*arguments, **keywords)

        built = self._guarded(call)
        if not isinstance(built, kind):
            raise self._broken(f"{type(built).__name__}", f"a {kind.__name__}")
        return built

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except EdgeDifomError:
            raise
        except Exception as error:
            raise self._broken(f"{type(error).__name__}: {error}", self._entry.value) from error

    def _broken(self, got: str, expected: str) -> MissingDependencyError:
        name = _distribution(self._entry)
        return MissingDependencyError(
            f"plug-in {self._entry.name!r} of {name} ({self._entry.group}) does not work",
            expected=expected,
            got=got,
            hint=f"update or remove the distribution: pip uninstall {name}",
        )


def find_plugin(group: str, name: str) -> Plugin | None:
    """Load the plug-in of a name, or return None if no distribution has one.

    Args:
        group: One of the groups above.
        name: Name of the entry point.

    Raises:
        MissingDependencyError: It cannot be loaded, or two distributions have that name.
    """
    matches = tuple(entry_points(group=group, name=name))
    if len(matches) > 1:
        raise MissingDependencyError(
            f"plug-in {name!r} ({group}) comes from more than one distribution",
            expected="one distribution",
            got=", ".join(sorted(map(_distribution, matches))),
            hint="uninstall all but one of them",
        )
    return Plugin(matches[0]) if matches else None


def plugin_names(group: str) -> list[str]:
    """Return the names of the installed plug-ins, sorted, without loading them."""
    return sorted({entry.name for entry in entry_points(group=group)})


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist is not None else entry.module
