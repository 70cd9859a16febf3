"""The dossier of a bundle: what it shows, whose records it refuses, and what a check finds."""

from __future__ import annotations

import json
import re
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from edge.bundle.header import bundle_header
from edge.bundle.reader import Bundle
from edge.engines.golden_check import EngineCheck, VerifyReport
from edge.errors import BundleError, DataError, MissingDependencyError, UsageError
from edge.evaluation.metrics import ImageScore, summarize
from edge.util.files import write_json
from edge_difom.cli.main import main
from firmware_bridge.fleet.dossier.archive import HTML, PDF, make_dossier
from firmware_bridge.fleet.dossier.check import check_dossier, refuse_problems
from firmware_bridge.fleet.dossier.layout import FrontPage, Section, Table, Verdict
from firmware_bridge.fleet.dossier.pdf import pdf_page
from firmware_bridge.fleet.dossier.record import RECORD
from firmware_bridge.fleet.trust.publishing import create_keys, rotate
from firmware_bridge.fleet.trust.roles import quorums_of
from tests.support.hostile_zip import Entry, zip_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def bundle(publisher: Any) -> Bundle:
    return Bundle.open(publisher.bundle(b"weights"))


def evaluation(bundle: Bundle, path: Path, **changes: Any) -> Path:
    """A record with two hospitals of three images each."""
    rows = [
        ImageScore(
            name=f"{hospital}/{number}",
            dice=dice + number / 100,
            iou=0.5,
            area_true=0.1,
            area_found=0.1,
            flagged=True,
            dataset=hospital,
        )
        for hospital, dice in (("north", 0.9), ("south", 0.4))
        for number in range(3)
    ]
    fields = {"header": bundle_header(bundle, engine="openvino", data="images"), **changes}
    write_json(path, msgspec.structs.replace(summarize(rows), **fields))
    return path


def verification(bundle: Bundle, path: Path, **changes: Any) -> Path:
    report = VerifyReport(
        ok=True,
        bundle=str(bundle.path),
        digest=bundle.digest,
        files={},
        engines=[EngineCheck(engine="openvino", checked=True, ok=True)],
        problems=[],
        header=bundle_header(bundle, engine="openvino"),
    )
    write_json(path, msgspec.structs.replace(report, **changes))
    return path


def bill(bundle: Bundle, digest: str | None = None) -> bytes:
    component = {
        "name": bundle.manifest.name,
        "type": "machine-learning-model",
        "bom-ref": f"bundle:{digest or bundle.digest}",
    }
    parts = [{"name": "numpy", "type": "library", "version": "2.0", "bom-ref": "pkg:pypi/numpy"}]
    return json.dumps(
        {
            "bomFormat": "CycloneDX",
            "specVersion": "1.6",
            "metadata": {"component": component, "timestamp": "2031-05-01T12:00:00Z"},
            "components": parts,
        }
    ).encode()


@pytest.fixture
def latency(bundle: Bundle, bench_lines: Callable[..., list[Any]], tmp_path: Path) -> Path:
    from edge.bench.report.summary import encode_report
    from edge.bench.report.summary import summarize as summarize_latency

    report = summarize_latency(bench_lines([[8.0] * 30] * 3))
    report = msgspec.structs.replace(report, bundle=bundle.manifest.name, digest=bundle.digest)
    path = tmp_path / "bench" / "report.json"
    path.parent.mkdir()
    path.write_bytes(encode_report(report))
    return path.parent


@pytest.fixture
def archive(bundle: Bundle, publisher: Any, latency: Path, tmp_path: Path) -> Path:
    out = tmp_path / "D.zip"
    make_dossier(
        bundle,
        out,
        publisher.keys,
        publisher.now,
        evaluations=[evaluation(bundle, tmp_path / "E.json")],
        latencies=[latency],
        verification=verification(bundle, tmp_path / "V.json"),
        bill=lambda: bill(bundle),
    )
    return out


def call(arguments: list[str]) -> int:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    return int(ended.value.code or 0)


def text_of(archive: Path, name: str = HTML) -> str:
    """The text of the HTML page, without markup."""
    page = zipfile.ZipFile(archive).read(name).decode()
    return " ".join(re.sub("<[^>]+>", " ", page.partition("</style>")[2]).split())


def rewrite(archive: Path, change: Callable[[dict[str, bytes]], None]) -> None:
    """Replace an archive by one with other contents."""
    with zipfile.ZipFile(archive) as source:
        contents = {name: source.read(name) for name in source.namelist()}
    change(contents)
    archive.write_bytes(zip_of([Entry(name.encode(), data) for name, data in contents.items()]))


