"""Run `tests/machines/aarch64`: the device's wheel on emulated ARM, compared with this machine.

    python -m tests.machines.arm
    python -m tests.machines.arm --bundle B --rows build/rows/arm.json -- -k tflite

Debian's Python for arm64 is unpacked into a folder and run by QEMU's user mode; pip fetches the
wheels for aarch64. Each environment looks like any virtual environment: its `bin/python3` starts
QEMU, and Python believes to be that file, so that a process that the program starts with
`sys.executable` is emulated too.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.machines.debian import (
    REPOSITORY,
    MachineError,
    cache,
    call,
    made_whole,
    need,
    report,
    say,
)

TOOLS = {"qemu-aarch64-static": "qemu-user-static", "dpkg-deb": "dpkg"}

PACKAGES = ("python3", "libstdc++6")
"""Debian packages of the root, which bring what they depend on; wheels ask for the C++ library."""

PROCESSOR = "cortex-a76"
"""The CPU of QEMU 7.2 closest to a Jetson Orin's Cortex-A78AE: dot products, no i8mm, no SVE."""

CPUINFO = """\
processor\t: {number}
BogoMIPS\t: 62.50
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""  # noqa: E501 - the kernel writes the features on one line
"""One core of that CPU in /proc/cpuinfo; with the host's, which QEMU shows, XNNPACK crashes."""

EXTRAS = ("openvino", "tflite", "tflite-runtime")
"""Extras of the wheel, each an environment of its own."""

GLIBC = (17, 26, 27, 28, 31, 34, 35, 36)
"""Minor versions of glibc 2 that wheels are made for and Debian 12 satisfies."""


def debian_root() -> Path:
    """Folder with Debian's Python for arm64, of the release of this machine's package sources."""
    root = cache("aarch64") / "root"
    if root.is_dir():
        return root
    say("fetching Debian's Python for arm64 (35 MB, once)")
    with made_whole(root) as unpacked, tempfile.TemporaryDirectory() as temporary:
        settings = Path(temporary) / "apt.conf"
        for folder in ("state/lists/partial", "cache/archives/partial"):
            (Path(temporary) / folder).mkdir(parents=True)
        (Path(temporary) / "status").touch()
        settings.write_text(
            'APT::Architecture "arm64";\nAPT::Architectures { "arm64"; };\n'
            f'Dir::State "{temporary}/state";\nDir::State::status "{temporary}/status";\n'
            f'Dir::Cache "{temporary}/cache";\nAPT::Sandbox::User "";\n'
        )
        apart = {"APT_CONFIG": str(settings)}
        call("apt-get", "update", "-qq", environment=apart)
        install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", "--download-only")
        call(*install, *PACKAGES, environment=apart)
        for package in sorted(Path(temporary).glob("cache/archives/*.deb")):
            call("dpkg-deb", "-x", package, unpacked)
        # A file of the root hides the host's of the same name.
        (unpacked / "proc").mkdir(exist_ok=True)
        cores = "".join(CPUINFO.format(number=number) for number in range(os.cpu_count() or 1))
        (unpacked / "proc/cpuinfo").write_text(cores)
    return root


def build_wheel(out: Path) -> Path:
    """The device's wheel from this tree."""
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, REPOSITORY)
    (wheel,) = out.glob("*.whl")
    return wheel


