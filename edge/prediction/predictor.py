"""Predict the mask of single images with a bundle, as the device would show it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np

from edge.frame import Frame
from edge.imaging.field_of_view import estimate
from edge.imaging.region_masks import region_labels
from edge.imaging.view import restrict
from edge.pipeline.analysis import analyze

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from edge.bundle.reader import Bundle
    from edge.contracts import Engine
    from edge.frame import ImageU8, Region


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a bundle finds in one image.

    Attributes:
        mask: (H, W) uint8, 255 inside the regions and 0 elsewhere, at the size of the image.
        regions: The regions with box, outline, area and highest score, largest first.
        area: Share of the part that the model saw which the regions cover, 0 to 1.
        scores: (h, w) uint8 score map of the engine in 1/256; None if it gave none.
        reason: Why the image was not judged, so that an empty mask says nothing; None if it was.
    """

    mask: ImageU8
    regions: tuple[Region, ...]
    area: float
    scores: ImageU8 | None
    reason: str | None


class Predictor:
    """An open engine of a bundle that judges one image at a time; a context manager.

    Single images have no neighbors in time, so neither the frame guard nor temporal smoothing
    applies, as in `edge-difom run` on a folder of images.

    Args:
        bundle: An open bundle; its manifest has the operating point and the field-of-view rule.
        engine: An engine of the bundle, which the predictor closes.
    """

    def __init__(self, bundle: Bundle, engine: Engine) -> None:
        self.bundle, self.engine = bundle, engine

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the engine."""
        self.engine.close()

    def predict(self, image: ImageU8) -> Prediction:
        """Predict the mask of an image.

        Args:
            image: (H, W, 3) uint8 RGB of any size.

        Raises:
            DataError: `image` has another shape or type.
        """
        if image.ndim == 3 and image.shape[2] == 3:
            image = np.ascontiguousarray(image[..., ::-1])
        view = estimate(image)  # refuses an array that is not an image
        frame = Frame(0, image, time.monotonic_ns())
        manifest = self.bundle.manifest
        result = restrict(analyze(frame, self.engine, manifest, view=view), view)
        size = (image.shape[0], image.shape[1])
        mask: ImageU8 = np.zeros(size, np.uint8)
        scores = None
        if result.scores is not None:
            scores = result.scores.copy()  # the engine reuses its memory
            labels = region_labels(
                scores, result.regions, size, manifest.output.threshold, result.part
            )
            mask = cv2.compare(labels, 0, cv2.CMP_GT)
        reason = None if result.reason is None else str(result.reason)
        return Prediction(mask, result.regions, result.mask_area, scores, reason)
