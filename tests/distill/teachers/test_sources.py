"""Where the weights of a teacher are: a path of an unknown user is an error with its name."""

from __future__ import annotations

import pytest

from distill.teachers.build import build_task_teacher, build_teacher
from edge.errors import EdgeDifomError


@pytest.mark.parametrize(
    "spec",
    [
        "dinov2:~nobody-of-that-name/weights",
        "segformer:~nobody-of-that-name/weights",
        "sam:~nobody-of-that-name/sam_vit_b.pth",
        "timm:resnet18@~nobody-of-that-name/model.safetensors",
        "run:~nobody-of-that-name/run",
    ],
)
def test_the_folder_of_an_unknown_user_is_a_clear_error(spec: str) -> None:
    with pytest.raises(EdgeDifomError) as caught:
        build_teacher(spec)
    assert "nobody-of-that-name" in str(caught.value)


def test_a_run_of_an_unknown_user_is_a_clear_error() -> None:
    with pytest.raises(EdgeDifomError) as caught:
        build_task_teacher(["run:~nobody-of-that-name/run"])
    assert "nobody-of-that-name" in str(caught.value)
