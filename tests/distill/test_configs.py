"""The configurations that are shipped are read, and name students that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill import config
from distill.students.build import STUDENTS
from edge.errors import UsageError

FILES = sorted((Path(config.__file__).parent / "configs").glob("*.yaml"))


def test_a_configuration_is_found_by_name_after_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration is found by its name and a file comes first."""
    monkeypatch.chdir(tmp_path)
    assert config.find_config(Path("edge-xs")) in FILES
    (tmp_path / "edge-xs").write_text("student: edge-s")
    assert config.read_config_file(config.find_config(Path("edge-xs"))) == {"student": "edge-s"}
    with pytest.raises(UsageError, match="edge-q") as refused:
        config.find_config(Path("edge-q"))
    assert "edge-s-4f" in str(refused.value.expected)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_shipped_configuration_is_read(path: Path) -> None:
    settings = config.make_config({"data": ["DIR"], **config.read_config_file(path)})
    assert settings.student.name in STUDENTS
    # `edge-m` names a class of machines; its student is the one that is a teacher elsewhere.
    assert path.stem.startswith(settings.student.name) or path.stem == "edge-m"
    stages = [stage.settings for stage in settings.run.stages] or [{}]
    shares = [stage.get("shifted_views", settings.augmentation.shifted_views) for stage in stages]
    assert all(0 < share <= 1 for share in shares)


def test_folders_may_be_paths() -> None:
    settings = config.resolve_config(None, {"data": (Path("a"),), "negatives": [Path("b")]})
    assert settings.data.folders == [str(Path("a").resolve())]
    assert settings.data.negatives == [str(Path("b").resolve())]
