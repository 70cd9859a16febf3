"""What the metadata says of a bundle, so that a device decides before it reads a byte of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from edge.bundle.manifest import EngineEntry, Strict

# msgspec reads the annotations when an offer is decoded.
from edge.errors import BundleError

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle

FORMAT = 1


class Offer(Strict, frozen=True, kw_only=True):
    """`custom` of a target.

    Attributes:
        format: Of this record.
        version: Of the bundle, rising with each publication of its name.
        name: Of the bundle.
        schema_version: Of its manifest.
        manifest: SHA-256 of its manifest.
        engines: Its engines: runtimes with their least versions, architectures.
    """

    format: int = FORMAT
    version: int
    name: str
    schema_version: int
    manifest: str
    engines: list[EngineEntry]


def make_offer(bundle: Bundle, version: int) -> Offer:
    """What is to be said of a bundle."""
    return Offer(
        version=version,
        name=bundle.manifest.name,
        schema_version=bundle.manifest.schema_version,
        manifest=bundle.digest,
        engines=bundle.manifest.engines,
    )


def read_offer(custom: Any, target: str) -> Offer:
    """An offer out of signed metadata.

    Args:
        custom: Of the target, as decoded JSON.
        target: Its name, for the error.

    Raises:
        BundleError: It is none of this format.
    """
    try:
        if isinstance(custom, dict) and custom.get("format") != FORMAT:
            raise BundleError(
                f"{target} is offered in format {custom.get('format')}, this edge-difom reads format {FORMAT}",
                hint="pip install --upgrade edge-difom",
            )
        offer = msgspec.convert(custom, type=Offer)
    except msgspec.ValidationError as error:
        raise BundleError(
            f"{target} is not offered as a bundle",
            expected="version, architectures and runtimes in its signed metadata",
            got=str(error),
            hint="edge-difom bundle publish B --repository DIR --keys KEYS",
        ) from error
    if offer.version < 1:
        raise BundleError(
            f"{target} is offered with version {offer.version}", expected="a version from 1"
        )
    return offer


def differences(offer: Offer, bundle: Bundle) -> list[str]:
    """In what a bundle is not what was offered."""
    made = make_offer(bundle, offer.version)
    return [name for name in Offer.__struct_fields__ if getattr(made, name) != getattr(offer, name)]