def test_the_front_page_shows_every_kind_of_evidence(archive: Path, bundle: Bundle) -> None:
    text = text_of(archive)
    assert bundle.digest in text
    assert "hashes and golden frames verified" in text
    assert "north 3 0.9100 0.900 to 0.920" in text
    assert "south 3 0.4100 0.400 to 0.420" in text
    assert "numpy 2.0" in text
    assert "ACC-1 Accuracy All INT8 engines of a bundle" in text
    assert bundle.manifest.files["model.xml"] in text
    assert "an accuracy gate not given" in text
    assert "max" in text


def test_the_pdf_has_pages_and_names_the_bundle(archive: Path) -> None:
    data = zipfile.ZipFile(archive).read(PDF)
    assert data.startswith(b"%PDF-")
    assert b"/Title (Dossier of polyps)" in data
    assert len(re.findall(rb"/Type /Page\b", data)) > 1


def test_the_same_evidence_gives_the_same_bytes(
    archive: Path, bundle: Bundle, publisher: Any, latency: Path, tmp_path: Path
) -> None:
    make_dossier(
        bundle,
        tmp_path / "again.zip",
        publisher.keys,
        publisher.now,
        evaluations=[tmp_path / "E.json"],
        latencies=[latency],
        verification=tmp_path / "V.json",
        bill=lambda: bill(bundle),
    )
    assert (tmp_path / "again.zip").read_bytes() == archive.read_bytes()


def test_without_evidence_everything_is_named_as_missing(
    bundle: Bundle, publisher: Any, tmp_path: Path
) -> None:
    record = make_dossier(bundle, tmp_path / "D.zip", publisher.keys, publisher.now, pdf=False)
    assert len(record.missing) == 5
    assert PDF not in record.files
    text = text_of(tmp_path / "D.zip")
    for name in record.missing:
        assert f"{name} not given" in text


def test_a_failed_verification_is_shown_as_failed(
    bundle: Bundle, publisher: Any, tmp_path: Path
) -> None:
    failed = verification(bundle, tmp_path / "V.json", ok=False, problems=["model.xml changed"])
    make_dossier(
        bundle, tmp_path / "D.zip", publisher.keys, publisher.now, verification=failed, pdf=False
    )
    assert "hashes and golden frames FAILED model.xml changed" in text_of(tmp_path / "D.zip")


@pytest.mark.parametrize("kind", ["evaluation", "latency", "verification", "bill", "no header"])
def test_a_record_of_another_bundle_is_refused_by_name(
    kind: str, bundle: Bundle, publisher: Any, latency: Path, tmp_path: Path
) -> None:
    other = "0" * 64
    records: dict[str, Any] = {}
    if kind == "evaluation":
        header = msgspec.structs.replace(bundle_header(bundle, engine="tflite"), digest=other)
        records["evaluations"] = [evaluation(bundle, tmp_path / "theirs.json", header=header)]
    elif kind == "no header":
        records["evaluations"] = [evaluation(bundle, tmp_path / "theirs.json", header=None)]
    elif kind == "latency":
        path = latency / "report.json"
        path.write_bytes(path.read_bytes().replace(bundle.digest.encode(), other.encode()))
        records["latencies"] = [latency.rename(tmp_path / "theirs.json")]
    elif kind == "verification":
        records["verification"] = verification(bundle, tmp_path / "theirs.json", digest=other)
    else:
        records["bill"] = lambda: bill(bundle, other)
    name = "the bill of materials" if kind == "bill" else "theirs.json"
    with pytest.raises(DataError, match=f"{name} is not of this bundle") as caught:
        make_dossier(bundle, tmp_path / "D.zip", publisher.keys, publisher.now, **records)
    assert caught.value.got == ("a record that names no bundle" if kind == "no header" else other)
    assert not (tmp_path / "D.zip").exists()


def test_a_damaged_bundle_has_no_dossier(bundle: Bundle, publisher: Any, tmp_path: Path) -> None:
    (bundle.path / "model.xml").write_bytes(b"other")
    with pytest.raises(BundleError, match="does not verify") as caught:
        make_dossier(bundle, tmp_path / "D.zip", publisher.keys, publisher.now, pdf=False)
    assert caught.value.got == "model.xml (changed)"


