"""Make the archive of a dossier: records, documents of the bundle, front pages and a signature."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Root

from edge import __version__
from edge.errors import BundleError, UsageError
from edge.record_header import commit
from edge.reports.html import render
from edge.util.files import json_text, refuse_existing, sha256
from edge.util.zip_file import write_zip
from firmware_bridge.fleet.dossier.evidence import gather
from firmware_bridge.fleet.dossier.front_page import front_page
from firmware_bridge.fleet.dossier.pdf import pdf_page, require_pdf
from firmware_bridge.fleet.dossier.record import RECORD, ROLE, ROOTS, DossierRecord, FileHash
from firmware_bridge.fleet.trust import repository

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from datetime import datetime
    from pathlib import Path

    from edge.bundle.reader import Bundle

SUFFIX = ".zip"
HTML, PDF = "index.html", "dossier.pdf"


def make_dossier(
    bundle: Bundle,
    out: Path,
    keys: Path,
    now: datetime,
    *,
    evaluations: Sequence[Path] = (),
    latencies: Sequence[Path] = (),
    verification: Path | None = None,
    bill: Callable[[], bytes] | None = None,
    pdf: bool = True,
    force: bool = False,
) -> DossierRecord:
    """Write the signed dossier of a bundle; the same arguments give the same bytes.

    Args:
        bundle: An open bundle, all of whose files must verify.
        out: Archive to write; must end in `.zip`.
        keys: Folder of the publisher's keys; the root key is not needed.
        now: Wall clock, UTC.
        evaluations: JSON records of `evaluate`.
        latencies: Reports of `bench`, or folders of them.
        verification: JSON record of `verify`.
        bill: Makes the bill of materials, CycloneDX JSON; called after the records were read.
        pdf: Whether the PDF front page is made.
        force: Replace an existing archive.

    Raises:
        UsageError: `out` exists and `force` is not set, or has another suffix, or a key is missing.
        DataError: A record cannot be read or is of a different bundle.
        BundleError: The bundle does not verify.
        MissingDependencyError: A package for a front page is not installed.
    """
    if out.suffix != SUFFIX:
        raise UsageError(f"{out} is not the name of a dossier", expected=f"a name in {SUFFIX}")
    refuse_existing(out, force=force)
    if pdf:
        require_pdf()
    signers = repository.load_signers(keys, ROLE, _newest_root(keys))
    states = bundle.verify_hashes()
    if wrong := [f"{name} ({state})" for name, state in states.items() if state != "ok"]:
        raise BundleError(
            f"{bundle.path} does not verify", expected="unchanged files", got=", ".join(wrong)
        )
    evidence = gather(
        bundle,
        evaluations=evaluations,
        latencies=latencies,
        verification=verification,
        bill=bill,
    )
    created = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    page = front_page(evidence, created)
    contents = {
        HTML: render("dossier.html.j2", page=page).encode(),
        **({PDF: pdf_page(page)} if pdf else {}),
        **evidence.files,
        **{f"bundle/{name}": data for name, data in bundle.documents().items()},
        **{f"{ROOTS}{path.name}": path.read_bytes() for path in repository.root_files(keys)},
    }
    record = DossierRecord(
        bundle=bundle.manifest.name,
        digest=bundle.digest,
        created=created,
        version=__version__,
        commit=commit() or "",
        missing=evidence.missing,
        files={
            name: FileHash(sha256=sha256(data), size=len(data)) for name, data in contents.items()
        },
    )
    signed = msgspec.to_builtins(record)
    content = encode_canonical(signed)
    assert content is not None  # without an output function it returns the text
    signatures = [signer.sign(content.encode()) for signer in signers]
    document = {
        "signatures": [{"keyid": each.keyid, "sig": each.signature} for each in signatures],
        "signed": signed,
    }
    write_zip(out, {RECORD: json_text(document), **contents})
    return record


def _newest_root(keys: Path) -> Root:
    return repository.load_metadata(repository.root_files(keys)[-1], Root)
