from __future__ import annotations

import numpy as np
import pytest
import torch

from distill.students.build import build_student
from distill.train.logit_range import MAX_PRESENCE, MIN_PRESENCE, fit_logits

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["edge-s", "edge-xs"])
@pytest.mark.parametrize("shift", [40.0, -40.0])
def test_a_large_presence_logit_is_scaled_and_masks_stay(name: str, shift: float) -> None:
    student = build_student(name, pretrained=False).eval()
    with torch.no_grad():
        student.get_parameter("presence.head.bias").add_(shift)
        student.get_parameter("head.bias").sub_(shift)
    frames = (torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() - 127) / 128
    with torch.no_grad():
        before = student.maps(frames)
    factor = fit_logits(student, IMAGES, batch_size=2)
    with torch.no_grad():
        after = student.maps(frames)
    assert 0 < factor < 1
    assert after.presence is not None
    assert float(after.presence.max()) <= MAX_PRESENCE + 1e-4
    assert float(after.presence.min()) >= MIN_PRESENCE - 1e-4
    assert torch.allclose(after.logits, factor * before.logits, atol=1e-3)
    assert fit_logits(student, IMAGES) == pytest.approx(1.0, abs=1e-4)


def test_a_student_without_a_presence_logit_is_left_alone() -> None:
    student = build_student("unetpp-16").eval()
    weights = {name: value.clone() for name, value in student.state_dict().items()}
    assert fit_logits(student, IMAGES) == 1.0
    assert all(torch.equal(weights[name], value) for name, value in student.state_dict().items())
