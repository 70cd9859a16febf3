"""CONTRIBUTING.md: its examples run as plug-ins, and its walks lead from file to file."""

from __future__ import annotations

import re
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from distill.students.build import build_student
from distill.teachers.build import build_teacher
from edge.engines.open import open_engine_files
from edge.errors import UsageError
from edge.evaluation.delimit.build import Opening, build_delineator, build_detector
from edge.frame import Result
from edge.sinks.open import open_sinks
from edge.sources.open import open_source
from quantize.graph.canonical import canonicalize

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text()
PACKAGE = "my_package"
WALK = re.compile(
    r"^\| (.+) \| `(.+?)`, (.+) \| `(.+?)`, (.+) \| `(.+?)`: `(.+)` \|$", re.MULTILINE
)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def section(page: str, heading: str) -> str:
    match = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert match is not None, heading
    return match[1]


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The examples as an installed distribution."""
    (tmp_path / PACKAGE).mkdir()
    for block in blocks("python"):
        title = re.match(r"# (my_package/\w+\.py)\n", block)
        assert title is not None, "an example begins with the name of its file"
        (tmp_path / title[1]).write_text(block)
    (lines,) = blocks("toml")
    info = tmp_path / f"{PACKAGE}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n")
    groups = re.sub(r'^\[project\.entry-points\."(.+)"\]$', r"[\1]", lines, flags=re.MULTILINE)
    (info / "entry_points.txt").write_text(groups.replace('"', ""))
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


def test_the_student_trains_and_exports(installed: Path) -> None:
    student = build_student("small", pretrained=False)
    maps = student.maps(torch.zeros(2, 3, 64, 64))
    assert maps.logits.shape == (2, 1, 16, 16)
    assert maps.low.shape == (2, student.low_channels, 8, 8)
    assert maps.high.shape == (2, student.high_channels, 16, 16)
    scores = canonicalize(student.eval(), (64, 64)).scores(torch.zeros(1, 3, 64, 64))
    assert scores.shape == (1, 16, 16)


def test_the_teacher_gives_the_color_of_a_cell(installed: Path) -> None:
    images = torch.full((1, 3, 8, 8), 51, dtype=torch.uint8)
    images[:, 0] = 255
    features = build_teacher("colors").features(images, (2, 2))
    assert torch.allclose(features[0, :, 0, 0], torch.tensor([1.0, 0.2, 0.2]))


def test_the_engine_scores_red(installed: Path) -> None:
    engine = open_engine_files("redness", [b"\x02"], threads=1)
    image = np.zeros((64, 64, 3), np.uint8)
    image[:32, :, 0] = 100
    scores = engine.infer(image)
    assert scores.shape == (16, 16)
    assert (scores[:8] == 200).all()
    assert not scores[8:].any()
    assert engine.settings()["threads"] == 1


def test_the_source_and_the_sink_pass_frames_on(installed: Path) -> None:
    for name, value in (("b", 2), ("a", 1)):
        np.save(installed / f"{name}.npy", np.full((4, 6, 3), value, np.uint8))
    target = installed / "areas.csv"
    with open_source(f"npy:{installed}") as source, open_sinks([f"areas:{target}"])[0] as sink:
        values = []
        while (frame := source.read()) is not None:
            values.append(int(frame.image[0, 0, 0]))
            sink.write(frame, Result(None, (), 0.25, None))
    assert values == [1, 2]
    assert sink.outputs() == [target]
    assert target.read_text() == "0,0.2500\n1,0.2500\n"
    with pytest.raises(UsageError, match="no option"):
        open_source(f"npy:{installed}?a=1")
    with pytest.raises(FileExistsError), open_sinks([f"areas:{target}"])[0]:
        pass


def test_the_detector_and_the_delineator_work_together(installed: Path) -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    image[1:3, 1:4] = 200
    true = image[..., 0] > 0
    with ExitStack() as stack:
        proposals = build_detector("quarters", Opening(stack)).detect(image, true)
        masks = build_delineator("bright", Opening(stack)).delineate(image, proposals, true)
    assert [proposal.box[:2] for proposal in proposals] == [(0, 0), (6, 0), (0, 4), (6, 4)]
    assert (masks[0] == true).all()
    assert not masks[3].any()


def test_each_walk_leads_from_the_readme_to_its_line() -> None:
    walks = WALK.findall(TEXT)
    assert len(walks) == 3
    for _, first, first_part, second, second_part, last, line in walks:
        assert first == "README.md"
        assert second in section((ROOT / first).read_text(), first_part)
        assert last in section((ROOT / second).read_text(), second_part)
        assert line in (ROOT / last).read_text()
