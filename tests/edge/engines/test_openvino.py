"""OpenVINO's devices, and the compiled models that are kept on disk."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edge.bundle.reader import Bundle
from edge.engines.open import open_engine, open_engine_files, split_name
from edge.engines.openvino import candidates, openvino_core
from edge.engines.openvino_cache import CompiledCache, cache_folder, claim_cache
from edge.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import ImageU8

Files = dict[str, list[bytes]]


@pytest.mark.parametrize(
    ("requested", "available", "tried"),
    [
        ("CPU", ["CPU"], ["CPU"]),
        ("GPU", ["CPU", "GPU"], ["GPU"]),
        ("GPU", ["CPU", "GPU.0", "GPU.1"], ["GPU"]),
        ("GPU.1", ["CPU", "GPU.0", "GPU.1"], ["GPU.1"]),
        ("AUTO", ["CPU"], ["CPU"]),
        ("AUTO", ["CPU", "GPU.0", "GPU.1", "NPU"], ["GPU.0", "GPU.1", "NPU", "CPU"]),
        ("AUTO", ["CPU", "TPU"], ["CPU"]),
    ],
)
def test_a_device_is_one_that_the_machine_has(
    requested: str, available: list[str], tried: list[str]
) -> None:
    assert candidates(requested, available) == tried


@pytest.mark.parametrize("requested", ["GPU", "NPU", "GPU.2"])
def test_a_missing_device_is_refused_with_those_there_are(requested: str) -> None:
    """A device that is not there is refused with those that are."""
    with pytest.raises(UsageError, match=f"no {requested} .*\n.*CPU | GPU.0 | AUTO"):
        candidates(requested, ["CPU"] if requested == "GPU" else ["CPU", "GPU.0"])


@pytest.mark.parametrize(
    ("name", "runtime", "device"),
    [
        ("openvino", "openvino", ""),
        ("openvino:AUTO", "openvino", "AUTO"),
        ("openvino:GPU.1", "openvino", "GPU.1"),
    ],
)
def test_a_name_may_carry_a_device(name: str, runtime: str, device: str) -> None:
    assert split_name(name) == (runtime, device)


@pytest.mark.parametrize(
    "name",
    ["openvino:", "openvino:TPU", "openvino:cpu", "tflite:CPU", "openvino?a=1", "abacus", ""],
)
def test_a_name_without_an_engine_is_refused_with_those_that_are(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"openvino \| tflite \| onnx \| openvino:CPU \| openvino:GPU"
    ):
        split_name(name)


@pytest.mark.parametrize("name", ["openvino", "openvino:CPU", "openvino:AUTO"])
def test_settings_name_the_device_that_runs(tiny_bundle: Path, name: str) -> None:
    with closing(open_engine(Bundle.open(tiny_bundle), name, threads=1)) as engine:
        settings = engine.settings()
    if name != "openvino:AUTO" or openvino_core().available_devices == ["CPU"]:
        assert settings["device"] == "CPU"
    assert settings["threads"] == 1


class Machine:
    """OpenVINO on a machine that also has a GPU; its driver refuses every model."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        machine, real = self, openvino_core()

        class Core:
            available_devices = ("CPU", "GPU")

            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def compile_model(self, model: Any, device: str, options: dict[str, Any]) -> Any:
                machine.asked.append((device, options))
                if device != "CPU":
                    raise RuntimeError("[GPU] out of resources")
                return real.compile_model(model, device, options)

        monkeypatch.setattr("edge.engines.openvino.openvino_core", Core)


