"""The public face: lazy, complete, documented, and the same objects as inside."""

from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import edge
import edge_difom as ed
from edge.errors import BundleError, DataError

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

HEAVY = {
    "torch",
    "cv2",
    "numpy",
    "openvino",
    "ai_edge_litert",
    "msgspec",
    "click",
    "distill",
    "quantize",
}


def test_importing_loads_nothing_heavy() -> None:
    code = f"import sys, edge_difom; dir(edge_difom); print(sorted(set(sys.modules) & {HEAVY}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_device_functions_load_no_torch() -> None:
    code = (
        "import sys, edge_difom as ed\n"
        "names = [n for n in ed.__all__ if ed._HOMES.get(n, 'edge').split('.')[0] != 'quantize']\n"
        "[getattr(ed, n) for n in names if n not in ('LoadedRun', 'DistillConfig')]\n"
        "print(sorted(set(sys.modules) & {'torch', 'openvino', 'nncf', 'click'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_list_of_names_is_whole_and_sorted() -> None:
    assert ed.__all__ == sorted(ed.__all__)
    assert set(ed.__all__) == {*ed._HOMES, "__version__"}
    assert set(ed.__all__) <= set(dir(ed))
    assert ed.__version__ == edge.__version__
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        ed.nothing_of_the_kind  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.parametrize("name", sorted(set(ed.__all__) - {"__version__"}))
def test_every_name_is_documented(name: str) -> None:
    value = getattr(ed, name)
    text = inspect.getdoc(value) or ""
    assert len(text) > 20
    if value.__module__.startswith("edge_difom.api"):
        for section in ("Args:", "Raises:", "Example:"):
            assert section in text, f"{name} has no {section}"
        for parameter in inspect.signature(value).parameters:
            assert f"{parameter}: " in text, f"{name} does not document {parameter}"


def test_every_package_is_typed() -> None:
    root = Path(ed.__file__).parents[1]
    for package in ("edge_difom", "edge", "distill", "quantize", "firmware_bridge"):
        assert (root / package / "py.typed").is_file()


def test_a_bundle_runs_from_python(
    tiny_bundle: Path, tiny_scene: Callable[..., NDArray[np.uint8]], tmp_path: Path
) -> None:
    bundle = ed.open_bundle(tiny_bundle)
    assert ed.verify(bundle, ["tflite"]).ok
    engine = ed.open_engine(bundle, "tflite", threads=1)
    try:
        with_polyp = ed.segment(tiny_scene(0, height=120, width=160, polyp=True), engine, bundle)
        without = ed.segment(tiny_scene(1, height=120, width=160, polyp=False), engine, bundle)
        with pytest.raises(DataError):
            ed.segment(np.zeros((4, 4), np.uint8), engine, bundle)
    finally:
        engine.close()
    assert (len(with_polyp.regions), len(without.regions)) == (1, 0)
    assert with_polyp.reason is None
    lines = tmp_path / "frames.jsonl"
    summary = ed.run_loop(
        "synthetic:?width=96&height=64&frames=4&live=0",
        bundle,
        [f"jsonl:{lines}", *ed.open_sinks("null")],
        engine="tflite",
        threads=1,
    )
    assert (summary.frames, summary.ended) == (4, "source")
    assert len(lines.read_text().splitlines()) == 1 + 4, "a header and its frames"


def test_shipped_bundles_open_by_name() -> None:
    assert ed.open_bundle().path == ed.default_bundle()
    assert set(ed.shipped_bundles()) >= {"edge-s"}
    with pytest.raises(BundleError):
        ed.open_bundle("no-such-bundle")


def test_a_bench_record_is_one_run(tmp_path: Path) -> None:
    with pytest.raises(ed.EdgeDifomError, match="no run"):
        ed.read_bench_record(tmp_path)
