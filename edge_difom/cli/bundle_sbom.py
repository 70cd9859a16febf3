"""`edge-difom bundle sbom`: the bill of materials of a bundle on a device."""

from __future__ import annotations

from pathlib import Path

import click

from edge_difom.cli import console, options


@click.command(
    "sbom",
    short_help="Write a bundle's bill of materials.",
    epilog=console.examples(
        "edge-difom bundle sbom B --out sbom.json",
        "edge-difom bundle sbom B.difom --out sbom.json --soup soup.md",
        "edge-difom bundle sbom B --out sbom.json --extra trust --extra cart",
    ),
)
@click.argument("path", metavar="BUNDLE", type=console.BUNDLE)
@options.out("CycloneDX 1.6 JSON file to write.")
@click.option(
    "--soup",
    type=click.Path(path_type=Path),
    help="Also write a Markdown table of the packages (SOUP) to this file.",
)
@click.option(
    "--extra",
    "extras",
    multiple=True,
    help="Extra of this project installed on the device, beside those of its engines; repeatable.",
)
@options.force()
def sbom(path: Path, out: Path, soup: Path | None, extras: tuple[str, ...], force: bool) -> None:
    """Write a CycloneDX bill of materials of BUNDLE: engines, data, teachers, installed packages.

    Run it where the device's packages are installed: on the device, or in an equal environment.
    """
    from edge.bundle.reader import Bundle
    from edge.engines.runtimes import find_runtimes
    from edge.util.files import atomic_write, refuse_existing
    from firmware_bridge.fleet.sbom import bill, packages
    from firmware_bridge.fleet.slots.audit import utc_now

    for file in (out, soup):
        if file is not None:
            refuse_existing(file, force=force)
    bundle = Bundle.open(path)
    runtimes = find_runtimes()
    engines = {entry.runtime for entry in bundle.manifest.engines if runtimes.get(entry.runtime)}
    # On old systems another package runs the tflite engine; it has its own extra.
    names = {
        "tflite-runtime"
        if (found := runtimes[name]) and found.package == "tflite-runtime"
        else name
        for name in engines
    }
    needed = packages.needed(names | set(extras))
    atomic_write(out, bill.make_bill(bundle, needed, utc_now()))
    console.made(out)
    if soup is not None:
        atomic_write(soup, bill.soup_table(bundle, needed))
        console.made(soup)
    without = sorted(package.name for package in needed if package.licence == "unknown")
    console.say(
        f"{len(needed)} packages"
        + (f"; no license stated by {', '.join(without)}" if without else "")
    )
    console.next_command(f"edge-difom bundle show {console.quote(path)}")
