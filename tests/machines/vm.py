"""Run `tests/machines/guest` in a virtual machine with a camera, CAN and a watchdog.

    python -m tests.machines.vm
    python -m tests.machines.vm --rows build/rows/vm.json -- -k unplugged

QEMU starts Debian's kernel, taken from its package, with the host's files as a read-only share
under an overlay, so that this very Python environment runs inside. Whatever the tests write stays
in the machine's memory, all but the results. Modules are loaded from the kernel's package: vivid
(camera), vcan and can-isotp, i6300esb (a watchdog that QEMU emulates), device-mapper, ext4.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import xml.etree.ElementTree as ET
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

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "busybox": "busybox-static",
    "depmod": "kmod",
    "v4l2-ctl": "v4l-utils",
    "dmsetup": "dmsetup",
    "mkfs.ext4": "e2fsprogs",
}
"""Maps programs of the host, which the machine shares, to their packages."""

FIRST = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""Modules that the machine needs before it sees the host's files; the tests load the others."""


def kernel() -> Path:
    """Folder of Debian's current kernel package, unpacked, with its modules indexed."""
    lines = call(
        "apt-cache", "depends", "--no-recommends", "--no-suggests", "linux-image-amd64"
    ).splitlines()
    names = [line.split()[-1] for line in lines if "Depends: linux-image-" in line]
    if not names:
        raise MachineError("apt knows no linux-image-amd64; try: apt-get update")
    folder = cache("vm") / names[0]
    if not folder.is_dir():
        say(f"fetching {names[0]} (70 MB, once)")
        with made_whole(folder) as unpacked:
            call("apt-get", "download", "-q", names[0], cwd=unpacked)
            (package,) = unpacked.glob("*.deb")
            call("dpkg-deb", "-x", package, unpacked)
            package.unlink()
            (version,) = (path.name for path in (unpacked / "lib/modules").iterdir())
            call("depmod", "-b", unpacked, version)
    return folder


def load_order(modules: Path, names: tuple[str, ...]) -> list[Path]:
    """Files of some modules and of all that they depend on, each after what it depends on.

    Args:
        modules: Folder of one kernel version, with `modules.dep`.
        names: Names of modules; those that are built in have no file.
    """
    depends = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, others = line.partition(":")
        depends[Path(path).stem.replace("-", "_")] = [path, *others.split()]
    order: list[str] = []
    for name in names:
        # The file lists what a module needs last first.
        order += [
            path for path in reversed(depends.get(name.replace("-", "_"), ())) if path not in order
        ]
    return [modules / path for path in order]


def initial_disk(folder: Path, modules: Path, command: str, out: Path) -> None:
    """Write the initial RAM disk: busybox, the first modules, what is to be done."""
    for name in ("bin", "dev", "modules", "proc", "sys"):
        (folder / name).mkdir(parents=True)
    busybox = shutil.which("busybox")
    assert busybox is not None, "need() looked for it"
    shutil.copy(busybox, folder / "bin/busybox")
    order = load_order(modules, FIRST)
    for module in order:
        shutil.copy(module, folder / "modules")
    job = {
        "MODULES": " ".join(module.name for module in order),
        "KERNEL": str(modules.parent),
        "WHERE": str(REPOSITORY),
        "HOST_PATH": os.environ["PATH"],
        "COMMAND": command,
    }
    (folder / "job").write_text(
        "".join(f"{name}={shlex.quote(value)}\n" for name, value in job.items())
    )
    shutil.copy(Path(__file__).with_name("vm_init.sh"), folder / "init")
    (folder / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(folder)) for path in sorted(folder.rglob("*")))
    with out.open("wb") as written:
        subprocess.run(
            [busybox, "cpio", "-o", "-H", "newc"],
            cwd=folder, input=names.encode(), stdout=written, stderr=subprocess.DEVNULL, check=True,
        )  # fmt: skip


