"""A bundle tells when and how its student was trained, and no folder of the machine."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from distill.config import make_config
from distill.run_folder import describe_run, training_versions
from quantize.bundle.origin import origin_facts, without_folders

if TYPE_CHECKING:
    from pathlib import Path

    from distill.run_folder import LoadedRun


def run_of(folder: Path, **settings: Any) -> LoadedRun:
    config = make_config(settings)
    return cast("LoadedRun", SimpleNamespace(path=folder, config=config))


def test_versions_and_machine_are_those_of_the_start(tmp_path: Path) -> None:
    run = run_of(tmp_path, data=["/ward/data"], epochs=7, start="/ward/start.pt")
    describe_run(tmp_path, run.config)
    record = msgspec.json.decode((tmp_path / "env.json").read_bytes())
    record |= {"torch": "1.0", "date": "2026-01-02", "command": "edge-difom distill --data /a/b"}
    (tmp_path / "env.json").write_bytes(msgspec.json.encode(record))
    facts = origin_facts(run)
    assert facts.versions["torch"] == "1.0"
    assert facts.training["date"] == "2026-01-02"
    assert facts.training["command"] == "edge-difom distill --data b"
    assert facts.configuration["epochs"] == "7"
    assert facts.configuration["start"] == "start.pt"
    assert "data" not in facts.configuration
    assert "lr" not in facts.configuration, "a default says nothing"


def test_a_run_without_a_record_has_the_versions_of_now(tmp_path: Path) -> None:
    facts = origin_facts(run_of(tmp_path, data=[]))
    assert facts.versions == training_versions()
    assert facts.training == {}


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("run:/home/x/runs/a", "run:a"),
        (["/data/one", "two"], "['one', 'two']"),
        ("~/data", "data"),
        ("https://example.org/x", "https://example.org/x"),
        ("data/one", "data/one"),
        (0.5, "0.5"),
    ],
)
def test_a_folder_is_not_told(value: object, told: str) -> None:
    assert without_folders(value) == told
