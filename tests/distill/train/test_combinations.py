"""Options that make no sense together are refused by name; those that do are trained."""

from __future__ import annotations

from typing import Any

import pytest

from distill.config import make_config
from distill.students.build import build_student
from distill.train.combinations import refuse_combinations
from edge.errors import UsageError


def check(**settings: Any) -> None:
    config = make_config({"data": ["x"], "recipe": "none", "pretrained": False} | settings)
    refuse_combinations(build_student(config.student.network, pretrained=False), config)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"background": True, "recipe": "paper"}, "background=true does not fit recipe paper"),
        ({"uncertainty": True, "recipe": "paper"}, "uncertainty=true does not fit recipe paper"),
        ({"contrast_weight": 0.5}, "contrast_weight has no effect without detection=true"),
        ({"detection_weight": 2.0}, "detection_weight has no effect without detection=true"),
        (
            {"confidence_budget": 0.1, "detection": True},
            "confidence_budget has no effect without uncertainty=true",
        ),
        ({"student": "unet-32", "decoder": "emcad"}, "emcad does not fit student unet-32"),
        ({"student": "pranet", "detection": True}, "detection does not fit student pranet"),
        ({"attention": "softmax"}, "softmax does not fit student edge-s"),
        ({"decoder": "unet"}, "unknown part 'unet' of student edge-s"),
        (
            {"student": "pro-mamba", "recipe": "difom"},
            "pro-mamba teaches and is not taught: it is told the boxes",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        check(**settings)
    assert refused.value.expected


@pytest.mark.parametrize(
    "settings",
    [
        {"decoder": "emcad", "uncertainty": True, "detection": True, "background": True},
        {"decoder": "rpca", "dynamic_head": True, "contrast_weight": 0.0, "detection": True},
        {"decoder": "pld", "pooled_attention": True, "uncertainty": True, "confidence_budget": 1.0},
        {"student": "ssformer-b0", "detection": True, "hard_frames": True},
        {"student": "edge-xs", "selective_scan": True, "detection": True, "recipe": "difom"},
    ],
)
def test_parts_and_losses_combine(settings: dict[str, Any]) -> None:
    check(**settings)
