"""What a person decided about a still: one file beside it, so that it is never half-written."""

from __future__ import annotations

import re
import struct
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np

from edge import __version__
from edge.bundle.manifest import Strict
from edge.errors import DataError, UsageError
from edge.imaging.view import black_outside
from edge.status import TextEnum
from edge.stills.files import IMAGE
from edge.stills.still import now
from edge.util.files import PRIVATE_FILE, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8
    from edge.stills.still import Still

FILE = "decision.json"
SCHEMA = 1
_HALF = 128
_PNG = re.compile(rb"\x89PNG\r\n\x1a\n\0\0\0\rIHDR(.{8})", re.DOTALL)


class Verdict(TextEnum):
    """What a frame is to a training."""

    POLYP = "polyp"
    """It shows a polyp, where the mask says."""
    CLEAN = "clean"
    """It shows no polyp."""
    SKIP = "skip"
    """It is of no use."""


class Decision(Strict, frozen=True, kw_only=True):
    """`decision.json`.

    Attributes:
        schema: Version of the format, `SCHEMA`.
        verdict: What the frame is.
        mask: PNG of the mask that was drawn, (H, W) 0 or 255; null if the found mask was accepted,
            or there is no polyp.
        frame: SHA-256 of the frame that was looked at.
        decided: Date and time in UTC.
        version: Version of this project.
    """

    schema: int = SCHEMA
    verdict: Verdict
    mask: bytes | None = None
    frame: str
    decided: str
    version: str


def decide(still: Still, verdict: Verdict, drawing: bytes | None = None) -> Decision:
    """Make a decision about a still.

    Args:
        still: The still.
        verdict: What it is.
        drawing: PNG of a drawn mask, of the size of the frame, set where it is opaque, or bright if
            it has no alpha; only for a polyp. None accepts the found mask.

    Raises:
        UsageError: The picture does not fit, or a polyp would have no mask.
    """
    mask = None
    if verdict is Verdict.POLYP:
        if drawing is not None:
            mask = black_outside(decode_drawn(drawing, still.record.size), still.view)
        mask_to_keep = still.mask if mask is None else mask
        if mask_to_keep is None or not mask_to_keep.any():
            raise UsageError(
                "a polyp needs a mask inside the field of view",
                expected="a mask that was found, or one that is drawn",
                hint="draw the outline, or decide that the frame is clean",
            )
    elif drawing is not None:
        raise UsageError("only a polyp has a mask", expected=f"verdict {Verdict.POLYP}")
    return Decision(
        verdict=verdict,
        mask=None if mask is None else encode_mask(mask),
        frame=still.record.files[IMAGE],
        decided=now().isoformat(timespec="seconds"),
        version=__version__,
    )


def write_decision(path: Path, decision: Decision | None) -> None:
    """Keep a decision beside its still; None withdraws it.

    Args:
        path: Folder of the still.
        decision: The decision.

    Raises:
        OSError: It cannot be written; an earlier decision stays.
    """
    if decision is None:
        (path / FILE).unlink(missing_ok=True)
    else:
        write_json(path / FILE, decision, mode=PRIVATE_FILE)


def read_decision(path: Path) -> Decision | None:
    """Read the decision about a still; None if there is none yet.

    Raises:
        DataError: The file is damaged or has a different schema.
    """
    try:
        data = (path / FILE).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path / FILE} cannot be read", got=error.strerror or "") from error
    try:
        decision = msgspec.json.decode(data, type=Decision)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DataError(f"{path / FILE} is not a decision", got=str(error)) from error
    if decision.schema != SCHEMA:
        raise DataError(
            f"{path / FILE} has a different schema", expected=f"{SCHEMA}", got=f"{decision.schema}"
        )
    return decision


def decided_mask(decision: Decision, still: Still) -> ImageU8:
    """Return the mask of a polyp: (H, W) uint8, 0 or 255.

    Raises:
        DataError: The decision is about a different picture.
    """
    if decision.frame != still.record.files.get(IMAGE):
        raise DataError(
            "a decision is about a different picture",
            expected=f"SHA-256 {decision.frame}",
            got=f"SHA-256 {still.record.files.get(IMAGE)}",
        )
    if decision.mask is None:
        assert still.mask is not None, "`decide` accepts no mask that is not there"
        return still.mask
    return black_outside(decode_drawn(decision.mask, still.record.size), still.view)


def encode_mask(mask: ImageU8) -> bytes:
    """Encode a mask as PNG."""
    done, data = cv2.imencode(".png", mask)
    assert done, f"no PNG of {mask.shape}"
    return bytes(data)


def decode_drawn(data: bytes, size: tuple[int, int]) -> ImageU8:
    """Decode a drawn mask to (H, W) uint8, 0 or 255.

    Args:
        data: PNG; its size is compared before it is decoded.
        size: Height and width of the frame.

    Raises:
        UsageError: It is no PNG of that size.
    """
    head = _PNG.match(data)
    png_size = struct.unpack(">II", head[1])[::-1] if head else None
    pixels = None
    if png_size == size:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint8:
        raise UsageError(
            "the drawn mask does not fit its frame",
            expected=f"a PNG of {size[1]}x{size[0]} pixels with 8 bits",
            got=f"{png_size[1]}x{png_size[0]} pixels" if png_size else "no PNG",
        )
    strength = pixels if pixels.ndim == 2 else pixels[..., -1 if pixels.shape[2] == 4 else 0]
    return np.where(strength >= _HALF, 255, 0).astype(np.uint8)
