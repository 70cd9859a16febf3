"""Build the Debian package and the container images, and run them.

    python -m tests.machines.images

Needs root, a network and some minutes. The base is a Debian root of this machine's package sources
in place of a registry's image. The training recipe is built with a small extra, because torch with
CUDA takes 7 GB.
"""

from __future__ import annotations

import argparse
import os
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

TOOLS = {"buildah": "buildah", "mmdebstrap": "mmdebstrap", "dpkg-deb": "dpkg"}
BASE = "localhost/edge-difom-base"
CERTIFICATES = "/mnt/certificates.crt"
"""Where a recipe finds the certificates that pip is told to trust here, if any."""
PHANTOM = "synthetic:?frames=20&live=0"


class Images:
    """A store of images in a folder, without a daemon.

    Args:
        folder: Where the images are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._store = (
            "buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run"),
            "--storage-driver", "vfs",
        )  # fmt: skip

    def call(self, *command: str | Path) -> str:
        """What a buildah command prints."""
        return call(*self._store, *command)

    def take_root(self, archive: Path) -> None:
        """Make the base image of a root file system."""
        container = self.call("from", "scratch").strip()
        self.call("add", "--quiet", container, archive, "/")
        self.call("commit", "--quiet", container, BASE)
        self.call("rm", container)

    def build(self, recipe: str, tag: str, context: Path, **arguments: str) -> None:
        """Build an image of a recipe in `containers/`."""
        given = [f"--build-arg={name}={value}" for name, value in arguments.items()]
        if trusted := os.environ.get("PIP_CERT"):
            given += [f"--volume={trusted}:{CERTIFICATES}:ro"]
        self.call(
            "build", "--isolation", "chroot", "--network", "host", "--pull-never",
            f"--build-arg=BASE={BASE}", *given,
            "--file", REPOSITORY / "containers" / recipe, "--tag", tag, context,
        )  # fmt: skip

    def run(self, tag: str, *command: str) -> str:
        """What a command prints in a fresh container."""
        container = self.call("from", "--pull-never", f"localhost/{tag}").strip()
        try:
            return self.call("run", "--isolation", "chroot", container, "--", *command)
        finally:
            self.call("rm", container)


def debian_root() -> Path:
    """Archive of a small Debian of this machine's package sources; made once."""
    folder = cache("images") / "root"
    if not folder.is_dir():
        say("making a Debian root (minutes, once)")
        with made_whole(folder) as made:
            call("mmdebstrap", "--variant=minbase", "--mode=root", "bookworm", made / "root.tar")
    return folder / "root.tar"


def expect(text: str, words: str) -> None:
    """Refuse an output without some words.

    Raises:
        MachineError: They are missing.
    """
    if words not in text:
        raise MachineError(f"expected {words!r} in:\n{text[-2000:]}")
    say(f"ok: {words}")


def check_device(images: Images, folder: Path) -> None:
    """Build the device image from the Debian package and run its verbs."""
    say("wheelhouse, package and device image")
    call(REPOSITORY / "tools/make-wheelhouse", "--out", folder / "wheels", "--python", "3.11")
    call(
        sys.executable, REPOSITORY / "tools/make-deb", folder / "wheels", "--out", folder / "deb",
        "--machine", "x86_64", "--python", "3.11",
    )  # fmt: skip
    images.build("device.Containerfile", "edge-difom", folder / "deb", TARGETARCH="amd64")
    expect(images.run("edge-difom", "edge-difom", "verify", "--bundle", "edge-s"), "verified: /opt")
    expect(images.run("edge-difom", "edge-difom", "doctor"), "with Python bindings")
    expect(images.run("edge-difom", "id"), "(edge-difom)")
    run = ("edge-difom", "run", "--source", PHANTOM, "--sink", "null:")
    expect(images.run("edge-difom", *run), "20 frames")


def check_training(images: Images, folder: Path) -> None:
    """Build the training recipe with a small extra and run a verb."""
    say("training image, with a small extra")
    context = folder / "training"
    (context / "dist").mkdir(parents=True)
    (context / "constraints.txt").write_bytes((REPOSITORY / "constraints.txt").read_bytes())
    (wheel,) = (folder / "wheels").glob("edge_difom-*.whl")
    (context / "dist" / wheel.name).write_bytes(wheel.read_bytes())
    mirror = {"PIP_CERT": CERTIFICATES} if os.environ.get("PIP_CERT") else {}
    if index := os.environ.get("PIP_INDEX_URL"):
        mirror["PIP_INDEX_URL"] = index
    images.build("training.Containerfile", "training", context, EXTRAS="sbom", **mirror)
    told = images.run("training", "edge-difom", "doctor")
    expect(told, "extra [sbom]            installed")


def main() -> int:
    """Prepare, build, run, report."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    try:
        need(TOOLS)
        root = debian_root()
        with tempfile.TemporaryDirectory(prefix="edge-difom-images-") as temporary:
            images = Images(Path(temporary))
            images.take_root(root)
            check_device(images, Path(temporary))
            check_training(images, Path(temporary))
    except MachineError as error:
        return report(error)
    say("package and images were built and run")
    return 0


if __name__ == "__main__":
    sys.exit(main())