def test_without_reportlab_the_error_names_the_extra(
    bundle: Bundle, publisher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "reportlab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "reportlab", None)
    with pytest.raises(MissingDependencyError, match=r"\[dossier\]"):
        make_dossier(bundle, tmp_path / "D.zip", publisher.keys, publisher.now)
    make_dossier(bundle, tmp_path / "D.zip", publisher.keys, publisher.now, pdf=False)
    assert (tmp_path / "D.zip").is_file()


def test_hostile_texts_are_shown_and_never_followed(
    bundle: Bundle, publisher: Any, tmp_path: Path
) -> None:
    name = '<img src="http://localhost:1/x"/><b>'
    page = FrontPage(name, name, name, [Verdict(name, name, "bad", name)], [])
    section = Section(name, [name], [Table([name], [[name], ["\x1b[2J\u202e" * 5000]])])
    assert pdf_page(page._replace(sections=[section])).startswith(b"%PDF-")
    notes = [name]
    record = evaluation(bundle, tmp_path / "E.json", notes=notes)
    make_dossier(
        bundle, tmp_path / "D.zip", publisher.keys, publisher.now, evaluations=[record], pdf=False
    )
    html = zipfile.ZipFile(tmp_path / "D.zip").read(HTML).decode()
    assert "<img" not in html
    assert "&lt;img" in html


def test_an_untouched_archive_is_intact(archive: Path, publisher: Any, bundle: Bundle) -> None:
    checked = check_dossier(archive, publisher.root, digest=bundle.digest)
    assert checked.ok
    assert set(checked.files.values()) == {"ok"}
    assert {HTML, PDF, "bundle/manifest.json", "trust/1.root.json"} <= checked.files.keys()
    refuse_problems(archive, checked)


def test_an_unpacked_archive_is_checked_too(archive: Path, publisher: Any, tmp_path: Path) -> None:
    zipfile.ZipFile(archive).extractall(tmp_path / "unpacked")
    assert check_dossier(tmp_path / "unpacked", publisher.root).ok
    (tmp_path / "unpacked" / HTML).write_text("all is well")
    assert check_dossier(tmp_path / "unpacked", publisher.root).files[HTML] == "changed"


@pytest.mark.parametrize(
    ("name", "state"), [(HTML, "changed"), ("records/evaluation-1.json", "missing")]
)
def test_a_wrong_file_is_named(name: str, state: str, archive: Path, publisher: Any) -> None:
    def change(contents: dict[str, bytes]) -> None:
        if state == "missing":
            del contents[name]
        else:
            contents[name] += b"!"

    rewrite(archive, change)
    checked = check_dossier(archive, publisher.root)
    assert {key: value for key, value in checked.files.items() if value != "ok"} == {name: state}
    with pytest.raises(BundleError, match="not as it was signed") as caught:
        refuse_problems(archive, checked)
    assert caught.value.got == f"{name} ({state})"


def test_a_file_that_nobody_signed_is_named(archive: Path, publisher: Any) -> None:
    rewrite(archive, lambda contents: contents.update({"records/extra.json": b"{}"}))
    checked = check_dossier(archive, publisher.root)
    assert not checked.ok
    assert checked.files["records/extra.json"] == "unlisted"


def test_a_list_changed_after_signing_is_refused(archive: Path, publisher: Any) -> None:
    def change(contents: dict[str, bytes]) -> None:
        contents[RECORD] = contents[RECORD].replace(b'"missing": [', b'"missing": ["x", ')

    rewrite(archive, change)
    with pytest.raises(BundleError, match="nobody whom"):
        check_dossier(archive, publisher.root)


def test_a_dossier_of_another_publisher_is_refused(
    archive: Path, make_publisher: Any, tmp_path: Path
) -> None:
    other = make_publisher(tmp_path / "other")
    with pytest.raises(BundleError, match="nobody whom"):
        check_dossier(archive, other.root)


def test_a_signature_of_other_metadata_does_not_count(archive: Path, publisher: Any) -> None:
    """The same key signs bundles; what it signed there is no dossier."""
    publisher.publish()
    (targets,) = (publisher.repository / "metadata").glob("*.targets.json")

    rewrite(archive, lambda contents: contents.update({RECORD: targets.read_bytes()}))
    with pytest.raises(BundleError, match="nobody whom"):
        check_dossier(archive, publisher.root)


def test_a_rotated_key_is_followed_from_the_old_root(
    bundle: Bundle, publisher: Any, tmp_path: Path
) -> None:
    first = publisher.root.read_bytes()
    publisher.publish()
    secrets = [publisher.passphrase]
    rotate(publisher.repository, publisher.keys, ["targets"], secrets, publisher.now)
    make_dossier(bundle, tmp_path / "D.zip", publisher.keys, publisher.now, pdf=False)
    (tmp_path / "old.json").write_bytes(first)
    assert check_dossier(tmp_path / "D.zip", tmp_path / "old.json").ok


def test_a_publisher_with_two_keys_needs_both_signatures(
    bundle: Bundle, publisher: Any, tmp_path: Path
) -> None:
    keys, out = tmp_path / "two", tmp_path / "D.zip"
    root = create_keys(keys, [b"secret"], publisher.now, quorums=quorums_of(["targets=2"]))
    make_dossier(bundle, out, keys, publisher.now, pdf=False)
    assert len(check_dossier(out, root).keys) == 2

    def forget(contents: dict[str, bytes]) -> None:
        document = json.loads(contents[RECORD])
        document["signatures"].pop()
        contents[RECORD] = json.dumps(document).encode()

    rewrite(out, forget)
    with pytest.raises(BundleError, match="nobody whom"):
        check_dossier(out, root)


def test_a_dossier_of_another_bundle_is_refused(archive: Path, publisher: Any) -> None:
    with pytest.raises(BundleError, match="different bundle"):
        check_dossier(archive, publisher.root, digest="0" * 64)


@pytest.mark.parametrize(
    "entries",
    [
        [Entry(RECORD.encode(), b"{}"), Entry(b"../out", b"x")],
        [Entry(RECORD.encode(), b"{}"), Entry(b"link", b"/etc/passwd", attributes=0o120777 << 16)],
        [Entry(RECORD.encode(), b"{}"), Entry(b"bomb", bytes(1 << 26), method=8)],
        [Entry(RECORD.encode(), b"{}"), Entry(RECORD.upper().encode(), b"{}")],
        [Entry(b"folder/" + RECORD.encode(), b"{}")],
        [Entry(RECORD.encode(), b"[" * 100_000)],
        [Entry(RECORD.encode(), b'{"signed": {"_type": "edge-difom-dossier"}}')],
        [Entry(RECORD.encode(), b"{}"), Entry(b"trust/1.root.json", b"\xff")],
    ],
)
def test_a_hostile_archive_is_refused(entries: list[Entry], publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "D.zip"
    path.write_bytes(zip_of(entries))
    with pytest.raises(BundleError):
        check_dossier(path, publisher.root)


@pytest.mark.parametrize("content", [b"", b"PK\3\4", b"{}", b"\0" * 64])
def test_no_archive_is_refused(content: bytes, publisher: Any, tmp_path: Path) -> None:
    path = tmp_path / "D.zip"
    path.write_bytes(content)
    with pytest.raises(BundleError, match="not the archive of a dossier"):
        check_dossier(path, publisher.root)


@pytest.mark.parametrize("content", [b"{}", b"\xff", b'{"signed": {"_type": "root"}}'])
def test_a_root_that_nobody_signed_is_not_trusted(
    content: bytes, archive: Path, tmp_path: Path
) -> None:
    root = tmp_path / "root.json"
    root.write_bytes(content)
    with pytest.raises(BundleError, match="cannot be trusted"):
        check_dossier(archive, root)


def test_another_suffix_is_refused(bundle: Bundle, publisher: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not the name of a dossier"):
        make_dossier(bundle, tmp_path / "D.tar", publisher.keys, publisher.now, pdf=False)


def test_the_commands_make_and_check_an_archive(
    bundle: Bundle, publisher: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    record, listed = evaluation(bundle, tmp_path / "E.json"), tmp_path / "sbom.json"
    listed.write_bytes(bill(bundle))
    out, keys = tmp_path / "D.zip", str(publisher.keys)
    verb = ["bundle", "dossier"]
    arguments = [
        "--evaluate",
        str(record),
        "--sbom",
        str(listed),
        "--keys",
        keys,
        "--out",
        str(out),
    ]
    assert call([*verb, str(bundle.path), *arguments, "--no-pdf"]) == 0
    assert "missing: a latency measurement" in capsys.readouterr().out
    check = [*verb, "--check", str(out), "--root", str(publisher.root)]
    assert call(check) == 0
    assert "intact" in capsys.readouterr().out
    rewrite(out, lambda contents: contents.update({HTML: b"all is well"}))
    assert call(check) == 4
    assert "index.html (changed)" in capsys.readouterr().err
    assert call([*verb, "--check", str(out)]) == 2
    assert call([*verb, str(bundle.path), "--out", str(out)]) == 2
