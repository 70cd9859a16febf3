"""Click's own errors in the format of this project's."""

from __future__ import annotations

import click

from edge.errors import EdgeDifomError, UsageError
from edge_difom.cli.suggest import near_option


def translate(error: click.ClickException) -> EdgeDifomError:
    """Translate click's error to this project's format; the exit code stays click's.

    Args:
        error: The error that click raised.
    """
    if not isinstance(error, click.UsageError):
        return EdgeDifomError(_sentence(error.format_message()))
    context = error.ctx
    path = context.command_path if context else "edge-difom"
    hint = f"{path} --help"
    if isinstance(error, click.NoSuchOption):
        near = near_option(context, error.option_name) if context else None
        return UsageError(
            f"no option {error.option_name}", expected=f"an option of `{path}`", hint=near or hint
        )
    if isinstance(error, click.MissingParameter):
        name = _name(error)
        option = isinstance(error.param, click.Option)
        what = (
            f"{path} needs {name}"
            if option or not error.param
            else f"{path} needs the argument {name}"
        )
        return UsageError(what, expected=_expected(error), hint=hint)
    if isinstance(error, click.BadParameter):
        what = f"invalid value for {_name(error)}: {_sentence(error.message)}"
        return UsageError(what, hint=hint)
    return UsageError(_sentence(error.format_message()), hint=hint)


def _name(error: click.BadParameter) -> str:
    """Return the name of a parameter as the user writes it: its longest option, or its metavar."""
    if isinstance(error.param, click.Option):
        return max(error.param.opts, key=len)
    if error.param is not None and error.ctx is not None:
        return error.param.make_metavar(error.ctx).strip("[].")
    hint = error.param_hint or "a parameter"
    return hint if isinstance(hint, str) else " / ".join(hint)


def _expected(error: click.MissingParameter) -> str:
    """Return the expected value: the choices, or the first sentence of the option's help."""
    parameter = error.param
    if parameter is not None and isinstance(parameter.type, click.Choice):
        return " | ".join(map(str, parameter.type.choices))
    help_text = parameter.help if isinstance(parameter, click.Option) else None
    return (help_text or "").partition(". ")[0].rstrip(".")


def _sentence(text: str) -> str:
    """Return a message of click without its initial capital and final period."""
    text = text.strip().rstrip(".")
    return text[:1].lower() + text[1:] if text[1:2].islower() else text
