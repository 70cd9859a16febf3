"""What is fuzzed: each target takes any bytes and may only raise an error of this project."""

from __future__ import annotations

import json
import shutil
import struct
import tempfile
import warnings
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from securesystemslib.signer import CryptoSigner

from edge.bundle import reader
from edge.engines import formats
from edge.engines.golden_picture import PictureError, decode_png
from edge.errors import BundleError, EdgeDifomError
from edge.shm.reader import SegmentReader
from edge.stills.files import read_still
from edge.util.files import sha256
from edge_difom.cli import run_config
from firmware_bridge.cart.link.session import Session
from firmware_bridge.cart.protocol.framing import PAYLOAD_MAX, Deframer, frame
from firmware_bridge.fleet.attest.check import check_attestations
from firmware_bridge.fleet.attest.envelope import read_statement, sign_statement
from firmware_bridge.fleet.slots import audit_chain, state
from firmware_bridge.fleet.trust.client import first_trust
from firmware_bridge.fleet.trust.families import read_family
from tests.support.hostile_zip import Entry, zip_of

if TYPE_CHECKING:
    from collections.abc import Callable

ALLOWED = (EdgeDifomError, PictureError)
"""Errors that tell a user what is wrong; anything else is a finding."""

CORPUS = Path(__file__).with_name("corpus")
PICTURE_SIZE = (16, 16)

COUNTS = struct.Struct("=QQQ")
"""Cases, refused cases, largest memory that one case took beyond its own size, bytes."""


@cache
def _folder() -> Path:
    """A folder in memory, if there is one."""
    root = "/dev/shm" if Path("/dev/shm").is_dir() else None
    return Path(tempfile.mkdtemp(prefix="edge-difom-fuzz-", dir=root))


def clean() -> None:
    """Remove what the targets wrote."""
    shutil.rmtree(_folder(), ignore_errors=True)
    _folder.cache_clear()


def _written(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def archive(data: bytes) -> None:
    """Open a packed bundle, read everything in it and unpack it; nothing lands outside."""
    path, out = _written("b.difom", data), _folder() / "out"
    before = set(_folder().iterdir()) | {out}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of what it reads past
        try:
            bundle = reader.Bundle.open(path)
            bundle.verify_hashes()
            reader.unpack(path, out, force=True)
        finally:
            assert set(_folder().iterdir()) <= before, "a file outside the bundle"
            shutil.rmtree(out, ignore_errors=True)


def manifest(data: bytes) -> None:
    """Open a bundle with this manifest and the right hash of it."""
    entries = [
        Entry(b"manifest.json", data),
        Entry(b"manifest.sha256", f"{sha256(data)}  manifest.json\n".encode()),
        Entry(b"model.xml", b"<net/>"),
    ]
    bundle = reader.Bundle.open(_written("m.difom", zip_of(entries)))
    bundle.verify_hashes()


def engine_onnx(data: bytes) -> None:
    """Check an ONNX model before its runtime sees it."""
    formats.check_onnx(data)


def engine_tflite(data: bytes) -> None:
    """Check a TFLite model before its runtime sees it."""
    formats.check_tflite(data)


def engine_ir(data: bytes) -> None:
    """Check an OpenVINO IR before its runtime sees it."""
    formats.check_ir([data, b""])


def picture(data: bytes) -> None:
    """Decode a golden picture."""
    decode_png(data, PICTURE_SIZE, "RGB")


def link(data: bytes) -> None:
    """Receive bytes from the controller in pieces, and go on."""
    session = Session()
    session.connect(0)
    for step, at in enumerate(range(0, len(data), 61)):
        session.receive(data[at : at + 61], 10 * step)
        session.poll(None, 10 * step + 5)
    list(session.pop_reports())
    assert len(session.farewell()) < 4096


def message(data: bytes) -> None:
    """Receive one whole frame with this payload and the right checksum."""
    session = Session()
    session.connect(0)
    sent = data[:PAYLOAD_MAX] or b"\0"
    (payload,) = Deframer().feed(frame(sent))
    assert payload == sent
    session.receive(frame(payload), 1)
    session.poll(None, 2)


def root(data: bytes) -> None:
    """Trust a root that was delivered by hand."""
    first_trust(data)


def slots(data: bytes) -> None:
    """Load the state of a device's slots."""
    _written(state.STATE, data)
    state.load(_folder())


def audit(data: bytes) -> None:
    """Check an audit log."""
    lines = data.splitlines()
    audit_chain.check(lines, None)
    audit_chain.digests(lines)


def still(data: bytes) -> None:
    """Read a still whose record is this."""
    folder = _folder() / "still"
    folder.mkdir(exist_ok=True)
    (folder / "still.json").write_bytes(data)
    read_still(folder)


@cache
def attestation_key() -> tuple[CryptoSigner, bytes]:
    """The key that signed the corpus of attestations, and its public part as PEM."""
    private = ec.derive_private_key(28, ec.SECP256R1())
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return CryptoSigner(private), public


def attestation(data: bytes) -> None:
    """Read an attestation of a bundle."""
    read_statement(_written("a.json", data), attestation_key()[1])


def statement(data: bytes) -> None:
    """Check what a trusted key signed, whatever it is, against a bundle."""
    try:
        parsed = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BundleError("no JSON") from error
    if not isinstance(parsed, dict):
        raise BundleError("no statement")
    signer, public = attestation_key()
    key = _written("key.pem", public)
    signed = _written("s.json", sign_statement(parsed, signer, public))
    bundle = reader.Bundle.open(
        _written("held.difom", (CORPUS / "archive/small.difom").read_bytes())
    )
    check_attestations(bundle, [signed], key)


def family(data: bytes) -> None:
    """Read the record of a family of bundles."""
    read_family(_written("x.family.json", data))


def options(data: bytes) -> None:
    """Read the options of `edge-difom run` from a TOML file."""
    from edge_difom.cli.run import command

    run_config.read_config(_written("run.toml", data), command)


def training(data: bytes) -> None:
    """Read a training configuration, and one setting of the command line."""
    from distill.config import make_config, parse_assignments, read_config_file

    values = read_config_file(_written("c.yaml", data))
    make_config({str(key): value for key, value in values.items()})
    parse_assignments((data.decode(errors="replace"),))


def segment(data: bytes) -> None:
    """Read an overlay from shared memory that holds these bytes."""
    reader = SegmentReader(_written("overlay", data))
    reader.news()
    reader.read()
    reader.close()


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__.replace("_", "-"): target
    for target in (
        *(archive, manifest, engine_onnx, engine_tflite, engine_ir, picture),
        *(link, message, root, slots, audit, still, segment, options, training),
        *(attestation, statement, family),
    )
}


def seeds(name: str) -> list[Path]:
    """Return the files of a target's corpus."""
    return sorted((CORPUS / name).iterdir())
