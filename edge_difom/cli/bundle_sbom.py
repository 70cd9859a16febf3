"""`edge-difom bundle sbom`: the bill of materials of a bundle on a device."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_difom.cli import console, options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from firmware_bridge.fleet.sbom.advisories import Finding
    from firmware_bridge.fleet.sbom.parts import Part

_FILE = click.Path(path_type=Path)


@click.command(
    "sbom",
    short_help="Write a bundle's bill of materials.",
    epilog=console.examples(
        "edge-difom bundle sbom B --out sbom.json",
        "edge-difom bundle sbom B.difom --out sbom.json --soup soup.md --vex vex.json",
        "edge-difom bundle sbom B --out sbom.json --extra trust --extra cart",
        "edge-difom bundle sbom B --check advisories.json --vex vex.json",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@click.option("--out", type=_FILE, help="CycloneDX 1.6 JSON file to write.")
@click.option(
    "--soup",
    type=_FILE,
    help="Also write a Markdown table of the packages (SOUP) to this file.",
)
@click.option(
    "--extra",
    "extras",
    multiple=True,
    help="Extra of this project installed on the device, beside those of its engines; repeatable.",
)
@click.option("--no-system", is_flag=True, help="Leave out what is below the Python packages.")
@click.option("--vex", type=_FILE, help="OpenVEX file of statements on vulnerabilities.")
@click.option(
    "--support",
    "support_file",
    type=_FILE,
    help="JSON file of support announcements; they precede those of this program.",
)
@click.option(
    "--check",
    "advisory_file",
    type=_FILE,
    help="Compare the software with advisories of this OSV file, without a network; ends with "
    "code 12 if a component is affected or cannot be decided.",
)
@options.force()
def sbom(
    path: Path,
    out: Path | None,
    soup: Path | None,
    extras: tuple[str, ...],
    no_system: bool,
    vex: Path | None,
    support_file: Path | None,
    advisory_file: Path | None,
    force: bool,
) -> None:
    """Write a CycloneDX bill of materials of BUNDLE, or compare its software with advisories.

    The bill has the model with its card, data, teachers, installed Python packages, the libraries
    inside them, the operating system's packages and the controller's firmware.

    Run it where the device's packages are installed: on the device, or in an equal environment.
    """
    from edge.bundle.reader import Bundle
    from edge.errors import AdvisoryError, UsageError
    from edge.util.files import atomic_write, refuse_existing
    from firmware_bridge.fleet.sbom import advisories, bill, support
    from firmware_bridge.fleet.sbom import vex as vex_file
    from firmware_bridge.fleet.sbom.device_bill import device_software
    from firmware_bridge.fleet.slots.audit import utc_now

    if out is None and advisory_file is None:
        raise UsageError("nothing to do", expected="--out FILE, --check ADVISORIES, or both")
    for file in (out, soup):
        if file is not None:
            refuse_existing(file, force=force)
    # All input is read before the slow part and before anything is written.
    statements = vex_file.read_statements(vex) if vex is not None else []
    rules = support.read_rules(support_file) if support_file is not None else []
    records = advisories.read_advisories(advisory_file) if advisory_file is not None else []
    bundle = Bundle.open(path)
    needed, parts = device_software(bundle, extras, below=not no_system)
    if out is not None:
        text = bill.make_bill(
            bundle,
            needed,
            utc_now(),
            parts=parts,
            rules=[*rules, *support.read_rules()],
            statements=statements,
        )
        checked = bill.validate(text)
        atomic_write(out, text)
        console.made(out)
        console.say(
            "valid by the schema of CycloneDX 1.6"
            if checked
            else "not compared with its schema: jsonschema is not installed"
        )
    if soup is not None:
        atomic_write(soup, bill.soup_table(bundle, needed))
        console.made(soup)
    without = sorted(package.name for package in needed if package.license == "unknown")
    console.say(
        f"{len(needed)} packages"
        + (f"; no license stated by {', '.join(without)}" if without else "")
    )
    console.say(_summary(parts))
    if advisory_file is not None:
        everything = [*(package.part for package in needed), *parts]
        findings = advisories.judge(records, everything, statements)
        _show(findings, len(records))
        open_findings = [finding for finding in findings if finding.outcome != "cleared"]
        if open_findings:
            raise AdvisoryError(
                f"{len(open_findings)} findings in {advisory_file}",
                expected="no component that is affected or undecided",
                got=", ".join(
                    sorted({f"{each.component} {each.version}" for each in open_findings})
                ),
                hint="update the component, or state in a VEX file why it is not affected",
            )
    console.next_command(f"edge-difom bundle show {console.quote(path)}")


def _summary(parts: Sequence[Part]) -> str:
    files = [part for part in parts if part.kind == "file"]
    package_files = {file for part in parts if part.kind != "file" for file in part.files}
    products = [part for part in parts if part.owners and part.kind == "library"]
    packaged = sum(part.name in package_files for part in files)
    return (
        f"{len(files)} compiled files, in {packaged} of them {len(products)} known products; "
        f"{len(parts) - len(files) - len(products)} parts of the system"
    )


def _show(findings: Sequence[Finding], count: int) -> None:
    console.say(f"{count} advisories compared")
    if findings:
        console.table(
            ["advisory", "component", "version", "result", "reason"],
            [
                [each.advisory, each.component, each.version, each.outcome, each.reason]
                for each in findings
            ],
        )
