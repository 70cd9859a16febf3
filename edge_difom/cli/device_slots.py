"""`edge-difom device trust`, `install`, `status`, `rollback` and `gc`: bundles in two slots."""

from __future__ import annotations

from pathlib import Path

import click

from edge.errors import BundleError, UsageError
from edge.limits import MAX_MASK_AGE_MS, MAX_MEDIAN_INFERENCE_MS
from edge_difom.cli import console, options
from firmware_bridge.fleet.slots.store import SlotStore

_STATE = options.device_state()


@click.command(
    "trust",
    short_help="Trust a publisher's root.",
    epilog=console.examples(
        "edge-difom device trust /media/stick/1.root.json",
        "edge-difom device trust KEYS/1.root.json --state DIR",
        "edge-difom device trust other/1.root.json --replace",
    ),
)
@click.argument("root", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Replace the publisher that is trusted now.")
@_STATE
def trust(root: Path, replace: bool, folder: Path) -> None:
    """Trust the publisher of ROOT, a root metadata file.

    Do this once, by hand, and compare the printed key with the publisher's. Installed bundles stay.
    """
    from firmware_bridge import durable
    from firmware_bridge.fleet.trust import client, trust_store

    try:
        trusted = client.first_trust(root.read_bytes())
    except OSError as error:
        raise UsageError(
            f"{root} cannot be read", expected="root metadata", got=error.strerror or str(error)
        ) from error
    keys = trust_store.root_keys(trusted)
    durable.make_folder(folder)
    store = SlotStore(folder)
    with store.installing():
        if (folder / trust_store.TRUST).exists() and not replace:
            raise UsageError(
                f"{folder} already trusts a publisher",
                expected="a device without one",
                hint=f"edge-difom device trust {root} --replace",
            )
        store.audit.append("trusted", root=root.name, keys=", ".join(keys))
        trust_store.save(folder, trusted)
    for key in keys:
        console.say(f"root key {key}")
    console.next_command("edge-difom device install SOURCE")


@click.command(
    "install",
    short_help="Install a bundle from a repository.",
    epilog=console.examples(
        "edge-difom device install /media/stick/polyps",
        "edge-difom device install file:///media/stick/polyps --target polyps",
        "edge-difom device install /media/stick/polyps --max-latency-ms 50 --json installed.json",
    ),
)
@click.argument("source")
@click.option(
    "--target", metavar="NAME", help="Bundle to install, if the repository contains several."
)
@click.option("--again", is_flag=True, help="Retry a bundle that was marked bad on this device.")
@click.option(
    "--max-latency-ms",
    type=options.FiniteRange(min=0, min_open=True),
    help="Fail the self-test if the median inference takes longer. Default: "
    f"{MAX_MEDIAN_INFERENCE_MS:.0f}, the {MAX_MASK_AGE_MS:.0f} ms of a mask minus other stages.",
)
@_STATE
@console.json_option()
def install(
    source: str,
    target: str | None,
    again: bool,
    max_latency_ms: float | None,
    folder: Path,
    json_path: str | None,
) -> None:
    """Install the latest bundle of SOURCE, a folder or USB stick, into the slot that is not in use.

    A bundle is refused before anything is copied if the trusted publisher did not sign it, if it is
    expired, older than an installed one, or cannot run here. The new bundle is on trial from the
    next start, with two starts to prove itself. Exits with code 11 while a video signal is present.
    """
    from edge.engines.selftest import check_in_process
    from firmware_bridge.fleet.slots.install import install as install_bundle

    installed = install_bundle(
        source,
        folder,
        target=target,
        again=again,
        check=lambda path: check_in_process(
            path, limit_ms=max_latency_ms or MAX_MEDIAN_INFERENCE_MS
        ),
    )
    console.say(f"installed: {installed.name} {installed.version}, on trial from the next start")
    if json_path:
        console.write_json(json_path, installed)
    console.next_command(f"edge-difom device status --state {console.quote(folder)}")


@click.command(
    "status",
    short_help="Show what is installed, and check the log.",
    epilog=console.examples(
        "edge-difom device status",
        "edge-difom device status --state DIR --events 50",
        "edge-difom device status --json -",
    ),
)
@click.option(
    "--events",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="Number of events to show.",
)
@_STATE
@console.json_option()
def status(events: int, folder: Path, json_path: str | None) -> None:
    """Show the contents of the slots, and check every hash and the chain of the audit log.

    Nothing is changed. Exits with code 4 if a slot is damaged or the log was tampered with. Anyone
    who can write the whole folder can forge the whole log: keep `device audit export` elsewhere.
    """
    from firmware_bridge.fleet.slots.status import examine

    report = examine(folder)
    console.table(
        ["slot", "bundle", "version", "role", "tries left", "files"],
        [
            [
                slot.slot,
                slot.name,
                slot.version,
                slot.role,
                slot.tries,
                "ok" if slot.ok else "DAMAGED",
            ]
            for slot in report.slots
        ],
    )
    for key in report.keys:
        console.say(f"trusts root key {key}")
    if report.signal:
        console.say("a video signal is present, so nothing can be installed now")
    for record in report.events[-events:] if events else []:
        detail = ", ".join(f"{key} {value}" for key, value in record.detail.items() if value != "")
        line = f"{record.n:6d}  {record.at}  {record.event}  {detail}"
        # A forged record could hold escape codes of a terminal.
        console.say("".join(c if c.isprintable() else "?" for c in line))
    if report.audit.head:
        console.say(f"log: {report.audit.records} records, head {report.audit.head.digest}")
    if json_path:
        console.write_json(json_path, report)
    if report.problems:
        raise BundleError(
            f"{folder}: " + "; ".join(report.problems),
            expected="undamaged slots and an unbroken log",
            hint="edge-difom device install SOURCE" if report.audit.ok else "",
        )
    console.next_command("edge-difom device install SOURCE")


@click.command(
    "rollback",
    short_help="Return to the previous bundle.",
    epilog=console.examples(
        "edge-difom device rollback",
        "edge-difom device rollback --state DIR",
        "edge-difom device rollback --state /var/lib/edge-difom",
    ),
)
@_STATE
def rollback(folder: Path) -> None:
    """Return to the previous bundle from the next start.

    Gives up a bundle on trial, or switches to the good bundle of the other slot.
    """
    previous = _store(folder).roll_back()
    console.say(f"from the next start: {previous.name} {previous.version}")
    console.next_command(f"edge-difom device status --state {console.quote(folder)}")


@click.command(
    "gc",
    short_help="Remove files that no slot needs.",
    epilog=console.examples(
        "edge-difom device gc",
        "edge-difom device gc --state DIR",
        "edge-difom device gc --reset",
    ),
)
@click.option(
    "--reset",
    is_flag=True,
    help="Empty both slots, to recover from an unreadable state file; that file is kept aside.",
)
@_STATE
def gc(reset: bool, folder: Path) -> None:
    """Remove old bundles and leftovers of interrupted installations."""
    store = _store(folder)
    if reset:
        store.reset()
    for path in store.collect():
        console.say(f"removed: {path}")
    console.next_command(f"edge-difom device status --state {console.quote(folder)}")


def _store(folder: Path) -> SlotStore:
    if not folder.is_dir():
        raise BundleError(
            f"{folder} does not exist",
            expected="a state folder",
            hint="edge-difom device trust ROOT.json",
        )
    return SlotStore(folder)
