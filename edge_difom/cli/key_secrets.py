"""Passphrases of keys and PINs of tokens: from files, or asked for."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError
from firmware_bridge.fleet.trust.roles import ROLES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pin_option = click.option(
    "--pin-file",
    type=click.Path(path_type=Path),
    help="File whose first line is the PIN of the tokens with keys. Default: ask for it.",
)


def passphrases(paths: Sequence[Path], *, new: bool = False) -> list[bytes]:
    """Return the passphrases of the root keys; without files, one that is asked for."""
    if not paths:
        text: str = click.prompt(
            "passphrase of the root key", hide_input=True, confirmation_prompt=new, err=True
        )
        return [text.encode()]
    return [first_line(path, "passphrase").encode() for path in paths]


def pins(path: Path | None) -> Callable[[str], str]:
    """Return what gives the PIN of a token: that of a file, or one that is asked for once."""
    if path is not None:
        pin = first_line(path, "PIN")
        return lambda _: pin

    @cache
    def ask(label: str) -> str:
        text: str = click.prompt(f"PIN of the token {label}".rstrip(), hide_input=True, err=True)
        return text

    return ask


def first_line(path: Path, what: str) -> str:
    """Return the first line of a file.

    Raises:
        UsageError: It is empty.
    """
    lines = path.read_text().splitlines()
    if not lines or not lines[0]:
        raise UsageError(f"{path} contains no {what}", expected="a non-empty first line")
    return lines[0]


def tokens_of(texts: Sequence[str], roles: Sequence[str] = ROLES) -> dict[str, list[str]]:
    """Return the keys on tokens of each role.

    Args:
        texts: `ROLE=hsm:KEYID?label=LABEL`.
        roles: The roles that there are.

    Raises:
        UsageError: A role is unknown.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        role, _, uri = text.partition("=")
        if role not in roles or not uri:
            raise UsageError(
                f"invalid key on a token: {text!r}",
                expected=f"ROLE=hsm:KEYID?label=LABEL with a role of {', '.join(roles)}",
            )
        found.setdefault(role, []).append(uri)
    return found
