"""Settings of the suite, the record of injected failures, and fixtures that many tests share."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import cv2
import pytest
from hypothesis import settings

from edge.bundle import manifest as m
from edge.bundle.reader import write_bundle
from edge_difom.runtime_env import configure
from tests.support.tiny_student import (
    CELL,
    SIZE,
    onnx_files,
    openvino_files,
    redness,
    scene,
    tflite_files,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

collect_ignore = ["machines"]
"""Tests for machines that have to be started first; whoever names their folder gets them."""

GPU = Path("/dev/nvidia0").exists()
if not GPU:
    # Kernels run on CPU tensors; Triton asks for this once, when it is imported.
    os.environ["TRITON_INTERPRET"] = "1"

if "PYTEST_XDIST_WORKER" in os.environ:
    # Threads that spin while they wait would take the cores from the other workers.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# How long an example takes depends on the machine, so it is no reason to fail.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

# As the command line does: OpenVINO and NNCF send no events from a test.
configure()


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--failure-rows=FILE`: write which rows of docs/failures.toml were injected, with results."""
    parser.addoption(
        "--failure-rows", metavar="FILE", help="write the results of tests marked with row()"
    )


_INJECTED: dict[tuple[int, str, str], str] = {}
"""Row, how it is injected and test -> outcome; of the cases of one test the worst counts."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Send the rows of a test with its report, because a different process may write them."""
    report = yield
    report.user_properties += [("row", marker.args) for marker in item.iter_markers("row")]
    return report


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the outcome of a test that injects a failure."""
    if report.when == "call" or report.outcome != "passed":
        name = report.nodeid.partition("[")[0].removeprefix("tests/")
        for kind, marked in report.user_properties:
            if kind == "row":
                row, how = cast("tuple[int, str]", marked)
                if _INJECTED.get((row, how, name)) != "failed":
                    _INJECTED[row, how, name] = report.outcome


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Write the record of injected failures."""
    if name := session.config.getoption("--failure-rows"):
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = [
            {"row": row, "how": how, "test": test, "outcome": outcome}
            for (row, how, test), outcome in sorted(_INJECTED.items())
        ]
        path.write_text(json.dumps(rows, indent=1))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test of kernels runs where they do: on the GPU, or without one in the interpreter."""
    elsewhere = "interpreted" if GPU else "gpu"
    left_out = [item for item in items if item.get_closest_marker(elsewhere)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


@pytest.fixture(scope="session")
def tiny_engine_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """Engine name -> files of the tiny student."""
    pytest.importorskip("openvino")
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("onnx")
    return {
        "openvino": openvino_files(tmp_path_factory.mktemp("openvino")),
        "tflite": tflite_files(),
        "onnx": onnx_files(),
    }


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Models that OpenVINO compiles in tests are kept with the tests' other files."""
    os.environ["CACHE_DIRECTORY"] = str(tmp_path_factory.mktemp("cache"))


def _png(image: NDArray[np.uint8]) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


