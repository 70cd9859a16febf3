"""One grammar for every description in one line of text: `scheme:target?key=value&key=value`.

Sources, sinks, display options, engines, carts, teachers and data sets are named this way:

    file:clip.mp4?realtime=1        shm:overlay?picture=1        openvino:GPU.1
    rtsp://host/live?stall_ms=300   serial:/dev/ttyACM0?baud=9600        null

The scheme ends at the first colon. The options begin at the last `?`, if nothing but `key=value`
pairs follows it; otherwise that `?` belongs to the target. A text without a colon is a bare scheme.

The escape rule: a target is taken as it stands, and if it ends in what looks like options, one more
`?` closes it (`rtsp://host/live?channel=1?`). Inside a value, `%`, `&`, `=` and `?` are written as
`%25`, `%26`, `%3D` and `%3F`.

The options of a scheme are a dataclass whose fields are made by `option`:

    @dataclass(frozen=True, kw_only=True)
    class ClipOptions:
        realtime: bool = option(switch, False)

    options = parse("file:clip.mp4?realtime=1").read(ClipOptions)
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote

from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from _typeshed import DataclassInstance

    Options = TypeVar("Options", bound=DataclassInstance)

T = TypeVar("T")
D = TypeVar("D")

_PAIRS = re.compile(r"(\w+=[^&?=]*(&\w+=[^&?=]*)*)?")
_ESCAPED = re.compile(r"[%&?=]")


@dataclass(frozen=True, slots=True)
class Spec:
    """A description, taken apart.

    `parse(str(spec)) == spec` holds if the scheme has no `:` and no `?`, each key of the options is
    a word (letters, digits and underscores), and a bare scheme has no target.

    Attributes:
        scheme: What stands before the colon.
        target: What stands between the colon and the options.
        options: Key to decoded value.
        bare: Whether the text has no colon, so that `openvino` differs from `openvino:`.
    """

    scheme: str
    target: str = ""
    options: Mapping[str, str] = field(default_factory=dict)
    bare: bool = False

    def __str__(self) -> str:
        text = self.scheme if self.bare else f"{self.scheme}:{self.target}"
        if self.options:
            pairs = (f"{key}={_escape(value)}" for key, value in self.options.items())
            return f"{text}?{'&'.join(pairs)}"
        return f"{text}?" if _options_begin(self.target) is not None else text

    @property
    def path(self) -> Path:
        """The target as a path, with a leading `~` expanded."""
        return expand(self.target)

    def read(self, kind: type[Options]) -> Options:
        """The options as a struct; fields that are not given keep their defaults.

        Args:
            kind: A dataclass whose fields are made by `option`.

        Raises:
            UsageError: The scheme has no such option, or a value does not fit.
        """
        options = {item.name: item for item in fields(kind)}
        values: dict[str, Any] = {}
        for name, text in self.options.items():
            if name not in options:
                raise self._unknown_option(name, sorted(options))
            try:
                values[name] = options[name].metadata["read"](text)
            except ValueError as error:
                raise UsageError(
                    f"option {name!r} of {self.scheme}: does not fit",
                    expected=str(error),
                    got=repr(text),
                ) from error
        return kind(**values)

    def refuse_options(self) -> None:
        """Check that there are no options, for a scheme that has none.

        Raises:
            UsageError: There is one.
        """
        for name in self.options:
            raise self._unknown_option(name, [])

    def with_positional(self, *names: str) -> Spec:
        """The same description with the values that follow commas in the target as named options.

        Args:
            *names: Names of the values, in order; the last ones may be missing in the text.

        Returns:
            `serial:/dev/ttyACM0?baud=9600` for `serial:/dev/ttyACM0,9600` and the name `baud`.

        Raises:
            UsageError: There are more values than names, or an option is given in both ways.
        """
        target, *values = self.target.split(",")
        if len(values) > len(names):
            raise UsageError(
                f"{self.scheme}: takes fewer values",
                expected=f"{self.scheme}:TARGET[,{','.join(name.upper() for name in names)}]",
                got=repr(self.target),
            )
        options = dict(zip(names, values, strict=False))
        return Spec(self.scheme, target, _join(self.scheme, options, self.options))

    def with_list(self, switches: Sequence[str]) -> Spec:
        """The same description with a target such as `fullscreen,display=1` as named options.

        Args:
            switches: Options that may stand in the list without a value, which turns them on.

        Raises:
            UsageError: An option is given twice.
        """
        options: dict[str, str] = {}
        for part in filter(None, self.target.split(",")):
            name, equals, value = part.partition("=")
            if not equals and name in switches:
                value = "1"
            options = _join(self.scheme, options, {name: value})
        return Spec(self.scheme, "", _join(self.scheme, options, self.options))

    def _unknown_option(self, name: str, options: Sequence[str]) -> UsageError:
        near = get_close_matches(name, options, n=1)
        return UsageError(
            f"unknown option {name!r} of {self.scheme}:",
            expected=", ".join(options) or "no option",
            hint=f"did you mean {near[0]!r}?" if near else "",
        )


def parse(text: str) -> Spec:
    """Take a description apart; whether its scheme exists is the caller's business.

    Args:
        text: Any text.

    Raises:
        UsageError: An option is given twice.
    """
    head, colon, rest = text.partition(":")
    bare = not colon or "?" in head
    body = text if bare else rest
    begin = _options_begin(body)
    pairs = [] if begin is None else [pair.split("=", 1) for pair in body[begin + 1 :].split("&")]
    options: dict[str, str] = {}
    for key, value in (pair for pair in pairs if len(pair) == 2):
        if key in options:
            raise UsageError(f"option {key!r} is given twice", expected="each option once")
        options[key] = unquote(value)
    body = body[:begin]
    return Spec(body, "", options, bare=True) if bare else Spec(head, body, options)


def expand(text: str) -> Path:
    """A path with a leading `~` or `~user` expanded; an unknown user leaves the text as it is."""
    if not text.startswith("~"):
        return Path(text)
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def option(read: Callable[[str], T], default: D) -> T | D:
    """A field of an options struct.

    Args:
        read: Turns the option's text into its value; raises ValueError with what is expected.
        default: Value if the option is not given.
    """
    value: T | D = field(default=default, metadata={"read": read})
    return value


def whole(minimum: int, maximum: int, *, base: int = 10) -> Callable[[str], int]:
    """A reader of whole numbers in a range.

    Args:
        minimum: Smallest value.
        maximum: Largest value.
        base: 10, or 0 to accept prefixes such as `0x` too.
    """

    def read(text: str) -> int:
        try:
            value = int(text, base) if text.isascii() and text.isalnum() else minimum - 1
        except ValueError:
            value = minimum - 1
        if not minimum <= value <= maximum:
            raise ValueError(f"a whole number from {minimum} to {maximum}")
        return value

    return read


def number(what: str, minimum: float, maximum: float) -> Callable[[str], float]:
    """A reader of numbers in a range; `what` names the quantity in errors."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise ValueError(f"{what}, {minimum:g} to {maximum:g}")
        return value

    return read


def choice(*names: str) -> Callable[[str], str]:
    """A reader of one of some names."""

    def read(text: str) -> str:
        if text not in names:
            raise ValueError(" | ".join(names))
        return text

    return read


def switch(text: str) -> bool:
    """Read `1` or `0`.

    Raises:
        ValueError: The text is anything else.
    """
    if text not in ("0", "1"):
        raise ValueError("1 (on) or 0 (off)")
    return text == "1"


def _options_begin(text: str) -> int | None:
    """Index of the `?` that begins the options of a text, or None if there is none."""
    begin = text.rfind("?")
    return begin if begin >= 0 and _PAIRS.fullmatch(text, begin + 1) else None


def _escape(value: str) -> str:
    return _ESCAPED.sub(lambda match: f"%{ord(match[0]):02X}", value)


def _join(scheme: str, one: Mapping[str, str], other: Mapping[str, str]) -> dict[str, str]:
    for name in one:
        if name in other:
            raise UsageError(
                f"option {name!r} of {scheme}: is given twice", expected="each option once"
            )
    return {**one, **other}
