"""`edge-difom bundle dossier`: the signed archive of a bundle's evidence."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError
from edge_difom.cli import console, options

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle

_FILE = click.Path(path_type=Path)


@click.command(
    "dossier",
    short_help="Make or check the signed archive of a bundle's evidence.",
    epilog=console.examples(
        "edge-difom bundle dossier B --evaluate E.json --bench R --verify V.json --keys KEYS "
        "--out D.zip",
        "edge-difom bundle dossier B --evaluate E.json --sbom sbom.json --keys KEYS --out D.zip "
        "--no-pdf",
        "edge-difom bundle dossier --check D.zip --root 1.root.json",
        "edge-difom bundle dossier B --check D.zip --root 1.root.json --json -",
    ),
)
@click.argument("path", metavar="[BUNDLE]", type=console.BUNDLE, required=False)
@click.option("--out", type=_FILE, help="Archive to write; must end in .zip.")
@click.option("--keys", type=_FILE, help="Folder created by `bundle keygen`.")
@click.option(
    "--evaluate",
    "evaluations",
    type=_FILE,
    multiple=True,
    help="JSON record of `evaluate`; repeatable.",
)
@click.option(
    "--bench",
    "latencies",
    type=_FILE,
    multiple=True,
    help="Folder or report.json of `bench run`; repeatable.",
)
@click.option("--verify", "verification", type=_FILE, help="JSON record of `verify`.")
@click.option(
    "--sbom",
    "bill",
    type=_FILE,
    help="Bill of materials that `bundle sbom` wrote on the device. Default: that of this machine.",
)
@click.option("--no-pdf", is_flag=True, help="Leave out the PDF front page.")
@click.option("--check", type=_FILE, help="Archive to check: its signature and every hash.")
@click.option(
    "--root", type=_FILE, help="With --check: root metadata of the publisher, KEYS/1.root.json."
)
@options.force()
@console.json_option()
def dossier(
    path: Path | None,
    out: Path | None,
    keys: Path | None,
    evaluations: tuple[Path, ...],
    latencies: tuple[Path, ...],
    verification: Path | None,
    bill: Path | None,
    no_pdf: bool,
    check: Path | None,
    root: Path | None,
    force: bool,
    json_path: str | None,
) -> None:
    """Collect the evidence on BUNDLE in one signed archive, or check such an archive.

    The archive has an HTML and a PDF front page (identity, gates, figures by hospital, parity,
    latency, bill of materials, requirements, hashes), the records, and the cards of the bundle. A
    record of a different bundle is refused. What is not given is listed as missing.

    A check ends with code 4 if a file or the signature is wrong.
    """
    from edge.bundle.reader import Bundle

    contents = {
        "--out": out,
        "--keys": keys,
        "--evaluate": evaluations,
        "--bench": latencies,
        "--verify": verification,
        "--sbom": bill,
        "--no-pdf": no_pdf,
        "--force": force,
    }
    requested = [name for name, value in contents.items() if value]
    if check is not None:
        if requested or root is None:
            raise UsageError(
                "--check reads an archive",
                expected="--check ARCHIVE --root ROOT.json",
                got=", ".join(requested) or "no --root",
            )
        _check(check, root, None if path is None else Bundle.open(path), json_path)
        return
    if path is None or out is None or keys is None or root is not None:
        raise UsageError(
            "a dossier is of a bundle, signed with keys",
            expected="BUNDLE --keys KEYS --out FILE.zip, or --check ARCHIVE --root ROOT.json",
            got=", ".join([*([] if path is None else ["BUNDLE"]), *requested]) or "neither",
        )
    from firmware_bridge.fleet.dossier.archive import make_dossier
    from firmware_bridge.fleet.slots.audit import utc_now

    bundle = Bundle.open(path)
    record = make_dossier(
        bundle,
        out,
        keys,
        utc_now(),
        evaluations=evaluations,
        latencies=latencies,
        verification=verification,
        bill=partial(_bill_of_this_machine, bundle) if bill is None else bill.read_bytes,
        pdf=not no_pdf,
        force=force,
    )
    for name in record.missing:
        console.say(f"missing: {name}")
    console.say(f"{len(record.files)} files, {record.bundle} {record.digest}")
    console.made(out)
    if json_path:
        console.write_json(json_path, record)
    console.next_command(
        f"edge-difom bundle dossier --check {console.quote(out)} --root "
        f"{console.quote(keys / '1.root.json')}"
    )


def _bill_of_this_machine(bundle: Bundle) -> bytes:
    from firmware_bridge.fleet.sbom import bill, support
    from firmware_bridge.fleet.sbom.device_bill import device_software
    from firmware_bridge.fleet.slots.audit import utc_now

    needed, parts = device_software(bundle)
    console.say("bill of materials: of the software on this machine")
    return bill.make_bill(
        bundle, needed, utc_now(), parts=parts, rules=support.read_rules()
    ).encode()


def _check(archive: Path, root: Path, bundle: Bundle | None, json_path: str | None) -> None:
    from firmware_bridge.fleet.dossier.check import check_dossier, refuse_problems

    checked = check_dossier(archive, root, digest=None if bundle is None else bundle.digest)
    record = checked.record
    console.say(f"{record.bundle}  {record.digest}")
    console.say(f"made {record.created} by edge-difom {record.version} {record.commit}".rstrip())
    for keyid in checked.keys:
        console.say(f"signed by key {keyid}")
    console.table(["file", "state"], [[name, state] for name, state in checked.files.items()])
    for name in record.missing:
        console.say(f"missing from the start: {name}")
    if json_path:
        console.write_json(json_path, checked)
    refuse_problems(archive, checked)
    console.say(f"intact: {archive}")
