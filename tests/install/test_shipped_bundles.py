"""What is shipped under edge/bundles is what it says."""

from __future__ import annotations

import re

import cv2
import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.bundle.shipped import default_bundle, shipped_bundles
from edge.engines.golden_check import verify_bundle

SHIPPED = shipped_bundles()
ABSOLUTE = re.compile(r"[\"'`\s]/(home|root|mnt|media|tmp|srv|work|Users)/")


def test_the_default_bundle_is_shipped() -> None:
    assert default_bundle() is not None


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_agrees_with_its_golden_frames(name: str) -> None:
    """A shipped bundle agrees with its golden frames in every engine."""
    bundle = Bundle.open(SHIPPED[name])
    assert {(entry.runtime, entry.precision) for entry in bundle.manifest.engines} >= {
        ("openvino", "int8"),
        ("tflite", "int8"),
    }
    report = verify_bundle(bundle)
    assert report.ok
    shares = []
    for golden in bundle.manifest.golden.frames:
        scores = cv2.imdecode(
            np.frombuffer(bundle.read(golden.scores), np.uint8), cv2.IMREAD_GRAYSCALE
        )
        assert scores is not None
        shares.append(float((scores / 256 >= bundle.manifest.output.threshold).mean()))
    assert 2 * sum(0.005 <= share <= 0.5 for share in shares) >= len(shares) >= 4


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_bundle_says_what_it_is_for_and_tells_no_path(name: str) -> None:
    bundle = Bundle.open(SHIPPED[name])
    assert "research use" in bundle.manifest.intended_use.lower()
    assert bundle.manifest.accuracy
    assert all(row.n > 0 for row in bundle.manifest.accuracy)
    for path in sorted(SHIPPED[name].rglob("*")):
        if path.suffix in {".json", ".md", ".xml"}:
            match = ABSOLUTE.search(path.read_text())
            assert match is None, f"{path.name} tells a folder of the machine that made it: {match}"
