"""`edge-difom run --config FILE`: the options of a run from a TOML file."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Any

import click

from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

EXCLUSIVE = (("source", "camera"), ("bundle_path", "state"))
"""Parameters of which the command line's replaces the other one of the file."""

_CONFIG = "config"
_FILE = "edge_difom.cli.run_config.file"


def read_options(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    """Callback of an eager `--config`: make the values of the file the defaults of the options.

    A missing file is refused by `drop_replaced`, when the command runs.

    Raises:
        UsageError: The file is not TOML, or a key or value does not fit.
    """
    context.meta[_FILE] = path
    if path is not None and path.exists():
        values = read_config(path, context.command)
        context.default_map = {**(context.default_map or {}), **values}
    return path


def read_config(path: Path, command: click.Command) -> dict[str, Any]:
    """Read a file with the options of a command.

    Args:
        path: A TOML file; its keys are the long options without dashes.
        command: The command.

    Returns:
        Name of the parameter -> value, as click takes defaults.

    Raises:
        UsageError: The file cannot be read, a key is no option, or a value has the wrong type.
    """
    options = _options(command)
    table = _decode(path)
    unknown = [key for key in table if key not in options]
    if unknown:
        near = [_near(key, options) for key in unknown]
        raise UsageError(
            f"{path}: {'unknown key' if len(unknown) == 1 else 'unknown keys'} "
            f"{', '.join(repr(key) for key in unknown)}",
            expected=", ".join(options),
            hint="; ".join(f"did you mean {name!r}?" for name in near if name),
        )
    return {
        str(options[key].name): _value(path, key, value, options[key])
        for key, value in table.items()
    }


def drop_replaced(context: click.Context, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters without those of the file that the command line replaces by others.

    Args:
        context: Context of the command.
        values: Name of the parameter -> value, of `EXCLUSIVE`.

    Raises:
        UsageError: The file is missing.
    """
    path = context.meta.get(_FILE)
    if path is not None and not path.exists():
        read_config(path, context.command)
    values_left = dict(values)
    for pair in EXCLUSIVE:
        for name, other in (pair, pair[::-1]):
            typed = context.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE
            from_file = (
                context.get_parameter_source(other) is click.core.ParameterSource.DEFAULT_MAP
            )
            if typed and from_file:
                values_left[other] = None
    return values_left


def _options(command: click.Command) -> dict[str, click.Option]:
    options = {}
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name not in (_CONFIG, "help"):
            long = next(option for option in parameter.opts if option.startswith("--"))
            options[long.removeprefix("--")] = parameter
    return options


def _decode(path: Path) -> dict[str, Any]:
    import msgspec

    try:
        values = msgspec.toml.decode(path.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read", expected="a TOML file", got=error.strerror or str(error)
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is not TOML",
            expected='key = value lines, such as engine = "openvino"',
            got=str(error),
        ) from error
    assert isinstance(values, dict)
    return values


def _near(key: str, options: Mapping[str, click.Option]) -> str:
    plain = key.lower().replace("_", "-").removeprefix("no-")
    near = difflib.get_close_matches(plain, list(options), n=1)
    return near[0] if near else ""


def _value(path: Path, key: str, value: Any, option: click.Option) -> Any:
    """Check the type of a value; ranges and choices are checked as on the command line."""
    expected, fits = _expected(option)
    if not fits(value):
        text = "a table" if isinstance(value, dict) else repr(value)
        raise UsageError(f"{path}: the value of {key!r} does not fit", expected=expected, got=text)
    if option.multiple:
        return [value] if isinstance(value, str) else value
    if _may_stand_alone(option):
        if value is False:
            return None
        return option.flag_value if value is True else str(value)
    return value


def _may_stand_alone(option: click.Option) -> bool:
    """Whether an option takes a value that may be left out, such as `--view`."""
    return not option.is_flag and option.flag_value == ""


def _expected(option: click.Option) -> tuple[str, Any]:
    """Describe the values of an option, and return a check of their type."""
    if option.multiple:
        return (
            "a text or a list of texts",
            lambda value: (
                isinstance(value, str)
                or (isinstance(value, list) and all(isinstance(item, str) for item in value))
            ),
        )
    if option.is_flag:
        return "true or false", lambda value: isinstance(value, bool)
    if _may_stand_alone(option):
        return "true, false, a text or a number", lambda value: isinstance(value, bool | str | int)
    if isinstance(option.type, click.IntRange):
        return "a whole number", lambda value: type(value) is int
    if isinstance(option.type, click.FloatRange):
        return "a number", lambda value: type(value) in (int, float)
    return "a text", lambda value: isinstance(value, str)
