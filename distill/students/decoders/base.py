"""Interface of every decoder."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple

from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Mapping


class Decoded(NamedTuple):
    """Maps of a decoder, all with `Decoder.width` channels.

    Attributes:
        low: (B, width, H / 16, W / 16).
        high: (B, width, H / 8, W / 8).
        last: (B, width, H / 4, W / 4), or at `Decoder.STRIDE`, which a 1x1 convolution turns into
            logits.
        reconstruction: Scalar, how far a decoder that rebuilds its input is from it; None for
            others, and where it was not asked for.
    """

    low: Tensor
    high: Tensor
    last: Tensor
    reconstruction: Tensor | None = None


class Decoder(nn.Module, ABC):
    """From an encoder's maps to a map at stride 4.

    Args:
        channels: Name of each map of the encoder -> its channels; holds at least `NEEDS`.
        width: Channels that the student gives its decoder.

    Attributes:
        NEEDS: Names of the maps that it reads.
        FLAT: Its parts are named in the student's state dict without `decoder.` before them.
        STRIDE: Input pixels per cell of the map that the logits are made of.
        LACKS: Names of parts that a decoder with the same names has beside its own.
        width: Channels of its maps.
    """

    NEEDS: tuple[str, ...] = ("x4", "x8", "x16", "x32")
    FLAT = False
    STRIDE = 4
    LACKS: tuple[str, ...] = ()

    def __init__(self, channels: Mapping[str, int], width: int) -> None:
        super().__init__()
        del channels
        self.width = width

    @abstractmethod
    def forward(self, maps: Mapping[str, Tensor], *, training: bool = False) -> Decoded:
        """Decode the maps of a batch.

        Args:
            maps: Name of each map -> (B, channels, h, w).
            training: Compute what only the loss reads as well.
        """
