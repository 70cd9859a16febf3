"""`edge-difom distill --help-config`: every training option with type, default and meaning."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from distill.config import Option

_WIDTH = 100


def help_text(options: Sequence[Option]) -> str:
    """Format the options for a terminal: name, type and default, and the meaning below.

    Args:
        options: From `distill.config.config_options`.
    """
    parts = []
    for option in options:
        default = "required" if option.default is None else f"default: {option.default}"
        meaning = textwrap.fill(
            option.help, _WIDTH, initial_indent="    ", subsequent_indent="    "
        )
        parts.append(f"{option.key}  {option.type}  [{default}]\n{meaning}")
    return "\n".join(parts)
