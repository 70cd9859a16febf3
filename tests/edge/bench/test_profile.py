"""The device profile: dense stacks run in their precision; operations are counted statically."""

from __future__ import annotations

from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from edge.bench.measure import profiling
from edge.bench.measure.dense import DENSE, dense_files, dense_work
from edge.bench.measure.environment import MachineSnapshot
from edge.bench.measure.operations import bundle_work, ir_work
from edge.bench.measure.profiling import memory_bandwidth, profile_device, read_profile
from edge.bench.report.profile_record import DeviceProfile, Work
from edge.bundle.reader import Bundle
from edge.engines.open import open_engine_files
from edge.errors import DataError
from edge_difom.cli.bench.device import command

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (64, 64)


def quiet() -> MachineSnapshot:
    return MachineSnapshot(at_s=0.0, cores=1, own_s=0.0)


@pytest.mark.parametrize("engine", DENSE)
@pytest.mark.parametrize("precision", ["int8", "f32"])
def test_a_dense_stack_is_executed_in_its_precision(engine: str, precision: str) -> None:
    files = dense_files(engine, precision, SIZE)
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    with closing(open_engine_files(engine, files, 1)) as opened:
        assert opened.settings()["precision"] == precision
        scores = opened.infer(image)
        assert scores.shape == (8, 8)
        # Values that all vanish or saturate would be a stack that computes nothing.
        assert scores.std() > 0


def test_the_stacks_of_both_precisions_compute_the_same() -> None:
    image = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    for engine in DENSE:
        outputs = []
        for precision in ("int8", "f32"):
            with closing(
                open_engine_files(engine, dense_files(engine, precision, SIZE), 1)
            ) as opened:
                outputs.append(opened.infer(image).astype(int))
        assert np.corrcoef(outputs[0].ravel(), outputs[1].ravel())[0, 1] > 0.9


def test_operations_are_counted_from_the_file_as_from_the_layers() -> None:
    assert ir_work(dense_files("openvino", "int8", SIZE)[0]) == dense_work(SIZE)
    by_hand = 64 * 256 * (8 * 8 * 3 + 6 * 9 * 256) + 64 * 256
    assert dense_work(SIZE).macs == by_hand


def test_operations_of_every_kind_of_layer(tmp_path: Path) -> None:
    import openvino as ov
    from openvino import opset13 as op

    image = op.parameter([1, 8, 10, 10], np.float32)
    depthwise = op.group_convolution(
        image, op.constant(np.zeros((8, 1, 1, 3, 3), np.float32)), [1, 1], [1, 1], [1, 1], [1, 1]
    )
    up = op.convolution_backprop_data(
        depthwise, op.constant(np.zeros((8, 4, 2, 2), np.float32)), strides=[2, 2]
    )
    flat = op.reshape(up, np.array([4, 400]), False)
    product = op.matmul(flat, op.constant(np.zeros((400, 7), np.float32)), False, False)
    model = ov.Model([product], [image], "kinds")
    ov.serialize(model, tmp_path / "m.xml", tmp_path / "m.bin")
    work = ir_work((tmp_path / "m.xml").read_bytes())
    assert work is not None
    assert work.macs == 8 * 100 * 9 + 8 * 100 * 4 * 4 + 4 * 400 * 7
    assert work.values == (800 + 72 + 800) + (800 + 128 + 1600) + (1600 + 2800 + 28)


def test_work_that_cannot_be_counted_is_none(tiny_bundle: Path) -> None:
    assert ir_work(b"<net><layers/></net>") is None
    dynamic = (
        b"<net><layers><layer "
        b'type="Convolution"><input><port><dim>-1</dim></port><port><dim>3</dim></port></input>'
        b"<output><port><dim>2</dim></port></output></layer></layers></net>"
    )
    assert ir_work(dynamic) is None
    assert bundle_work(Bundle.open(tiny_bundle)) is not None


def test_intensity_follows_the_precision() -> None:
    work = Work(macs=500, values=100)
    assert work.intensity("int8") == 10
    assert work.intensity("f32") == 2.5


def test_memory_bandwidth_is_that_of_moved_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "_best", lambda *_: 0.5)
    copy, triad = memory_bandwidth(2, megabytes=2)
    assert copy == pytest.approx(2 * 2e6 / 0.5 / 1e9)
    assert triad == pytest.approx(5 * 2e6 / 0.5 / 1e9)
    monkeypatch.undo()
    assert all(value > 0.01 for value in memory_bandwidth(2, megabytes=2))


def test_a_profile_names_what_was_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: object) -> list[bytes]:
        raise ModuleNotFoundError("No module named 'openvino'", name="openvino")

    monkeypatch.setitem(DENSE, "openvino", gone)
    tflite = DENSE["tflite"]
    monkeypatch.setitem(DENSE, "tflite", lambda _, size: tflite("f32", size))
    profile = profile_device(threads=1, seconds=0.01, size=SIZE, megabytes=1, snapshot=quiet)
    assert set(profile.missing) == {"openvino int8", "openvino f32", "tflite int8"}
    assert "did not execute the int8 stack" in profile.missing["tflite int8"]
    assert [(row.engine, row.precision) for row in profile.peaks] == [("tflite", "f32")]
    assert profile.peak("tflite", "f32") == profile.peaks[0].giga_operations_per_second > 0
    assert profile.peak("openvino", "int8") is None
    assert profile.valid
    assert "CPU of other processes" in profile.unknown


def test_the_command_writes_a_profile_that_bench_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = partial(profile_device, size=SIZE, megabytes=1, snapshot=quiet)
    monkeypatch.setattr(profiling, "profile_device", small)
    out = tmp_path / "device.json"
    result = CliRunner().invoke(command, ["--threads", "1", "--seconds", "0.01", "--out", str(out)])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0] == "VALID"
    profile = read_profile(out)
    assert {row.engine for row in profile.peaks} == set(DENSE)
    assert msgspec.json.decode(out.read_bytes(), type=DeviceProfile) == profile
    with pytest.raises(DataError, match="not a device profile"):
        read_profile(tmp_path / "other.json")
    out.write_text("{}")
    with pytest.raises(DataError, match="not a device profile"):
        read_profile(out)
