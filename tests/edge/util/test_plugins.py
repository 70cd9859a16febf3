"""Plug-ins of every kind, of other distributions."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from distill.students.build import build_student
from distill.teachers.build import build_teacher
from edge.engines.open import open_engine_files, split_name
from edge.errors import MissingDependencyError, UsageError
from edge.evaluation.delimit.build import Opening, build_delineator, build_detector
from edge.frame import Result
from edge.sinks.open import open_sinks
from edge.sources.open import open_source
from edge.sources.reconnect import ReopeningSource
from edge.util import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MODULE = "edge_difom_test_plugin"
CODE = """
import numpy as np
import torch

from distill.students.base import Student, StudentMaps
from distill.teachers.base import Teacher
from edge.errors import UsageError
from edge.evaluation.delimit.base import Proposal
from edge.sinks.base import BaseSink
from edge.sources.base import BaseSource


class Gray(BaseSource):
    live, reopens = True, True

    def __init__(self, target):
        super().__init__()
        self.description = f"gray {target}"

    @classmethod
    def from_spec(cls, spec):
        spec.refuse_options()
        return cls(spec.target)

    def _open(self):
        pass

    def _next(self):
        return self._frame(np.full((32, 32, 3), 128, np.uint8))

    def _close(self):
        pass


class Numbers(BaseSink):
    def __init__(self, path, force):
        super().__init__()
        self.path, self.force = path, force

    @classmethod
    def from_spec(cls, spec, options):
        return cls(spec.path, options.force)

    def write(self, frame, result):
        with self.path.open("a") as file:
            file.write(f"{frame.index}\\n")


class Half:
    name, input_size, input_buffer = "half", (8, 8), None

    def __init__(self, files, *, threads, device=""):
        self.files, self.threads, self.device = files, threads, device

    def infer(self, image):
        return np.full((4, 4), self.files[0][0], np.uint8)

    def settings(self):
        return {"device": self.device, "threads": self.threads}

    def close(self):
        pass


class Tiny(Student):
    stride, divisor, low_channels, high_channels = 1, 1, 1, 1

    def __init__(self, pretrained):
        super().__init__()
        self.pretrained = pretrained
        self.layer = torch.nn.Conv2d(3, 1, 1)

    def maps(self, x):
        logits = self.layer(x)
        return StudentMaps(logits, logits, logits)


class Corner:
    def __init__(self, side="4"):
        self.side = int(side)

    def detect(self, image, true):
        return [Proposal((0, 0, self.side, self.side), 0.5)]


class Everything:
    def delineate(self, image, proposals, true):
        return [np.ones(true.shape, bool) for _ in proposals]


class Mean(Teacher):
    def __init__(self, source="default"):
        super().__init__("mean", 3, source, size=8, cells=2)

    def native_features(self, pixels):
        return pixels


def not_a_source(*arguments, **keywords):
    return 7


def refused(source):
    raise UsageError("not this one")
"""
ENTRY_POINTS = f"""
[edge_difom.sources]
gray = {MODULE}:Gray
number = {MODULE}:not_a_source
gone = {MODULE}:Nothing
absent = {MODULE}_absent:Gray

[edge_difom.sinks]
numbers = {MODULE}:Numbers
number = {MODULE}:not_a_source

[edge_difom.engines]
half = {MODULE}:Half
number = {MODULE}:not_a_source

[edge_difom.students]
tiny = {MODULE}:Tiny
number = {MODULE}:not_a_source

[edge_difom.detectors]
corner = {MODULE}:Corner
number = {MODULE}:not_a_source

[edge_difom.delineators]
everything = {MODULE}:Everything
number = {MODULE}:not_a_source