@pytest.fixture(scope="session")
def tiny_parts(tiny_engine_files: dict[str, list[bytes]]) -> tuple[m.Manifest, dict[str, bytes]]:
    """Manifest and files of the tiny bundle, for tests that write a variant by `write_bundle`."""
    files = {
        "engines/openvino/model.xml": tiny_engine_files["openvino"][0],
        "engines/openvino/model.bin": tiny_engine_files["openvino"][1],
        "engines/tflite/model.tflite": tiny_engine_files["tflite"][0],
        "engines/onnx/model.onnx": tiny_engine_files["onnx"][0],
    }
    golden = []
    for number in range(3):
        # The last one has no polyp.
        image = scene(number, polyp=number < 2)
        names = f"golden/{number}.frame.png", f"golden/{number}.scores.png"
        files[names[0]], files[names[1]] = _png(image[..., ::-1]), _png(redness(image))
        golden.append(m.Golden(frame=names[0], scores=names[1]))
    manifest = m.Manifest(
        schema_version=m.SCHEMA_VERSION,
        name="tiny",
        intended_use=m.RESEARCH_USE,
        license="Apache-2.0",
        input=m.Input(height=SIZE, width=SIZE),
        output=m.Output(height=SIZE // CELL, width=SIZE // CELL),
        engines=[
            m.EngineEntry(
                runtime="openvino",
                precision="int8",
                files=["engines/openvino/model.xml", "engines/openvino/model.bin"],
                min_version="2025.2",
            ),
            m.EngineEntry(
                runtime="tflite",
                precision="int8",
                files=["engines/tflite/model.tflite"],
                min_version="1.4",
            ),
            m.EngineEntry(
                runtime="onnx",
                precision="int8",
                files=["engines/onnx/model.onnx"],
                min_version="1.21",
            ),
        ],
        golden=m.GoldenSet(frames=golden),
        parity=[],
        accuracy=[],
        provenance=m.Provenance(
            student="redness",
            teachers=[],
            recipe="none",
            data={},
            versions={},
            seed=0,
            created="2025-01-01",
        ),
        files={},
    )
    return manifest, files


@pytest.fixture(scope="session")
def tiny_bundle(
    tiny_parts: tuple[m.Manifest, dict[str, bytes]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Directory of a bundle with every engine; not to be changed: `shutil.copytree` it first."""
    manifest, files = tiny_parts
    return write_bundle(tmp_path_factory.mktemp("tiny") / "bundle", manifest, files).path


@pytest.fixture(scope="session")
def tiny_scene() -> Callable[..., NDArray[np.uint8]]:
    """`scene(seed, height=, width=, polyp=)`: an RGB picture with a region for the tiny student."""
    return scene


@pytest.fixture(scope="session")
def tiny_student() -> Callable[[NDArray[np.uint8]], NDArray[np.uint8]]:
    """The tiny student in numpy."""
    return redness


def _bench_lines(
    seconds_ms: Sequence[Sequence[float]],
    *,
    load: str = "max",
    busy: float = 1.0,
    temperature_c: float | None = None,
    ended: bool = True,
    **header: Any,
) -> list[Any]:
    """The lines of a run whose engine is all that takes time.

    Args:
        seconds_ms: Latencies of each second.
        load: Its name.
        busy: CPU seconds of everybody per second on the one core, of which this process used .95.
        temperature_c: Of the first second; one degree more each second.
        ended: Whether the run came to its end.
        **header: Fields of the header.
    """
    from edge.bench.measure.environment import MachineSnapshot
    from edge.bench.measure.sensors import Reading
    from edge.bench.report import journal as j
    from edge.bench.report.record import WarmUp
    from edge.util.host import read_device

    def machine(at: float) -> j.Sample:
        snapshot = MachineSnapshot(
            at_s=at,
            cores=1,
            busy_s=busy * at,
            own_s=0.95 * at,
            swapped_pages=0,
            governor=("performance",),
        )
        hot = {} if temperature_c is None else {"cpu": temperature_c + at}
        return j.Sample(snapshot=snapshot, reading=Reading(temperature_c=hot, rss_mb=100.0))

    values: dict[str, Any] = {
        "seconds": float(len(seconds_ms)),
        "bundle": "fake",
        "digest": "0" * 64,
        "engine": "openvino",
        "precision": "int8",
        "threads": 1,
        "frame_size": (1080, 1920),
        "compile_ms": 400.0,
        "first_inference_ms": 7.0,
        "settings": {"threads": 1, "precision": "int8"},
        "accuracy": [],
        "parity": [],
        "golden": None,
        "work": None,
        "profile": None,
        "machine": {"governor": "performance"},
        "sensors_missing": [],
        "energy_range": {},
        "device": read_device(),
        "versions": {"edge-difom": "1"},
        "command": "edge-difom bench run --bundle B",
        "created": "2026-01-01T00:00:00+00:00",
    }
    warmup = WarmUp(runs=100, seconds=2.0, drift=0.001, settled=True, shortened=False)
    fps = None if load == "max" else float(load)
    lines: list[Any] = [
        j.Header(**(values | header)),
        j.Begin(load=load, fps=fps, warmup=warmup, machine=machine(0.0)),
    ]
    for number, latencies in enumerate(seconds_ms, 1):
        infer = [round(1e6 * value) - 400_000 for value in latencies]
        fixed = {"capture": 1000, "preprocess": 199_000, "postprocess": 150_000, "output": 50_000}
        columns = {name: [cost] * len(infer) for name, cost in fixed.items()}
        stages = {
            name: columns.get(name, infer)
            for name in ("capture", "preprocess", "infer", "postprocess", "output")
        }
        lines.append(
            j.Second(
                load=load,
                at_ns=number * 10**9,
                stages_ns=stages,
                dropped=0,
                cpu_ns=10**9,
                machine=machine(float(number)),
            )
        )
    if ended:
        lines += [
            j.Aside(inference_ms=[1.0] * 100, around_cpu_ms=[0.4], peak_rss_mb=120.0),
            j.End(notes=[]),
        ]
    return lines


@pytest.fixture(scope="session")
def bench_lines() -> Callable[..., list[Any]]:
    """`bench_lines(seconds_ms, load=, busy=, ...)`: lines of a latency record without a run."""
    return _bench_lines


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB, with room for all that may wait, twice."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m", "edge-difom-test", str(folder)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield folder
    subprocess.run(["umount", folder], check=True)


class Publisher:
    """A publisher with keys and a repository, whose bundles no engine can run.

    Attributes:
        keys: Folder of the keys, the root's under the passphrase `secret`.
        repository: Folder of the repository.
        root: The root metadata that a device is to trust.
        now: The publisher's clock.
    """

    passphrase = b"secret"

    def __init__(self, folder: Path, now: datetime | None = None) -> None:
        from firmware_bridge.fleet.trust.publishing import create_keys

        self.folder, self.keys, self.repository = folder, folder / "keys", folder / "repository"
        self.now = now or datetime(2031, 5, 1, 12, tzinfo=timezone.utc)
        self.root = create_keys(self.keys, [self.passphrase], self.now)

    def bundle(self, weights: bytes, name: str = "polyps", **changes: Any) -> Path:
        """A bundle with one INT8 engine of OpenVINO and no golden frame."""
        engine = m.EngineEntry(
            runtime="openvino", precision="int8", files=["model.xml"], min_version="2025.2"
        )
        manifest = m.Manifest(
            schema_version=m.SCHEMA_VERSION,
            name=name,
            intended_use=m.RESEARCH_USE,
            license="Apache-2.0",
            input=m.Input(height=8, width=8),
            output=m.Output(height=8, width=8),
            engines=changes.pop("engines", [engine]),
            golden=m.GoldenSet(frames=[]),
            parity=[],
            accuracy=[],
            provenance=m.Provenance(
                student="none",
                teachers=[],
                recipe="none",
                data={},
                versions={},
                seed=0,
                created="2031-01-01",
            ),
            files={},
        )
        return write_bundle(
            self.folder / "bundle", manifest, {"model.xml": weights}, force=True
        ).path

    def publish(self, weights: bytes = b"weights", name: str = "polyps", **options: Any) -> Any:
        """Publish a bundle with these bytes as its model; by default its next version."""
        from firmware_bridge.fleet.trust.publishing import publish

        engines = {"engines": options.pop("engines")} if "engines" in options else {}
        path = self.bundle(weights, name, **engines)
        return publish(path, self.repository, self.keys, options.pop("now", self.now), **options)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    """A publisher of its own for a test."""
    return Publisher(tmp_path / "publisher")


@pytest.fixture(scope="session")
def make_publisher() -> type[Publisher]:
    """Makes publishers: of a folder, and at a time."""
    return Publisher