def environment(root: Path, extra: str, wheel: Path) -> Path:
    """An environment with the wheel and an extra; made once, the wheel is installed each time."""
    python = (root / "usr/bin/python3").readlink().name
    version = python.removeprefix("python")
    sources = [(REPOSITORY / name).read_bytes() for name in ("pyproject.toml", "constraints.txt")]
    digest = hashlib.sha256(b"".join(sources)).hexdigest()[:12]
    folder = root.parent / f"{extra}-{digest}"
    packages = Path("lib") / python / "site-packages"

    def install(target: Path, *arguments: str) -> None:
        tag = "cp" + version.replace(".", "")
        call(
            sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
            "--target", target,
            "--only-binary=:all:", "--python-version", version, "--implementation", "cp",
            *(f"--abi={abi}" for abi in (tag, "abi3", "none")),
            *(f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC),
            "--platform=manylinux2014_aarch64",
            *arguments,
        )  # fmt: skip

    if not folder.is_dir():
        say(f"fetching wheels for aarch64: {extra} (once)")
        for old in root.parent.glob(f"{extra}-{'?' * 12}"):
            shutil.rmtree(old)
        with made_whole(folder) as place:
            (place / "bin").mkdir()
            pins = place / "constraints.txt"
            lines = (REPOSITORY / "constraints.txt").read_text().splitlines()
            # That package asks for older ones than are pinned for the others.
            old_runtime = extra == "tflite-runtime"
            pins.write_text(
                "\n".join(
                    line
                    for line in lines
                    if not (old_runtime and line.startswith(("numpy", "opencv")))
                )
            )
            install(place / packages, "--constraint", str(pins), f"{wheel}[{extra}]")
            (place / "pyvenv.cfg").write_text(
                f"home = {root}/usr/bin\ninclude-system-site-packages = false\n"
            )
            start = (
                f'qemu-aarch64-static -cpu {PROCESSOR} -L "{root}" '
                f'-0 "$0" "{root}/usr/bin/{python}"'
            )
            scripts = {
                "python3": f'exec {start} "$@"',
                "edge-difom": f'exec "{folder}/bin/python3" -m edge_difom "$@"',
            }
            for name, line in scripts.items():
                (place / "bin" / name).write_text(f"#!/bin/sh\n{line}\n")
                (place / "bin" / name).chmod(0o755)
    install(folder / packages, "--upgrade", "--no-deps", str(wheel))
    return folder


def quick_bundle() -> Path:
    """A briefly trained `edge-xs` bundle; made again when the code that makes it changes."""
    digest = hashlib.sha256()
    for package in ("edge_difom", "edge", "distill", "quantize"):
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            digest.update(path.read_bytes())
    folder = cache("bundles") / digest.hexdigest()[:12]
    if folder.is_dir():
        return folder
    say("training a small student on the phantom (a minute or two, again when the code changes)")
    for old in folder.parent.iterdir():
        shutil.rmtree(old)
    with made_whole(folder) as place, tempfile.TemporaryDirectory() as temporary:

        def edge(*arguments: str | Path) -> None:
            settings = {"EDGE_DIFOM_RUNS": temporary, "PYTHONPATH": str(REPOSITORY)}
            call(sys.executable, "-m", "edge_difom", *arguments, environment=settings)

        data, run = Path(temporary) / "phantom", Path(temporary) / "run"
        edge(
            "phantom",
            "--out",
            data,
            "--train",
            "64",
            "--validation",
            "8",
            "--negatives",
            "2",
            "--clip-frames",
            "0",
        )
        edge("distill", "--data", data, "--student", "edge-xs", "--recipe", "none", "--size", "96",
        "--epochs", "12",
             "--lr", "0.003", "--out", run)  # fmt: skip
        edge("qat", run, "--epochs", "0", "--max-drop", "1", "--max-small-drop", "1")
        edge("bundle", "make", run, "--out", place, "--force")
    return folder


def main() -> int:
    """Prepare, run, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bundle", type=Path, help="bundle to run; by default one is made quickly")
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="where the record of injected failures goes"
    )
    parser.add_argument("pytest", nargs="*", metavar="-- ARGUMENT", help="arguments for pytest")
    chosen = parser.parse_args()
    try:
        need(TOOLS)
        root = debian_root()
        with tempfile.TemporaryDirectory() as temporary:
            wheel = build_wheel(Path(temporary))
            environments = {extra: environment(root, extra, wheel) for extra in EXTRAS}
        bundle = (chosen.bundle or quick_bundle()).resolve()
    except MachineError as error:
        return report(error)
    settings = {
        "EDGE_DIFOM_AARCH64": ",".join(
            f"{extra}={folder}" for extra, folder in environments.items()
        ),
        "EDGE_DIFOM_BUNDLE": str(bundle),
    }
    rows = [f"--failure-rows={chosen.rows.resolve()}"] if chosen.rows else []
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/machines/aarch64",
        "-m",
        "arm",
        *rows,
        *chosen.pytest,
    ]
    return subprocess.run(
        command, cwd=REPOSITORY, env={**os.environ, **settings}, check=False
    ).returncode


if __name__ == "__main__":
    sys.exit(main())
