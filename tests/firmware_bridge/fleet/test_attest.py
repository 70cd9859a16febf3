"""Attestations of bundles: read back here, and by the reference verifiers where they are there."""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given, settings
from hypothesis import strategies as st
from securesystemslib.dsse import Envelope
from securesystemslib.signer import SSlibKey

from edge.bundle.reader import Bundle, pack
from edge.errors import BundleError, UsageError
from firmware_bridge.fleet.attest import envelope
from firmware_bridge.fleet.attest.check import attest, check_attestations
from firmware_bridge.fleet.attest.keys import PUBLIC, load_key, make_key

REFERENCE = importlib.util.find_spec("model_signing") is not None or bool(
    os.environ.get("MODEL_SIGNING_PATH")
)
"""Packages of the reference verifier, in this environment or in a folder of their own."""


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    make_key(tmp_path / "keys")
    return tmp_path / "keys"


@pytest.fixture
def bundle(publisher: Any) -> Bundle:
    return Bundle.open(publisher.bundle(b"weights"))


def statement_of(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_bytes())
    found: dict[str, Any] = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    return found


def test_both_kinds_are_written_and_read(bundle: Bundle, keys: Path, tmp_path: Path) -> None:
    paths = attest(bundle, tmp_path / "out", keys)
    assert [path.name for path in paths] == [
        *("bundle.model.sigstore.json", "bundle.provenance.sigstore.json"),
    ]
    found = check_attestations(bundle, paths, keys / PUBLIC)
    assert list(found.values()) == ["model signature", "provenance"]
    packed = Bundle.open(pack(bundle, tmp_path / "b.difom"))
    assert check_attestations(packed, paths, keys / PUBLIC) == found


def test_provenance_says_what_the_manifest_records(keys: Path, tmp_path: Path) -> None:
    shipped = Bundle.open(Path(__file__).parents[3] / "edge/bundles/edge-xs")
    statement = statement_of(attest(shipped, tmp_path, keys)[1])
    origin = shipped.manifest.provenance
    build = statement["predicate"]["buildDefinition"]
    assert build["externalParameters"] == {
        "student": origin.student,
        "teachers": origin.teachers,
        "recipe": origin.recipe,
        "seed": origin.seed,
    }
    named = {item["name"]: item for item in build["resolvedDependencies"]}
    for name, digest in origin.data.items():
        assert named[name]["digest"] == {"edgeDifomData1": digest}
    assert named["torch"]["uri"] == f"pkg:pypi/torch@{origin.versions['torch']}"
    run = statement["predicate"]["runDetails"]
    assert run["metadata"]["finishedOn"] == origin.created
    assert statement["subject"] == [{"name": "manifest.json", "digest": {"sha256": shipped.digest}}]


