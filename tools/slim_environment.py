"""Remove what a cart computer never loads from an environment's site-packages, and measure it.

    python tools/slim_environment.py /opt/edge-difom/lib/python3.11/site-packages
    python tools/slim_environment.py SITE_PACKAGES --keep gpu --keep npu
    python tools/slim_environment.py SITE_PACKAGES --measure

For images and packages, which are made whole and replaced whole: pip cannot repair an environment
of which files are missing, it has to install the package again. Engines on the CPU, cameras, clips
and every verb of the device stay; `edge-difom verify` afterwards shows it.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

REMOVED = {
    "gpu": ("openvino/libs/libopenvino_intel_gpu_plugin.so", "openvino/libs/cache.json"),
    "npu": ("openvino/libs/libopenvino_intel_npu_plugin.so*",),
    "webgpu": ("ai_edge_litert/libLiteRtWebGpuAccelerator.so",),
    # A bundle has OpenVINO's own format; the other readers convert models, which happened before.
    "frontends": tuple(
        f"openvino/libs/libopenvino_{name}_frontend.so*"
        for name in ("onnx", "tensorflow", "tensorflow_lite", "pytorch", "paddle", "gguf", "jax")
    ),
    "development": (
        "openvino/include",
        "openvino/cmake",
        "ai_edge_litert/tools",
        "ai_edge_litert/vendors",
        "ai_edge_litert/google",
        "numpy/**/tests",
        "numpy/_core/include",
        "numpy/_core/lib",
        "cv2/**/*.pyi",
    ),
    "installer": ("pip", "pip-*", "setuptools", "setuptools-*", "pkg_resources", "_distutils_hack",
                  "distutils-precedence.pth"),
    "bytecode": ("**/__pycache__",),
}  # fmt: skip
"""Part -> patterns under site-packages."""

MB = 2**20


def size(folder: Path) -> int:
    """Return the sum of the sizes of all files of a folder in bytes; links count nothing."""
    return sum(
        path.stat().st_size
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def by_package(site_packages: Path) -> dict[str, int]:
    """Return top-level name -> bytes, the largest first; `NAME.libs` counts for `NAME`."""
    found: dict[str, int] = {}
    for path in site_packages.iterdir():
        name = path.name.removesuffix(".libs")
        name = {"opencv_python_headless": "cv2"}.get(name, name)
        found[name] = found.get(name, 0) + (size(path) if path.is_dir() else path.stat().st_size)
    return dict(sorted(found.items(), key=lambda each: -each[1]))


def slim(site_packages: Path, keep: frozenset[str] = frozenset()) -> dict[str, int]:
    """Remove every part that is not kept.

    Args:
        site_packages: Folder of the installed packages.
        keep: Keys of `REMOVED` to leave in place.

    Returns:
        Part -> removed bytes.
    """
    freed = {}
    for part, patterns in REMOVED.items():
        if part in keep:
            continue
        freed[part] = 0
        for path in [path for pattern in patterns for path in site_packages.glob(pattern)]:
            if path.is_dir() and not path.is_symlink():
                freed[part] += size(path)
                shutil.rmtree(path)
            elif path.exists():
                freed[part] += path.stat().st_size
                path.unlink()
    return freed


def main(arguments: list[str] | None = None) -> int:
    """Slim or measure an environment."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("site_packages", type=Path)
    parser.add_argument("--keep", action="append", default=[], choices=sorted(REMOVED))
    parser.add_argument("--measure", action="store_true", help="remove nothing")
    asked = parser.parse_args(arguments)
    if not (asked.site_packages / "edge_difom").is_dir():
        sys.stderr.write(f"error: {asked.site_packages} holds no edge_difom\n")
        return 2
    if not asked.measure:
        for part, freed in slim(asked.site_packages, frozenset(asked.keep)).items():
            sys.stdout.write(f"removed {part:12} {freed / MB:7.1f} MB\n")
    for name, held in list(by_package(asked.site_packages).items())[:8]:
        sys.stdout.write(f"{name:20} {held / MB:7.1f} MB\n")
    sys.stdout.write(f"{'all':20} {size(asked.site_packages) / MB:7.1f} MB\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
