"""A shipped bundle's weights, read back out of its engine."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from distill.data.tensors import to_tensor
from distill.students.build import build_student
from edge.bundle.reader import Bundle
from edge.bundle.shipped import shipped_bundles
from quantize.bundle.weights import bundle_weights


@pytest.mark.parametrize("name", sorted(shipped_bundles()))
def test_a_bundles_student_nearly_gives_its_engines_scores(name: str) -> None:
    """The student of a bundle gives nearly the scores of its engine."""
    bundle = Bundle.open(shipped_bundles()[name])
    student = build_student(bundle.manifest.provenance.student, pretrained=False)
    loaded = student.load_state_dict(bundle_weights(bundle), strict=False)
    assert not loaded.unexpected_keys
    missing = [key for key in loaded.missing_keys if not key.endswith("num_batches_tracked")]
    assert all(key.startswith("presence.") for key in missing)
    if missing:  # a bundle of before the presence logit
        for parameter in student.get_submodule("presence.head").parameters():
            torch.nn.init.zeros_(parameter)
    student.eval()
    differences = []
    for golden in bundle.manifest.golden.frames:
        frame, scores = (
            cv2.imdecode(np.frombuffer(bundle.read(path), np.uint8), cv2.IMREAD_UNCHANGED)
            for path in (golden.frame, golden.scores)
        )
        assert frame is not None
        assert scores is not None
        with torch.no_grad():
            logits = student(to_tensor(np.ascontiguousarray(frame[None, ..., ::-1])))[0, 0]
        differences.append(np.abs(logits.sigmoid().numpy() - scores / 256).mean())
    assert float(np.mean(differences)) < 0.02
