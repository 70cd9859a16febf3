"""`edge-difom device provision`: install the system files of a cart computer."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from edge_difom.cli import console, options

_SERVICES = "edge-difom edge-difom-presenter edge-difom-exporter"
_FILL = ("systemd-sysusers", "systemd-tmpfiles --create edge-difom.conf")
_RELOAD = (
    "systemctl restart systemd-modules-load",
    "udevadm control --reload",
    "udevadm trigger --subsystem-match=tty --subsystem-match=video4linux",
    "systemctl daemon-reexec",
)
"""For a running system. The last command reloads the units, and the watchdog setting too."""

NEXT = (*_FILL, *_RELOAD)
"""Commands that make a running system read the files, before the services are enabled."""


@click.command(
    "provision",
    short_help="Install the services, device names and watchdog of a cart computer.",
    epilog=console.examples(
        "edge-difom device provision --dry-run",
        "edge-difom device provision --cart-port pci-0000:00:14.0-usb-0:3:1.0 --camera-port "
        "pci-0000:03:00.0",
        "edge-difom device provision --root /mnt/image --python /opt/edge-difom/bin/python --rauc",
    ),
)
@click.option(
    "--dry-run", is_flag=True, help="Show what would be written without changing anything."
)
@click.option(
    "--root",
    type=click.Path(path_type=Path),
    default=Path("/"),
    show_default=True,
    help="Root of the system, such as a mounted image.",
)
@click.option(
    "--python",
    default=sys.executable,
    metavar="PATH",
    help="Path of the services' Python on the target system. Default: the running one.",
)
@click.option(
    "--cart-port",
    default="*",
    show_default=True,
    metavar="PORT",
    help="USB port whose serial line becomes /dev/ttyCART, the cart's controller: a name or "
    "pattern "
    "from /dev/serial/by-path.",
)
@click.option(
    "--camera-port",
    default="*",
    show_default=True,
    metavar="PORT",
    help="Port whose camera becomes /dev/cart-camera: a name or pattern from /dev/v4l/by-path "
    "without `-video-index0`.",
)
@click.option("--rauc", is_flag=True, help="Also configure the two root slots of RAUC.")
@options.force("Overwrite files that were changed by hand.")
def provision(
    dry_run: bool,
    root: Path,
    python: str,
    cart_port: str,
    camera_port: str,
    rauc: bool,
    force: bool,
) -> None:
    """Write the systemd units, udev rules and other system files of a cart computer.

    Files that were changed by hand are kept. Nothing is started, enabled or reloaded; the commands
    to do so are printed.
    """
    from firmware_bridge.fleet.system.provision import Settings, apply, plan

    settings = Settings(python=python, cart=cart_port, camera=camera_port, rauc=rauc)
    changes = plan(root, settings, force=force)
    if dry_run:
        for change in changes:
            if change.writes:
                console.say(change.diff())
    else:
        apply(root, changes)
    done = {"write": "written", "update": "updated", "replace": "replaced"}
    console.table(
        ["file", "would" if dry_run else "was"],
        [
            [str(change.path), change.action if dry_run else done.get(change.action, change.action)]
            for change in changes
        ],
    )
    for change in changes:
        if change.action == "keep":
            console.warn(f"{change.path} was changed by hand and is kept; --force overwrites it")
    if dry_run:
        console.next_command("edge-difom device provision")
        return
    if root == Path("/"):
        lines = [*NEXT, f"systemctl enable --now {_SERVICES}"]
    else:
        lines = [
            line.replace(" ", f" --root={root} ", 1) if " " in line else f"{line} --root={root}"
            for line in _FILL
        ]
        lines.append(f"systemctl --root={root} enable {_SERVICES}")
    for line in lines:
        console.next_command(line)
