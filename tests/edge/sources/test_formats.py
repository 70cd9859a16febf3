"""Raw video in BGR: exact by the picture's matrix, each chroma sample at its own pixels."""

from __future__ import annotations

from contextlib import suppress

import numpy as np
import pytest

from edge.imaging.buffer_pool import BufferPool
from edge.sources.formats import VideoFormat, to_bgr
from edge.sources.open import open_source

BT709 = np.array(
    [[0.2126, 0.7152, 0.0722], [-0.114572, -0.385428, 0.5], [0.5, -0.454153, -0.045847]]
)
"""R, G, B -> Y', Cb, Cr (ITU-R BT.709-6, items 3.2 and 3.3)."""


@pytest.mark.parametrize("layout", ["YUY2", "UYVY", "NV12", "I420"])
@pytest.mark.parametrize(
    "color", [(255, 0, 0), (150, 8, 8), (200, 90, 70), (0, 255, 0), (10, 60, 200), (0, 0, 0)]
)
def test_colors_of_hd_are_exact_also_where_they_are_strong(
    layout: str, color: tuple[int, int, int]
) -> None:
    height, width = 720, 1280
    y, blue, red = np.rint(BT709 @ color / 255 * (219, 224, 224) + (16, 128, 128)).astype(np.uint8)
    quarter = height * width // 4
    pictures = {
        "YUY2": np.tile([y, blue, y, red], 2 * quarter),
        "UYVY": np.tile([blue, y, red, y], 2 * quarter),
        "NV12": np.r_[np.full(4 * quarter, y), np.tile([blue, red], quarter)],
        "I420": np.repeat([y, blue, red], [4 * quarter, quarter, quarter]),
    }
    data = pictures[layout].astype(np.uint8).tobytes()
    image = to_bgr(data, VideoFormat(layout, width, height, colorimetry="bt709"), BufferPool())
    assert image.shape == (height, width, 3)
    assert np.abs(image.reshape(-1, 3)[:, ::-1].astype(int) - color).max() <= 2


@pytest.mark.parametrize("layout", ["YUY2", "UYVY", "NV12", "I420"])
def test_chroma_lands_on_its_own_pixels(layout: str) -> None:
    half = "video/x-raw,format=BGR,width=640,height=720"
    text = (
        "compositor name=both sink_1::xpos=640 ! "
        "video/x-raw,format=BGR,width=1280,height=720,framerate=30/1 ! videoconvert ! "
        f"video/x-raw,format={layout},colorimetry=bt709 ! identity name=last videotestsrc "
        f"is-live=true pattern=red ! {half} ! both. videotestsrc is-live=true pattern=blue "
        f"! {half} ! both. last."
    )
    with open_source(f"gst:{text}?reopen=0") as source:
        frame = None
        # The compositor shows its gray background until both patterns have arrived.
        while frame is None or min(np.ptp(frame.image[0, (0, -1)], axis=-1)) < 100:
            with suppress(TimeoutError):
                frame = source.read()
    assert layout in source.description
    for columns, color in ((slice(0, 630), (0, 0, 255)), (slice(650, 1280), (255, 0, 0))):
        assert np.abs(frame.image[:, columns].reshape(-1, 3).astype(int) - color).max() <= 4


def test_bytes_that_are_too_few_are_no_picture() -> None:
    with pytest.raises(ValueError, match="reshape"):
        to_bgr(bytes(100), VideoFormat("YUY2", 320, 240), BufferPool())