@pytest.mark.slow
def test_the_commands_sign_and_verify(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from edge_difom.cli.main import group

    shipped = Path(__file__).parents[3] / "edge/bundles/edge-xs"
    keys, out = tmp_path / "keys", tmp_path / "out"
    keys.mkdir()

    def call(*arguments: object) -> Any:
        return CliRunner().invoke(group, [*map(str, arguments)])

    made = call("bundle", "attest", shipped, "--keys", keys, "--out", out)
    assert made.exit_code == 0, made.output
    model, provenance = sorted(out.iterdir())
    verify = ("verify", "--bundle", shipped, "--engine", "tflite", "--attestation", model)
    done = call(*verify, "--attestation", provenance, "--public-key", keys / PUBLIC)
    assert done.exit_code == 0, done.output
    assert f"model signature: {model}" in done.output
    assert f"provenance: {provenance}" in done.output
    model.write_bytes(provenance.read_bytes()[:-40])
    refused = call(*verify, "--public-key", keys / PUBLIC)
    assert isinstance(refused.exception, BundleError)
    assert isinstance(call(*verify).exception, UsageError)


@pytest.mark.parametrize("kind", [0, 1], ids=["model", "provenance"])
def test_an_attestation_of_another_bundle_is_refused(
    bundle: Bundle, keys: Path, tmp_path: Path, publisher: Any, kind: int
) -> None:
    path = attest(bundle, tmp_path / "out", keys)[kind]
    other = Bundle.open(publisher.bundle(b"other weights"))
    with pytest.raises(BundleError, match="is not of"):
        check_attestations(other, [path], keys / PUBLIC)


def test_a_changed_statement_is_refused(bundle: Bundle, keys: Path, tmp_path: Path) -> None:
    for path in attest(bundle, tmp_path / "out", keys):
        document = json.loads(path.read_bytes())
        statement = statement_of(path)
        statement["subject"][0]["name"] = "another"
        payload = json.dumps(statement).encode()
        document["dsseEnvelope"]["payload"] = base64.b64encode(payload).decode()
        path.write_text(json.dumps(document))
        with pytest.raises(BundleError, match=r"the signature of .* is wrong"):
            check_attestations(bundle, [path], keys / PUBLIC)


def test_another_key_is_refused(bundle: Bundle, keys: Path, tmp_path: Path) -> None:
    (path, _) = attest(bundle, tmp_path / "out", keys)
    other = make_key(tmp_path / "other")
    with pytest.raises(BundleError, match="a different key signed"):
        check_attestations(bundle, [path], other)
    document = json.loads(path.read_bytes())
    document["verificationMaterial"]["publicKey"]["hint"] = ""
    path.write_text(json.dumps(document))
    with pytest.raises(BundleError, match=r"the signature of .* is wrong"):
        check_attestations(bundle, [path], other)
    check_attestations(bundle, [path], keys / PUBLIC)


@pytest.mark.parametrize(
    "change",
    [
        lambda resources: resources.pop(),
        lambda resources: resources.append(dict(resources[0])),
        lambda resources: resources.append({**resources[0], "name": "more.bin"}),
        lambda resources: resources[0].update(algorithm="blake2b"),
    ],
    ids=["fewer", "twice", "more", "algorithm"],
)
def test_a_model_signature_names_all_files_and_no_others(
    bundle: Bundle, keys: Path, tmp_path: Path, change: Any
) -> None:
    """Signed by the right key, and yet not of this bundle."""
    from firmware_bridge.fleet.attest.statements import root_digest, sign_files

    statement = sign_files(bundle)
    resources = statement["predicate"]["resources"]
    change(resources)
    statement["subject"][0]["digest"]["sha256"] = root_digest(resources)
    path = tmp_path / "m.json"
    path.write_bytes(envelope.sign_statement(statement, *load_key(keys)))
    with pytest.raises(BundleError, match="is not of"):
        check_attestations(bundle, [path], keys / PUBLIC)


def test_a_bundle_with_another_file_is_not_attested(
    bundle: Bundle, keys: Path, tmp_path: Path
) -> None:
    paths = attest(bundle, tmp_path / "out", keys)
    (bundle.path / "more.bin").write_bytes(b"more")
    with pytest.raises(BundleError, match=r"more.bin \(unlisted\)"):
        attest(bundle, tmp_path / "again", keys)
    with pytest.raises(BundleError, match=r"more.bin \(unlisted\)"):
        check_attestations(bundle, paths, keys / PUBLIC)


@pytest.mark.parametrize("place", [".", "golden/more"])
def test_attestations_lie_beside_the_bundle(bundle: Bundle, keys: Path, place: str) -> None:
    with pytest.raises(UsageError, match="is inside the bundle"):
        attest(bundle, bundle.path / place, keys)


def test_a_key_that_no_reference_verifier_takes_is_refused(tmp_path: Path) -> None:
    private = ec.generate_private_key(ec.SECP256K1())
    pem = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    with pytest.raises(UsageError, match="public key cannot be used"):
        envelope.load_public(pem)
    with pytest.raises(UsageError, match="public key cannot be used"):
        envelope.load_public(b"no key")


_MORE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_any_damage_is_an_error_of_this_project(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Each place of the document is replaced by anything, and the whole by any bytes."""
    private = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = private.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    document: Any = {
        "mediaType": envelope.MEDIA_TYPE,
        "verificationMaterial": {"publicKey": {"hint": ""}, "tlogEntries": []},
        "dsseEnvelope": {
            "payload": "e30=",
            "payloadType": envelope.PAYLOAD_TYPE,
            "signatures": [{"sig": "e30=", "keyid": ""}],
        },
    }
    place = document
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        key = data.draw(st.sampled_from(keys))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            place[key] = data.draw(_MORE)
            break
        place = place[key]
    path = tmp_path_factory.getbasetemp() / "any.json"
    path.write_bytes(data.draw(st.just(json.dumps(document).encode()) | st.binary()))
    with pytest.raises(BundleError):
        envelope.read_statement(path, public)


def test_a_deep_or_long_document_is_an_error(keys: Path, tmp_path: Path) -> None:
    path, public = tmp_path / "a.json", (keys / PUBLIC).read_bytes()
    for content in (b"[" * 200_000, b" " * (envelope.LARGEST + 1)):
        path.write_bytes(content)
        with pytest.raises(BundleError, match="is not a signed statement"):
            envelope.read_statement(path, public)


def test_the_reference_of_dsse_verifies(bundle: Bundle, keys: Path, tmp_path: Path) -> None:
    """securesystemslib's envelope, as in-toto's own tools use it."""
    pem = (keys / PUBLIC).read_bytes()
    public = serialization.load_pem_public_key(pem)
    assert isinstance(public, ec.EllipticCurvePublicKey)
    found = SSlibKey.from_crypto(public)
    key = SSlibKey("", found.keytype, found.scheme, found.keyval)
    for path in attest(bundle, tmp_path / "out", keys):
        document = json.loads(path.read_bytes())["dsseEnvelope"]
        verified = Envelope.from_dict(document)
        assert list(verified.verify([key], 1)) == [""]
        assert json.loads(verified.payload) == statement_of(path)


_CHECK = """
import sys
from google.protobuf import json_format
from in_toto_attestation.v1 import statement
from in_toto_attestation.v1 import statement_pb2
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
read = json_format.Parse(open(sys.argv[1]).read(), statement_pb2.Statement())
statement.Statement.copy_from_pb(read).validate()
if sys.argv[2] == "provenance":
    json_format.ParseDict(
        json_format.MessageToDict(read.predicate), provenance_pb2.Provenance()
    )
"""


def reference(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the reference packages in a process of their own."""
    path = os.pathsep.join(filter(None, (os.environ.get("MODEL_SIGNING_PATH"),)))
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE, reason="needs model-signing (pip install --group reference)")
def test_the_reference_verifiers_read_both(keys: Path, tmp_path: Path) -> None:
    shipped = Path(__file__).parents[3] / "edge/bundles/edge-xs"
    bundle = Bundle.open(Path(shutil.copytree(shipped, tmp_path / "edge-xs")))
    model, provenance = attest(bundle, tmp_path / "out", keys)
    verify = ("-m", "model_signing", "verify", "key", str(bundle.path), "--signature", str(model))
    done = reference(*verify, "--public_key", str(keys / PUBLIC))
    assert done.returncode == 0, done.stderr
    assert "Verification succeeded" in done.stdout
    for kind, path in (("model", model), ("provenance", provenance)):
        plain = tmp_path / "statement.json"
        plain.write_text(json.dumps(statement_of(path)))
        done = reference("-c", _CHECK, str(plain), kind)
        assert done.returncode == 0, done.stderr
    (bundle.path / "MODEL_CARD.md").write_bytes(b"other words")
    done = reference(*verify, "--public_key", str(keys / PUBLIC))
    assert done.returncode != 0, "the control: it does compare the files"


@pytest.mark.slow
@pytest.mark.skipif(not REFERENCE, reason="needs model-signing (pip install --group reference)")
def test_what_the_reference_signs_is_read_here(bundle: Bundle, keys: Path, tmp_path: Path) -> None:
    signature = tmp_path / "model.sig"
    done = reference(
        *("-m", "model_signing", "sign", "key", str(bundle.path)),
        *("--signature", str(signature), "--private_key", str(keys / "attestation.pem")),
    )
    assert done.returncode == 0, done.stderr
    found = check_attestations(bundle, [signature], keys / PUBLIC)
    assert list(found.values()) == ["model signature"]
