"""What the machine can do: facts, absences, and a record that needs no extra."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import msgspec
import pytest
from click.testing import CliRunner

from edge.errors import MissingDependencyError
from edge.sandbox.enter import support
from edge.sandbox.grants import Sandbox
from edge.sources import gst_bindings
from edge.util import host as device_info
from edge.util.extras import EXTRA_OF
from edge_difom import doctor
from edge_difom.cli.doctor import command
from edge_difom.doctor import DoctorReport


def test_json_without_a_file_is_alone_on_stdout() -> None:
    for arguments in (["--json"], ["--json", "-"]):
        result = CliRunner().invoke(command, arguments, catch_exceptions=False)
        report = msgspec.json.decode(result.stdout, type=DoctorReport, strict=True)
        assert report.device.usable_cores >= 1
        assert "next: " in result.stderr


def test_json_with_a_file_writes_it(tmp_path: Path) -> None:
    path = tmp_path / "doctor.json"
    result = CliRunner().invoke(command, ["--json", str(path)], catch_exceptions=False)
    assert f"made: {path}" in result.stdout
    record = json.loads(path.read_text())
    assert set(record) == set(DoctorReport.__struct_fields__)
    assert set(record["engines"]) == {"openvino", "tflite", "onnx"}
    assert set(record["extras"]) == set(EXTRA_OF.values())
    assert record["versions"]["numpy"]


def test_with_a_bundle_each_engine_tells_what_it_really_does(tiny_bundle: Path) -> None:
    result = CliRunner().invoke(
        command, ["--bundle", str(tiny_bundle), "--json", "-"], catch_exceptions=False
    )
    report = msgspec.json.decode(result.stdout, type=DoctorReport, strict=True)
    precisions = {probe.engine: (probe.declared, probe.executed) for probe in report.precisions}
    # The tiny student's IR is a float model, whatever its manifest says.
    assert precisions == {
        "openvino": ("int8", "f32"),
        "openvino:AUTO": ("int8", "f32"),
        "tflite": ("int8", "int8"),
        "onnx": ("int8", "int8"),
    }
    assert {probe.device for probe in report.precisions if probe.engine == "openvino"} == {"CPU"}
    assert "runs in f32 (1 x f32) on CPU" in result.stderr


def test_the_sandbox_is_told_and_what_it_lacks_is_a_warning(
    tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel = support()
    result = CliRunner().invoke(command, ["--bundle", str(tiny_bundle), "--json", "-"])
    report = msgspec.json.decode(result.stdout, type=DoctorReport, strict=True)
    assert report.sandbox == kernel
    applied = {probe.engine: probe.sandbox for probe in report.precisions}
    assert applied["tflite"] == applied["onnx"] == applied["openvino"] == kernel
    assert applied["openvino:AUTO"] == msgspec.structs.replace(kernel, drivers=True)
    if not kernel.missing:
        text = " ".join(result.stderr.split())
        assert f"sandbox of engines Landlock {kernel.landlock}, system call filter" in text
        assert "a hostile bundle" not in text
    lacks = "files are not withheld (Landlock: this kernel does not have it)"
    monkeypatch.setattr(doctor, "support", lambda: Sandbox(filtered=True, missing=[lacks]))
    result = CliRunner().invoke(command, ["--bundle", str(tiny_bundle)])
    assert f"system call filter; {lacks}" in result.output
    assert f"a hostile bundle could do more here than elsewhere: {lacks}" in result.output


def test_an_engine_that_does_not_open_says_why(tiny_bundle: Path, tmp_path: Path) -> None:
    damaged = Path(shutil.copytree(tiny_bundle, tmp_path / "damaged"))
    (damaged / "engines/tflite/model.tflite").unlink()
    probes = {probe.engine: probe for probe in doctor.examine(damaged).precisions}
    assert "cannot be read" in probes["tflite"].problem
    assert not probes["openvino"].problem
    report = doctor.examine(tmp_path / "nothing")
    assert not report.precisions
    assert f"{tmp_path / 'nothing'} does not exist" in report.problems


def test_gstreamer_is_found_as_the_sources_find_it() -> None:
    gstreamer = doctor.find_gstreamer()
    try:
        bindings = gst_bindings.load()
    except MissingDependencyError:
        pytest.skip("this machine has no GStreamer")
    assert gstreamer.python
    assert gstreamer.version == ".".join(map(str, bindings.gst.version()[:3]))
    assert set(gstreamer.elements) == set(gst_bindings.ELEMENTS)


def test_elements_and_bindings_that_are_missing_are_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gst = SimpleNamespace(
        version=lambda: (1, 26, 2, 0),
        ElementFactory=SimpleNamespace(find=lambda name: None if name == "rtspsrc" else name),
    )
    monkeypatch.setattr(gst_bindings, "load", lambda: gst_bindings.Bindings(gst, OSError))
    gstreamer = doctor.find_gstreamer()
    assert (gstreamer.version, gstreamer.missing) == ("1.26.2", ["rtspsrc"])
    text = CliRunner().invoke(command, ["--json", "-"], catch_exceptions=False).stderr
    assert "1.26.2 with Python bindings, missing elements: rtspsrc (apt-get install" in text

    def refuse() -> None:
        raise MissingDependencyError("no", got="No module named 'gi'", hint="apt-get install x")

    monkeypatch.setattr(gst_bindings, "load", refuse)
    gstreamer = doctor.find_gstreamer()
    assert not gstreamer.python
    text = CliRunner().invoke(command, ["--json", "-"], catch_exceptions=False).stderr
    assert "no Python bindings (No module named 'gi'): apt-get install x" in text


def test_without_any_extra_it_works_and_says_what_to_install() -> None:
    hidden = ", ".join(repr(root) for root in EXTRA_OF)
    code = (
        f"import sys\nhidden = {{{hidden}}}\n"
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *a: None if name in hidden else find(name, *a)\n"
        "sys.modules.update(dict.fromkeys(hidden))\n"
        "from edge_difom.cli.main import main\nmain(['doctor'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "engine openvino         not installed" in done.stdout
    assert "problem: no engine is installed" in done.stdout
    for extra in ("openvino", "tflite", "tflite-runtime", "onnx", "report", "train"):
        assert f"pip install 'edge-difom[{extra}]'" in done.stdout
    assert "next: pip install 'edge-difom[openvino]'" in done.stdout


@pytest.mark.parametrize(
    ("cpuinfo", "flags"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni vnni\n", ["avx2", "avx512_vnni"]),
        ("processor : 0\nFeatures : fp asimd asimddp\n", ["asimd", "asimddp"]),
        ("", []),
    ],
)
def test_instruction_sets_of_both_architectures(cpuinfo: str, flags: list[str]) -> None:
    assert device_info.known_flags(cpuinfo) == flags


def test_a_broken_nvidia_smi_is_no_cuda_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", str(tmp_path))
    for body, expected in (
        ("echo 'Card A'; echo 'Card B'", ["Card A", "Card B"]),
        ("echo failed; exit 9", []),
    ):
        tool.write_text(f"#!/bin/sh\n{body}\n")
        tool.chmod(0o755)
        assert device_info.read_device().cuda == expected
    tool.unlink()
    assert device_info.read_device().cuda == []


def test_memory_of_this_process() -> None:
    now, highest = device_info.memory_used_mb()
    if now is None or highest is None:
        pytest.skip("this kernel does not show it")
    assert 5 < now <= highest * 1.01
