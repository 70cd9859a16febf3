"""Names of masks: what stands around the name of the image, as in `1_mask`, `p1` or `1.jpg.png`."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

_TRIED_MASKS = 16
_IMAGE_WORDS = "image|images|img|frame|sat|orig|original|rgb"
_MASK_WORDS = "mask|masks|segmentation|seg|gt|ground_?truth|label|labels|annotation|anno|bin"


def match_names(images: dict[str, Path], masks: dict[str, Path]) -> dict[str, Path]:
    """The masks under the names of their images, none of which is the name of its mask.

    Args:
        images: Stem -> file.
        masks: Stem -> file.

    Returns:
        Masks by the stems of their images where the names tell them, else `masks`.
    """
    full = {stem: path.name for stem, path in images.items()}
    if all(stem in full.values() for stem in masks):
        return {stem: masks[name] for stem, name in full.items() if name in masks}
    affixes = set()
    for first in list(masks)[:_TRIED_MASKS]:  # one of them may belong to no image
        affixes |= {("", first[len(stem) :]) for stem in images if first.startswith(stem)}
        affixes |= {(first[: -len(stem)], "") for stem in images if first.endswith(stem)}
    # A number is never an affix: 10 is another frame than 1.
    for before, behind in sorted(affixes):
        if not (before or behind)[-1 if before else 0].isdecimal() and all(
            stem.startswith(before) and stem.endswith(behind) for stem in masks
        ):
            return {
                stem[len(before) : len(stem) - len(behind)]: path for stem, path in masks.items()
            }
    return _without_words(images, masks)


def _without_words(images: dict[str, Path], masks: dict[str, Path]) -> dict[str, Path]:
    """The masks under the names of their images, told apart by words such as `mask`."""
    left = {_without_word(stem, _IMAGE_WORDS): stem for stem in images}
    right = {_without_word(stem, _MASK_WORDS): stem for stem in masks}
    if len(left) < len(images) or len(right) < len(masks) or not left.keys() & right.keys():
        return masks
    return {left.get(core, stem): masks[stem] for core, stem in right.items()}


def _without_word(stem: str, words: str) -> str:
    bare = re.sub(rf"[ _.-]+(?:{words})$", "", stem, flags=re.IGNORECASE)
    return re.sub(rf"^(?:{words})[ _.-]+", "", bare, flags=re.IGNORECASE)
