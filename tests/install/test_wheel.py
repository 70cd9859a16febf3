"""The wheel in a fresh environment with one engine: it runs, and brings no torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.processes import until

ROOT = Path(__file__).parents[2]
SOURCE = "synthetic:?width=320&height=240&frames=5&live=0"

pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def scored(log: Path) -> int:
    """Frames with scores among the lines of a run."""
    return log.read_text().count('"reason":null') if log.exists() else 0


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, ROOT, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def fresh(folder: Path, wheel: Path, extra: str) -> Path:
    """The interpreter of a fresh environment with the wheel and one of its extras."""
    venv.create(folder / "venv", with_pip=True)
    interpreter = folder / "venv" / "bin" / "python"
    quiet = ("--quiet", "--disable-pip-version-check")
    call(interpreter, "-m", "pip", "install", *quiet, f"{wheel}[{extra}]", cwd=folder)
    return interpreter


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh environment with `edge-difom[openvino]` from the wheel."""
    return fresh(tmp_path_factory.mktemp("device"), wheel, "openvino")


@pytest.fixture(scope="module")
def tflite_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Likewise with `edge-difom[tflite]`."""
    return fresh(tmp_path_factory.mktemp("tflite-device"), wheel, "tflite")


def test_the_wheel_holds_the_five_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.partition("/")[0] for name in names if ".dist-info" not in name}
    assert roots == {"edge_difom", "edge", "distill", "quantize", "firmware_bridge"}
    assert "edge_difom/cli/main.py" in names
    files = {"edge/shm/edge_difom_shm.h", "edge/sinks/web_page.html", "distill/configs/edge-s.yaml"}
    assert files <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_doctor_tells_what_is_there_and_what_is_not(python: Path, tmp_path: Path) -> None:
    report = json.loads(call(python.parent / "edge-difom", "doctor", "--json", cwd=tmp_path).stdout)
    assert report["engines"]["openvino"]
    assert report["engines"]["tflite"] is None
    assert report["extras"]["openvino"]["installed"]
    assert not report["extras"]["train"]["installed"]
    assert "torch" in report["extras"]["train"]["missing"]


def test_no_torch_is_installed(python: Path, tmp_path: Path) -> None:
    listed = json.loads(call(python, "-m", "pip", "list", "--format", "json", cwd=tmp_path).stdout)
    names = {row["name"].lower() for row in listed}
    assert {"edge-difom", "openvino", "numpy", "opencv-python-headless"} <= names
    assert not {
        name for name in names if name.startswith(("torch", "nncf", "timm", "transformers"))
    }


def test_it_runs_from_a_synthetic_source(python: Path, tiny_bundle: Path, tmp_path: Path) -> None:
    log = tmp_path / "frames.jsonl"
    arguments = [
        "--source",
        SOURCE,
        "--bundle",
        str(tiny_bundle),
        "--engine",
        "openvino",
        "--sink",
        f"jsonl:{log}",
    ]
    code = (
        "import sys\nfrom edge_difom.cli.main import main\n"
        f"try:\n    main(['run', *{arguments}])\n"
        "finally:\n    assert not {'torch', 'nncf'} & set(sys.modules)"
    )
    call(python, "-c", code, cwd=tmp_path)
    lines = [json.loads(line) for line in log.read_text().splitlines()[1:]]
    assert len(lines) == 5


@pytest.mark.parametrize("engine", ["openvino", "tflite"])
def test_one_engine_is_enough_for_ten_seconds_of_a_camera(
    engine: str, request: pytest.FixtureRequest, tiny_bundle: Path, tmp_path: Path
) -> None:
    interpreter: Path = request.getfixturevalue(
        "python" if engine == "openvino" else "tflite_python"
    )
    log, record, out = tmp_path / "frames.jsonl", tmp_path / "summary.json", tmp_path / "out.txt"
    command = [str(interpreter.parent / "edge-difom"), "run", "--source", "synthetic:?frames=0"]
    command += ["--bundle", str(tiny_bundle), "--sink", f"jsonl:{log}", "--json", str(record)]
    with (
        out.open("w") as output,
        subprocess.Popen(command, cwd=tmp_path, stdout=output, stderr=output) as process,
    ):
        try:
            # A busy machine may take longer to start than to run.
            until(lambda: scored(log) > 0 or process.poll() is not None, 90)
            time.sleep(10)
            assert process.poll() is None, out.read_text()
        finally:
            process.terminate()
            process.wait(30)
    assert process.returncode == 0, out.read_text()
    assert "Traceback" not in out.read_text()
    assert json.loads(record.read_text())["ended"] == "stopped"
    assert scored(log) > 10
    assert f"--engine {engine} " in out.read_text(), "auto took the one that is there"
    listed = json.loads(
        call(interpreter, "-m", "pip", "list", "--format", "json", cwd=tmp_path).stdout
    )
    names = {row["name"].lower() for row in listed}
    other = {"openvino": "ai-edge-litert", "tflite": "openvino"}[engine]
    assert not {name for name in names if name.startswith(("torch", "nncf", other))}


def test_a_verb_of_the_training_machine_names_its_extra(python: Path, tmp_path: Path) -> None:
    command = [str(python.parent / "edge-difom"), "distill", "--set", "epochs=1", "--out", "run"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 8, done.stderr
    assert "pip install 'edge-difom[train]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