def test_auto_falls_back_to_the_device_that_takes_the_model(
    tiny_engine_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Machine(monkeypatch)
    with closing(
        open_engine_files("openvino:AUTO", tiny_engine_files["openvino"], threads=1)
    ) as engine:
        assert engine.settings()["device"] == "CPU"
    (gpu, for_gpu), (cpu, for_cpu) = machine.asked
    assert (gpu, cpu) == ("GPU", "CPU")
    assert for_gpu == {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
    assert for_cpu["INFERENCE_NUM_THREADS"] == 1


def test_a_named_device_that_refuses_the_model_is_an_error(
    tiny_engine_files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    Machine(monkeypatch)
    with pytest.raises(BundleError, match="out of resources"):
        open_engine_files("openvino:GPU", tiny_engine_files["openvino"], threads=1)


def scores(files: Files, folder: Path, image: ImageU8) -> tuple[ImageU8, dict[str, Any]]:
    with closing(open_engine_files("openvino", files["openvino"], 1, cache=folder)) as engine:
        return engine.infer(image).copy(), engine.settings()


def test_a_kept_model_gives_the_same_scores_and_settings(
    tiny_engine_files: Files, tmp_path: Path, tiny_scene: Callable[..., ImageU8]
) -> None:
    image = tiny_scene(1)
    first, compiled = scores(tiny_engine_files, tmp_path, image)
    second, cached = scores(tiny_engine_files, tmp_path, image)
    assert (compiled.pop("from_cache"), cached.pop("from_cache")) == (False, True)
    assert compiled == cached
    np.testing.assert_array_equal(first, second)


def only_entry(folder: Path) -> Path:
    (entry,) = folder.glob("*.blob")
    return entry


@pytest.mark.parametrize(
    "harm", ["a bit", "cut", "empty", "writable", "link", "folder", "nonsense"]
)
def test_an_entry_that_may_not_be_used_is_compiled_anew(
    tiny_engine_files: Files, tmp_path: Path, tiny_scene: Callable[..., ImageU8], harm: str
) -> None:
    folder, image = tmp_path / "cache", tiny_scene(1)
    first, _ = scores(tiny_engine_files, folder, image)
    entry = only_entry(folder)
    data = entry.read_bytes()
    if harm == "a bit":
        entry.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    elif harm == "cut":
        entry.write_bytes(data[:-1])
    elif harm == "empty":
        entry.write_bytes(b"")
    elif harm == "writable":
        entry.chmod(0o666)
    elif harm == "link":
        entry.rename(tmp_path / "elsewhere")
        entry.symlink_to(tmp_path / "elsewhere")
    elif harm == "folder":
        entry.unlink()
        entry.mkdir()
    else:
        CompiledCache(folder).write(entry.stem, b"not a compiled model")
    again, settings = scores(tiny_engine_files, folder, image)
    assert settings["from_cache"] is False
    np.testing.assert_array_equal(first, again)
    if harm != "folder":
        assert not entry.is_symlink()
        _, settings = scores(tiny_engine_files, folder, image)
        assert settings["from_cache"] is True, "kept in its place"


def test_an_entry_that_took_its_process_down_is_not_met_again(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path)
    cache.write("key", b"model")
    assert cache.load("key") == b"model"
    assert cache.load("key") is None, "nobody said that it works"
    cache.confirm("key")
    assert cache.load("key") == b"model"


def test_a_folder_that_cannot_be_made_costs_nothing_but_time(
    tiny_engine_files: Files, tmp_path: Path, tiny_scene: Callable[..., ImageU8]
) -> None:
    (tmp_path / "file").write_text("")
    _, settings = scores(tiny_engine_files, tmp_path / "file" / "cache", tiny_scene(1))
    assert settings["from_cache"] is False


def test_an_entry_is_of_one_model_one_setting_and_one_machine() -> None:
    keys = {
        CompiledCache.key([b"xml", b"bin"], {"threads": 1}, "2026", "CPU"),
        CompiledCache.key([b"xml", b"bim"], {"threads": 1}, "2026", "CPU"),
        CompiledCache.key([b"xmlb", b"in"], {"threads": 1}, "2026", "CPU"),
        CompiledCache.key([b"xml", b"bin"], {"threads": 2}, "2026", "CPU"),
        CompiledCache.key([b"xml", b"bin"], {"threads": 1}, "2025", "CPU"),
        CompiledCache.key([b"xml", b"bin"], {"threads": 1}, "2026", "CPU", "another"),
    }
    assert len(keys) == 6


def test_the_oldest_entries_go(tmp_path: Path) -> None:
    cache = CompiledCache(tmp_path)
    for number in range(10):
        cache.write(str(number), b"model")
        os.utime(tmp_path / f"{number}.blob", (number, number))
    cache.write("10", b"model")
    assert sorted(int(path.stem) for path in tmp_path.glob("*.blob")) == [3, 4, 5, 6, 7, 8, 9, 10]
    assert cache.load("10") == b"model"
    assert cache.load("0") is None


def test_each_bundle_keeps_its_models_apart_and_few_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path))
    root = tmp_path / "openvino"
    root.mkdir()
    (root / "old.blob").write_bytes(b"of an older version")
    os.utime(root / "old.blob", (1, 1))
    for number in range(10):
        folder = claim_cache(f"{number}")
        assert folder == root / f"{number}"
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "a.blob").write_bytes(b"model")
        os.utime(folder, (10 + number, 10 + number))
    assert claim_cache("5") == root / "5"
    assert sorted(path.name for path in root.iterdir()) == [*"23456789"]
    assert (root / "5" / "a.blob").exists()
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("CACHE_DIRECTORY", str(tmp_path / "file"))
    assert claim_cache("5") is None


def test_the_cache_lies_where_the_system_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHE_DIRECTORY", "/var/cache/edge-difom:/var/cache/other")
    assert cache_folder() == Path("/var/cache/edge-difom/openvino")
    monkeypatch.delenv("CACHE_DIRECTORY")
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/cart/cache")
    assert cache_folder() == Path("/home/cart/cache/edge-difom/openvino")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/cart")
    assert cache_folder() == Path("/home/cart/.cache/edge-difom/openvino")


def test_what_is_measured_and_verified_is_compiled(tiny_bundle: Path) -> None:
    """Only the runtime's own process keeps compiled models."""
    with closing(open_engine(Bundle.open(tiny_bundle), "openvino", threads=1)) as engine:
        assert engine.settings()["from_cache"] is False


DROPPED_ELSEWHERE = """
import os, signal, sys, threading, time
from edge.engines.open import open_engine
from edge.bundle.reader import Bundle

held = [open_engine(Bundle.open(sys.argv[1]), "openvino", threads=1)]
dropping = threading.Thread(target=held.clear)
dropping.start()
dropping.join()
signal.signal(signal.SIGUSR1, lambda *_: print("handled", flush=True))
os.kill(os.getpid(), signal.SIGUSR1)
time.sleep(0.01)
"""


def test_a_signal_is_handled_after_the_last_engine_was_dropped(
    tiny_bundle: Path,
) -> None:
    command = [sys.executable, "-c", DROPPED_ELSEWHERE, str(tiny_bundle)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr


@pytest.mark.row(58, "no home folder in the environment and none in the list of users")
def test_a_user_without_a_home_has_no_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE_DIRECTORY", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)

    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache_folder() is None
