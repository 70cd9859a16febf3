"""The configurations that are shipped are read, and name students that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill import config
from distill.students import STUDENTS

FILES = sorted((Path(config.__file__).parent / "configs").glob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_read(path: Path) -> None:
    made = config.make_config({"data": ["DIR"], **config.read_config_file(path)})
    assert made.student in STUDENTS
    assert path.stem.startswith(made.student)
    assert made.augmentation == "domain-shift"
