"""Published figures that stand beside the table, and what they are measured by."""

from __future__ import annotations

from typing import NamedTuple

FIELD = "A, mean Dice"
NOTEBOOK = "Dice pooled over batches of 6 at threshold 0.5, neither A nor B"


class PublishedRow(NamedTuple):
    """Figures of one method.

    Attributes:
        method: Its name.
        source: Where the figures are from.
        measure: What they are measured by.
        dice: Name of a test set in `edge.datasets.public_sets.SETS` -> Dice.
    """

    method: str
    source: str
    measure: str
    dice: dict[str, float]


_PRANET = "Fan et al., MICCAI 2020"
PUBLISHED = (
    PublishedRow(
        "U-Net",
        _PRANET,
        FIELD,
        {"kvasir": 0.818, "clinicdb": 0.823, "cvc300": 0.710, "colondb": 0.512, "etis": 0.398},
    ),
    PublishedRow(
        "U-Net++",
        _PRANET,
        FIELD,
        {"kvasir": 0.821, "clinicdb": 0.794, "cvc300": 0.707, "colondb": 0.483, "etis": 0.401},
    ),
    PublishedRow(
        "PraNet",
        _PRANET,
        FIELD,
        {"kvasir": 0.898, "clinicdb": 0.899, "cvc300": 0.871, "colondb": 0.709, "etis": 0.628},
    ),
    PublishedRow(
        "Polyp-DiFoM, U-Net++, 3F",
        "outputs stored in the released notebook",
        NOTEBOOK,
        {
            "kvasir": 0.8586,
            "clinicdb": 0.9471,
            "cvc300": 0.8416,
            "colondb": 0.7115,
            "etis": 0.5188,
        },
    ),
)
