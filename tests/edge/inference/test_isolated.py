"""An engine that is not trusted yet: its crash, hang or refusal is one error of the parent."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from typing import TYPE_CHECKING, Any

import cv2
import msgspec
import numpy as np
import pytest

from edge.bundle.reader import Bundle, write_bundle
from edge.engines.golden_check import verify_bundle
from edge.engines.golden_picture import PictureError
from edge.errors import BundleError, InferenceFault, UsageError
from edge.evaluation.bundle import count_clean
from edge.inference import isolated
from edge.inference.isolated import open_isolated, try_out
from edge.inference.messages import EngineSpec
from edge.inference.process import ProcessEngine
from edge.status import ReasonKind
from edge_difom.cli.main import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edge.frame import ImageU8


def status(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def bundle(tiny_bundle: Path) -> Bundle:
    return Bundle.open(tiny_bundle)


@pytest.fixture
def pictures(tmp_path: Path, tiny_scene: Callable[..., ImageU8]) -> Path:
    """A labeled data set of one image."""
    for name, picture in (
        ("images", tiny_scene(1, height=200, width=200)),
        ("masks", np.full((200, 200), 255, np.uint8)),
    ):
        folder = tmp_path / "data" / name
        folder.mkdir(parents=True)
        cv2.imwrite(str(folder / "a.png"), picture[..., ::-1] if picture.ndim == 3 else picture)
    return tmp_path / "data"


def commands(bundle: Path, data: Path, out: Path) -> dict[str, list[object]]:
    return {
        "verify": ["verify", "--bundle", bundle],
        "evaluate": ["evaluate", "--bundle", bundle, "--data", data],
        "predict": ["predict", "--source", data / "images", "--bundle", bundle, "--out", out],
        "still": ["device", "still", data / "images" / "a.png", "--bundle", bundle, "--out", out],
        "bench": ["bench", "--bundle", bundle, "--seconds", "0.2", "--out", out],
    }


def test_it_scores_as_the_engine_in_this_process(
    bundle: Bundle, tiny_scene: Callable[..., ImageU8], tiny_student: Callable[..., ImageU8]
) -> None:
    image = tiny_scene(3)
    with closing(open_isolated(bundle, "tflite", threads=1)) as engine:
        assert (engine.name, engine.input_size) == ("tflite", (64, 64))
        assert engine.settings()["runtime"] == "tflite"
        assert np.abs(engine.infer(image).astype(int) - tiny_student(image)).max() <= 1


def test_golden_pictures_are_parsed_in_the_process_alone(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object) -> None:
        raise AssertionError("parsed here")

    monkeypatch.setattr(cv2, "imdecode", parse)
    report = verify_bundle(bundle, ("tflite",), opener=open_isolated)
    assert report.ok, report.problems
    assert len(report.engines[0].frames) == 3


def test_a_picture_comes_back_as_it_was_or_as_an_error(bundle: Bundle) -> None:
    noise = np.random.default_rng(2).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    plain = cv2.imencode(".png", noise[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])[1].tobytes()
    assert len(plain) > noise.size, "larger than the image itself"
    scores = cv2.imencode(".png", noise[:16, :16, 0])[1].tobytes()
    with closing(open_isolated(bundle, "tflite", threads=1)) as engine:
        assert (engine.decode_png(plain, (64, 64), "RGB") == noise).all()
        assert (engine.decode_png(scores, (16, 16), "gray") == noise[:16, :16, 0]).all()
        for data, size in ((plain[:99], (64, 64)), (plain, (64, 32)), (bytes(1 << 20), (64, 64))):
            with pytest.raises(PictureError):
                engine.decode_png(data, size, "RGB")
        assert engine.infer(noise).shape == (16, 16), "it runs on"
        os.kill(engine._process.pid, signal.SIGSEGV)
        with pytest.raises(BundleError, match="does not run"):
            engine.decode_png(plain, (64, 64), "RGB")


@pytest.mark.row(20, "a model that crashes its runtime, judged before it is trusted")
def test_a_crash_in_an_inference_is_an_error(bundle: Bundle) -> None:
    with closing(open_isolated(bundle, "tflite", threads=1)) as engine:
        os.kill(engine._process.pid, signal.SIGSEGV)
        with pytest.raises(BundleError, match=r"tflite engine of .* does not run") as caught:
            engine.infer(np.zeros((64, 64, 3), np.uint8))
    assert "SIGSEGV" in caught.value.got


def test_an_error_keeps_its_parts_on_its_way(
    tiny_parts: Any, tmp_path: Path, bundle: Bundle
) -> None:
    manifest, files = tiny_parts
    damaged = write_bundle(
        tmp_path / "b", manifest, files | {"engines/tflite/model.tflite": b"\x08\0\0\0TFL4"}
    )
    with pytest.raises(BundleError) as caught:
        open_isolated(damaged, "tflite")
    assert caught.value.what == "the TFLite engine is of another format"
    assert caught.value.expected == "a flatbuffer TFL3"
    assert "TFL4" in caught.value.got
    with pytest.raises(UsageError, match="unknown engine"):
        open_isolated(bundle, "tensorrt")


def crashing(*_: object, **__: object) -> EngineSpec:
    return EngineSpec(
        factory="os:abort",
        arguments={},
        input_size=(64, 64),
        output_size=(16, 16),
    )


@pytest.mark.row(20, "a model that crashes its runtime when it opens, under each command")
@pytest.mark.parametrize("command", ["verify", "evaluate", "predict", "still", "bench"])
def test_a_crash_under_a_command_is_one_message(
    command: str,
    tiny_bundle: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def spec(bundle: Bundle, name: str = "auto", **_: object) -> EngineSpec:
        return msgspec.structs.replace(crashing(), arguments={"engine": name})

    def start(spec: EngineSpec, **timing: float) -> Any:
        return real(msgspec.structs.replace(spec, arguments={}), **timing)

    real = ProcessEngine
    monkeypatch.setattr(isolated, "bundle_spec", spec)
    monkeypatch.setattr(isolated, "ProcessEngine", start)
    arguments = commands(tiny_bundle, pictures, tmp_path / "out")[command]
    assert status(*arguments) == 4
    output = capsys.readouterr()
    assert "does not run" in output.err
    assert "Traceback" not in output.out + output.err
    assert command == "bench" or not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["verify", "evaluate", "predict", "still"])
def test_a_command_opens_no_engine_in_its_own_process(
    command: str,
    tiny_bundle: Path,
    pictures: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("an engine is opened in this process")

    monkeypatch.setattr("edge.engines.open.open_engine_files", refuse)
    assert status(*commands(tiny_bundle, pictures, tmp_path / "out")[command]) == 0


def test_an_engine_is_tried_out_before_it_is_measured(bundle: Bundle) -> None:
    try_out(bundle, "tflite", threads=1)


def test_scores_that_are_none_are_an_error_of_an_evaluation(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, tiny_scene: Callable[..., ImageU8]
) -> None:
    def damaged(*_: object) -> None:
        raise InferenceFault(ReasonKind.DAMAGED, "NaN")

    monkeypatch.setattr(isolated.IsolatedEngine, "infer", damaged)
    with pytest.raises(BundleError, match="no scores"):
        count_clean(bundle, [("a", tiny_scene(1, polyp=False))], engine="tflite", threads=1)
    report = verify_bundle(bundle, ["tflite"], opener=open_isolated)
    assert not report.ok
    assert "NaN" in report.engines[0].problem
    with pytest.raises(BundleError, match="does not run"):
        try_out(bundle, "tflite", threads=1)