[edge_difom.teachers]
mean = {MODULE}:Mean
number = {MODULE}:not_a_source
refused = {MODULE}:refused
"""


def install(folder: Path, name: str = "edge-difom-test-plugin") -> None:
    info = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / f"{MODULE}.py").write_text(textwrap.dedent(CODE))
    install(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    sys.modules.pop(MODULE, None)


def test_a_plugin_of_each_kind_is_used(installed: Path) -> None:
    source = open_source("gray:scale")
    assert isinstance(source, ReopeningSource)
    assert source.description == "gray scale"
    sinks = open_sinks(["jsonl", f"numbers:{installed}/numbers.txt", "web"], force=True)
    assert [type(sink).__name__ for sink in sinks] == ["WebSink", "Numbers", "JsonlSink"]
    with source, sinks[1] as sink:
        frame = source.read()
        assert frame is not None
        sink.write(frame, Result(None, (), 0.0, None))
    assert (installed / "numbers.txt").read_text() == "0\n"

    assert split_name("half:LEFT.1") == ("half", "LEFT.1")
    engine = open_engine_files("half:LEFT", [b"\x07"], threads=2)
    assert engine.settings() == {"device": "LEFT", "threads": 2}
    assert (engine.infer(np.zeros((8, 8, 3), np.uint8)) == 7).all()

    student = build_student("tiny", pretrained=False)
    assert student(torch.zeros(1, 3, 8, 8)).shape == (1, 1, 8, 8)
    images = torch.full((1, 3, 8, 8), 5, dtype=torch.uint8)
    features = build_teacher("mean").features(images)
    assert torch.allclose(features, torch.tensor(5.0))
    assert build_teacher("mean:other").preprocessing == "other"

    with ExitStack() as stack:
        opening, image = Opening(stack), np.zeros((8, 9, 3), np.uint8)
        (proposal,) = build_detector("corner:6", opening).detect(image, np.zeros((8, 9), bool))
        assert proposal.box == (0, 0, 6, 6)
        delineator = build_delineator("everything", opening)
        assert delineator.delineate(image, [proposal], np.zeros((8, 9), bool))[0].all()
        with pytest.raises(UsageError, match="unknown option"):
            build_detector("corner?side=2", opening)


CALLS: dict[str, Callable[[], object]] = {
    "source": lambda: open_source("number:x"),
    "attribute": lambda: open_source("gone:x"),
    "module": lambda: open_source("absent:x"),
    "sink": lambda: open_sinks(["number"]),
    "detector": lambda: build_detector("number:x", Opening(ExitStack())),
    "delineator": lambda: build_delineator("number:x", Opening(ExitStack())),
    "engine": lambda: open_engine_files("number", [b""], threads=1),
    "student": lambda: build_student("number"),
    "teacher": lambda: build_teacher("number"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_broken_plugin_names_its_distribution(
    installed: Path, call: Callable[[], object]
) -> None:
    with pytest.raises(MissingDependencyError, match="edge-difom-test-plugin") as caught:
        call()
    assert "does not work" in caught.value.what


def test_a_plugin_may_refuse_its_arguments(installed: Path) -> None:
    with pytest.raises(UsageError, match="no option"):
        open_source("gray:x?a=1")
    with pytest.raises(UsageError, match="not this one"):
        build_teacher("refused:x")


def test_an_unknown_name_lists_the_plugins(installed: Path) -> None:
    cases: list[tuple[Callable[[], object], str]] = [
        (lambda: open_source("grai:x"), "gray:..."),
        (lambda: open_sinks(["gray"]), "numbers"),
        (lambda: split_name("hal"), "half"),
        (lambda: build_student("tin"), "tiny"),
        (lambda: build_teacher("median"), "mean"),
    ]
    for call, listed in cases:
        with pytest.raises(UsageError) as caught:
            call()
        assert listed in caught.value.expected


def test_a_name_of_two_distributions_is_refused(installed: Path) -> None:
    install(installed, "another-plugin")
    with pytest.raises(MissingDependencyError) as caught:
        open_source("gray:x")
    assert caught.value.got == "another-plugin, edge-difom-test-plugin"


def test_built_in_names_look_nothing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: str) -> None:
        raise AssertionError("entry points were read")

    monkeypatch.setattr(plugins, "entry_points", refuse)
    open_source("synthetic:")
    open_sinks(["null", "jsonl"])
    assert split_name("openvino:GPU") == ("openvino", "GPU")


def test_opening_a_source_imports_no_plugin(installed: Path) -> None:
    code = "import sys; from edge.sources.open import open_source; open_source('synthetic:'); "
    code += f"assert {MODULE!r} not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
