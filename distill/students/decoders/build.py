"""Decoders by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from distill.students.decoders.emcad import EmcadDecoder
from distill.students.decoders.fpn import Fpn8Decoder, FpnDecoder
from distill.students.decoders.pld import PldDecoder
from distill.students.decoders.rpca import RpcaDecoder
from edge.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from distill.students.decoders.base import Decoder

DECODERS: dict[str, type[Decoder]] = {
    "emcad": EmcadDecoder,
    "fpn": FpnDecoder,
    "fpn8": Fpn8Decoder,
    "pld": PldDecoder,
    "rpca": RpcaDecoder,
}


def build_decoder(name: str, channels: Mapping[str, int], width: int) -> Decoder:
    """A decoder by name.

    Args:
        name: One of `DECODERS`.
        channels: Name of each map of the encoder -> its channels.
        width: Channels that the student gives its decoder.

    Raises:
        UsageError: Unknown name, or an encoder without a map that the decoder reads.
    """
    if name not in DECODERS:
        raise UsageError(f"unknown decoder {name!r}", expected=" | ".join(sorted(DECODERS)))
    kind = DECODERS[name]
    missing = [need for need in kind.NEEDS if need not in channels]
    if missing:
        raise UsageError(
            f"decoder {name} does not fit an encoder without {', '.join(missing)}",
            expected=", ".join(kind.NEEDS),
            got=", ".join(channels),
        )
    return kind(channels, width)