def machine(kernel_image: Path, disk: Path, results: Path, accel: str) -> list[str]:
    """The command that starts the machine."""
    share = "local,security_model=none,multidevs=remap"
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-serial",
        "stdio",
        "-machine", f"pc,accel={accel}", "-cpu", "host" if accel == "kvm" else "max",
        "-smp", "2", "-m", "3G",
        "-kernel", str(kernel_image), "-initrd", str(disk),
        # A kernel that panics stays as it is: only the watchdog gets the machine out of it.
        "-append", "console=ttyS0 quiet panic=0 rdinit=/init",
        "-virtfs", f"{share},path=/,mount_tag=host,readonly=on",
        "-virtfs", f"{share},path={results},mount_tag=results",
        "-device", "virtio-rng-pci",
        "-device", "i6300esb", "-action", "watchdog=reset",
    ]  # fmt: skip


def run(command: list[str], log: Path, limit_s: float) -> float:
    """Run the machine until it is off and copy its console to a file; returns the seconds.

    Raises:
        MachineError: It was not off in time, and was stopped.
    """
    begin = time.monotonic()
    with (
        log.open("wb") as written,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        expired = threading.Event()

        def stop() -> None:
            expired.set()
            process.kill()

        timer = threading.Timer(limit_s, stop)
        timer.start()
        assert process.stdout is not None
        try:
            for line in process.stdout:
                written.write(line)
                sys.stdout.write(line.decode(errors="replace"))
                sys.stdout.flush()
        finally:
            timer.cancel()
            process.kill()
    if expired.is_set():
        raise MachineError(
            f"the machine was not off after {limit_s:g} s and was stopped; its console: {log}"
        )
    return time.monotonic() - begin


def outcome(results: Path) -> tuple[int, str]:
    """Exit code and summary of the tests in the machine."""
    if not (results / "status").exists() or not (results / "junit.xml").exists():
        return 1, "the tests did not end"
    suites = ET.parse(results / "junit.xml").getroot().iter("testsuite")
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for suite in suites:
        for name in counts:
            counts[name] += int(suite.get(name, 0))
    passed = counts["tests"] - counts["failures"] - counts["errors"] - counts["skipped"]
    texts = [
        f"{passed} passed",
        *(f"{counts[name]} {name}" for name in ("failures", "errors", "skipped") if counts[name]),
    ]
    return int((results / "status").read_text()), ", ".join(texts)


def main() -> int:
    """Build, start, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--accel", choices=("tcg", "kvm"), default="tcg", help="tcg runs anywhere, kvm is fast"
    )
    parser.add_argument(
        "--limit", type=float, default=1500, metavar="S", help="longest run, seconds"
    )
    parser.add_argument(
        "--rows", type=Path, metavar="FILE", help="where the record of injected failures goes"
    )
    parser.add_argument(
        "pytest", nargs="*", metavar="-- ARGUMENT", help="arguments for pytest in the machine"
    )
    chosen = parser.parse_args()
    try:
        if platform.machine() != "x86_64":
            raise MachineError(
                "the machine shares the host's programs and is x86_64, "
                f"the host {platform.machine()}"
            )
        need(TOOLS)
        unpacked = kernel()
        with tempfile.TemporaryDirectory(prefix="edge-difom-vm-") as temporary:
            results = Path(temporary) / "results"
            results.mkdir()
            command = shlex.join([
                sys.executable, "-m", "pytest", "tests/machines/guest", "-m", "vm", "-p",
                "no:cacheprovider",
                "--color=no", "--junitxml=/results/junit.xml", "--failure-rows=/results/vm.json",
                *chosen.pytest,
            ])  # fmt: skip
            disk = Path(temporary) / "initrd"
            (modules,) = (unpacked / "lib/modules").iterdir()
            initial_disk(Path(temporary) / "initial", modules, command, disk)
            (image,) = (unpacked / "boot").glob("vmlinuz-*")
            say(f"{unpacked.name}, {chosen.accel}")
            log = cache("vm") / "console.log"
            seconds = run(machine(image, disk, results, chosen.accel), log, chosen.limit)
            code, text = outcome(results)
            if chosen.rows is not None and (results / "vm.json").exists():
                chosen.rows.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(results / "vm.json", chosen.rows)
        say(f"{text} in the virtual machine, {seconds:.0f} s with {chosen.accel}; console: {log}")
    except MachineError as error:
        return report(error)
    return code


if __name__ == "__main__":
    sys.exit(main())
