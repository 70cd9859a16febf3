"""Signed description of a bundle, from which a device decides before it reads the bundle."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from edge.bundle.manifest import EngineEntry, Strict

# msgspec reads these annotations when it decodes an offer.
from edge.errors import BundleError

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle

FORMAT = 1
MAX_VERSION = 999_999_999
"""Highest version of a bundle; a higher one could never be followed by a later one."""

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,127}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,199}")


class Offer(Strict, frozen=True, kw_only=True):
    """The `custom` field of a target.

    Attributes:
        format: Format version of this record.
        version: Version of the bundle, increasing with each publication under its name.
        name: Name of the bundle.
        schema_version: Schema version of its manifest.
        manifest: SHA-256 of its manifest.
        engines: Its engines, with their minimum runtime versions and architectures.
    """

    format: int = FORMAT
    version: int
    name: str
    schema_version: int
    manifest: str
    engines: list[EngineEntry]


def make_offer(bundle: Bundle, version: int) -> Offer:
    """Describe a bundle."""
    return Offer(
        version=version,
        name=bundle.manifest.name,
        schema_version=bundle.manifest.schema_version,
        manifest=bundle.digest,
        engines=bundle.manifest.engines,
    )


def read_offer(custom: Any, target: str) -> Offer:
    """Read an offer from signed metadata.

    Args:
        custom: The target's `custom` field as decoded JSON.
        target: Name of the target, for error messages.

    Raises:
        BundleError: The data are not an offer of this format.
    """
    try:
        if isinstance(custom, dict) and custom.get("format") != FORMAT:
            raise BundleError(
                f"{target} is offered in format {custom.get('format')}, "
                f"this edge-difom reads format {FORMAT}",
                hint="pip install --upgrade edge-difom",
            )
        offer = msgspec.convert(custom, type=Offer)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{target} is not described as a bundle",
            expected="version, architectures and runtimes in its signed metadata",
            got=str(error),
            hint="publish it again",
            code="invalid-offer",
        ) from error
    if not 1 <= offer.version <= MAX_VERSION:
        raise BundleError(
            f"{target} is offered with a version out of range",
            expected=f"a version from 1 to {MAX_VERSION}",
            got=f"a number of {offer.version.bit_length()} bits",
        )
    return offer


def is_target_name(name: str) -> bool:
    """Return whether a text can name a bundle in a repository, and a file in any file system.

    Letters, digits, dot, dash and underscore of ASCII: no separator, NUL, or escape code.
    """
    return _NAME.fullmatch(name) is not None


def is_file_name(name: str) -> bool:
    """Return whether a text can name a wheel or script in a repository; wheels may have a plus."""
    return _FILE.fullmatch(name) is not None


def differences(offer: Offer, bundle: Bundle) -> list[str]:
    """List the differences between a bundle and its offer."""
    actual = make_offer(bundle, offer.version)
    return [
        name for name in Offer.__struct_fields__ if getattr(actual, name) != getattr(offer, name)
    ]
