"""The only reader and writer of bundles.

A bundle is a directory, or the same files in one uncompressed zip (`.difom`). `manifest.json`
describes it and lists the SHA-256 of every other file; `manifest.sha256` holds the hash of the
manifest. Each read checks the hash of the bytes that it returns. The hashes detect damage; they do
not authenticate the maker of a bundle.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.bundle.manifest import SCHEMA_VERSION, EngineEntry, Manifest
from edge.bundle.store import MEND, SUFFIX, Store, check_names, open_store
from edge.errors import BundleError, UsageError
from edge.util.files import atomic_dir, atomic_write, json_text, refuse_existing, sha256
from edge.util.plain_text import markdown
from edge.util.zip_file import write_zip

if TYPE_CHECKING:
    from collections.abc import Mapping

MANIFEST, MANIFEST_HASH = "manifest.json", "manifest.sha256"

_OWN = (MANIFEST, MANIFEST_HASH)
_LONGEST_SIDE = 4096
_LONGEST_NAME = 100
LARGEST_MANIFEST = 4 << 20
"""Maximum bytes of a manifest: a decoded one takes up to twenty times as much memory."""

_LEAST_IOU, _LARGEST_DIFFERENCE = 0.9, 4.0
"""The widest tolerance of golden frames: a bundle must not choose to pass every test."""


class _Schema(msgspec.Struct):
    schema_version: int


@dataclass(frozen=True)
class Bundle:
    """An open bundle.

    Attributes:
        path: Directory or `.difom` file.
        manifest: The bundle's manifest.
        digest: SHA-256 of `manifest.json`, which identifies the bundle with all its files.
    """

    path: Path
    manifest: Manifest
    digest: str
    _store: Store = field(repr=False)

    @classmethod
    def open(cls, path: Path | str) -> Bundle:
        """Open a directory or a `.difom` file.

        Raises:
            BundleError: The path is not a bundle, or the bundle is damaged, has a newer schema or
                an inconsistent manifest.
            MachineError: The machine prevents reading it.
        """
        path = Path(path)
        store = open_store(path)
        encoded = store.read(MANIFEST, LARGEST_MANIFEST)
        digest = sha256(encoded)
        manifest = _decode(encoded, path)
        if store.read(MANIFEST_HASH, LARGEST_MANIFEST) != _hash_line(digest):
            raise BundleError(
                f"{path}: {MANIFEST} was changed",
                expected=f"the SHA-256 in {MANIFEST_HASH}",
                got=digest,
                hint=MEND,
            )
        return cls(path, manifest, digest, store)

    def read(self, name: str) -> bytes:
        """Read and verify a file.

        Args:
            name: Path inside the bundle, as listed in `manifest.files`.

        Raises:
            BundleError: The file is not listed, is missing, or differs from its hash.
        """
        if name not in self.manifest.files:
            raise BundleError(
                f"{self.path}: {name} is not a file of this bundle",
                expected=", ".join(sorted(self.manifest.files)),
            )
        data = self._store.read(name)
        digest = sha256(data)
        if digest != self.manifest.files[name]:
            raise BundleError(
                f"{self.path}: {name} was changed",
                expected=f"SHA-256 {self.manifest.files[name]}",
                got=f"SHA-256 {digest}",
                hint=MEND,
            )
        return data

    def documents(self) -> dict[str, bytes]:
        """Return the manifest, its hash, and the cards: path inside the bundle -> content.

        Raises:
            BundleError: A file does not verify.
        """
        cards = [name for name in sorted(self.manifest.files) if name.endswith(".md")]
        own = {name: self._store.read(name, LARGEST_MANIFEST) for name in _OWN}
        return own | {name: self.read(name) for name in cards}

    def file_digests(self) -> dict[str, str]:
        """Return what every file must be: path inside the bundle -> SHA-256."""
        own = {MANIFEST: self.digest, MANIFEST_HASH: sha256(_hash_line(self.digest))}
        return own | self.manifest.files

    def engine(self, name: str, precision: str = "int8") -> EngineEntry:
        """Return the entry of an engine.

        Args:
            name: `openvino`, `tflite` or `onnx`.
            precision: `int8`, `f32` or `bf16`.

        Raises:
            UsageError: The bundle has no such engine.
        """
        for entry in self.manifest.engines:
            if (entry.runtime, entry.precision) == (name, precision):
                return entry
        available = ", ".join(
            f"{entry.runtime} {entry.precision}" for entry in self.manifest.engines
        )
        raise UsageError(
            f"{self.path} has no {precision} engine for {name}",
            expected=available or "none: the bundle holds no engine",
            hint="choose a different engine",
            code="engine-not-in-bundle",
        )

    def engine_files(self, name: str, precision: str = "int8") -> list[bytes]:
        """Read and verify an engine's files, the model file first.

        Raises:
            UsageError: The bundle has no such engine.
            BundleError: A file does not verify.
        """
        return [self.read(path) for path in self.engine(name, precision).files]

    def verify_hashes(self) -> dict[str, str]:
        """Check every file: path -> `ok`, `changed`, `missing`, or `unlisted` in the manifest."""
        present = set(self._store.names())
        states = dict.fromkeys(sorted(present - set(self.manifest.files) - set(_OWN)), "unlisted")
        for name in sorted(self.manifest.files):
            if name not in present:
                states[name] = "missing"
                continue
            try:
                self.read(name)
                states[name] = "ok"
            except BundleError:
                states[name] = "changed"
        return states


def write_bundle(
    out_dir: Path, manifest: Manifest, files: Mapping[str, bytes], *, force: bool = False
) -> Bundle:
    """Write a bundle directory.

    Args:
        out_dir: Directory to create; it appears only after it is complete.
        manifest: The manifest; its `files` are filled in here.
        files: Path inside the bundle -> content.
        force: Replace an existing directory.

    Raises:
        UsageError: `out_dir` exists and `force` is not set.
        BundleError: A path leaves the bundle, or the manifest names a file missing in `files`.
    """
    manifest = msgspec.structs.replace(
        manifest, files={name: sha256(data) for name, data in sorted(files.items())}
    )
    _check(manifest, out_dir)
    encoded = json_text(manifest)
    with atomic_dir(out_dir, force=force) as folder:
        for name, data in files.items():
            atomic_write(folder / name, data)
        atomic_write(folder / MANIFEST, encoded)
        atomic_write(folder / MANIFEST_HASH, _hash_line(sha256(encoded)))
    return Bundle.open(out_dir)


def pack(bundle: Path | Bundle, out: Path, *, force: bool = False) -> Path:
    """Write a bundle as one uncompressed `.difom` zip; the same bundle gives the same bytes.

    Raises:
        UsageError: `out` exists and `force` is not set, or does not end in `.difom`.
        BundleError: A file does not verify.
        OSError: It cannot be written, for example because the disk is full.
    """
    if out.suffix != SUFFIX:
        raise UsageError(
            f"{out} is not the name of a packed bundle", expected=f"a name ending in {SUFFIX}"
        )
    refuse_existing(out, force=force)
    opened = bundle if isinstance(bundle, Bundle) else Bundle.open(bundle)
    contents = _contents(opened)
    write_zip(out, contents)
    return out


def unpack(packed: Path, out_dir: Path, *, force: bool = False) -> Bundle:
    """Write a packed bundle as a directory, every file verified.

    Raises:
        UsageError: `out_dir` exists and `force` is not set.
        BundleError: The bundle does not verify.
    """
    refuse_existing(out_dir, force=force)
    contents = _contents(Bundle.open(packed))
    with atomic_dir(out_dir, force=force) as folder:
        for name, data in contents.items():
            atomic_write(folder / name, data)
    return Bundle.open(out_dir)


def _contents(bundle: Bundle) -> dict[str, bytes]:
    """Return every listed file, the manifest first."""
    own = {name: bundle._store.read(name) for name in _OWN}
    return own | {name: bundle.read(name) for name in sorted(bundle.manifest.files)}


def _hash_line(digest: str) -> bytes:
    """Return the line that `sha256sum` would write, so that `sha256sum -c` can check it."""
    return f"{digest}  {MANIFEST}\n".encode()


def _decode(encoded: bytes, path: Path) -> Manifest:
    try:
        # Check the version first: a newer manifest may have keys that this reader does not know.
        version = msgspec.json.decode(encoded, type=_Schema).schema_version
        if version != SCHEMA_VERSION:
            raise BundleError(
                f"{path} has manifest schema {version}, "
                f"this edge-difom reads schema {SCHEMA_VERSION}",
                expected=f"schema_version {SCHEMA_VERSION}",
                got=f"schema_version {version}",
                hint="pip install --upgrade edge-difom"
                if version > SCHEMA_VERSION
                else "make the bundle again",
            )
        manifest = msgspec.json.decode(encoded, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BundleError(
            f"{path}: {MANIFEST} cannot be read", got=str(error), hint=MEND
        ) from error
    _check(manifest, path)
    return manifest


def _check(manifest: Manifest, path: Path) -> None:
    """Refuse an inconsistent manifest."""
    name = manifest.name
    if not 0 < len(name) <= _LONGEST_NAME or not name.isprintable() or markdown(name) != name:
        raise BundleError(
            f"{path}: the name of the bundle cannot be shown",
            expected=f"at most {_LONGEST_NAME} characters without controls and markup",
            got=ascii(name[:_LONGEST_NAME]),
        )
    check_names([*_OWN, *(name for name in manifest.files if name not in _OWN)], path)
    for name in _OWN:
        if name in manifest.files:
            raise BundleError(f"{path}: {name} cannot list itself in {MANIFEST}")
    listed = [name for entry in manifest.engines for name in entry.files]
    listed += [name for golden in manifest.golden.frames for name in (golden.frame, golden.scores)]
    for name in listed:
        if name not in manifest.files:
            raise BundleError(f"{path}: {MANIFEST} uses a file that it does not list", got=name)
    shape = manifest.input, manifest.output
    if not all(1 <= side <= _LONGEST_SIDE for part in shape for side in (part.height, part.width)):
        raise BundleError(
            f"{path}: {MANIFEST} has an input or output out of range",
            expected=f"1 <= height, width <= {_LONGEST_SIDE}",
        )
    golden = manifest.golden
    if not _LEAST_IOU <= golden.min_iou <= 1 or not (
        0 <= golden.max_mean_difference <= _LARGEST_DIFFERENCE
    ):
        raise BundleError(
            f"{path}: {MANIFEST} has a tolerance of its golden frames out of range",
            expected=f"{_LEAST_IOU} <= min_iou <= 1, "
            f"0 <= max_mean_difference <= {_LARGEST_DIFFERENCE:g}",
            got=f"{golden.min_iou}, {golden.max_mean_difference}",
        )
    threshold, min_region, min_peak = manifest.output.point
    if not 0 < threshold <= 1 or not 0 <= min_region < 1 or not 0 <= min_peak <= 1:
        raise BundleError(
            f"{path}: {MANIFEST} has a threshold, min_region or least_peak out of range",
            expected="0 < threshold <= 1, 0 <= min_region < 1, 0 <= least_peak <= 1",
            got=f"{threshold}, {min_region}, {min_peak}",
        )
