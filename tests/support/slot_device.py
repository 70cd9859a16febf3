"""A state folder of a device, for tests of its slots."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.util.files import sha256
from firmware_bridge.fleet.slots.audit import AuditLog
from firmware_bridge.fleet.slots.state import SlotBundle
from firmware_bridge.fleet.slots.store import SlotStore
from tests.support.signed_slots import Signer

if TYPE_CHECKING:
    from pathlib import Path


class Device:
    """A state folder whose slots are filled by hand, and the publisher who signs them."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.publisher = folder, Signer()
        self.publisher.trusted_by(folder)

    def put(self, slot: str, version: int, *, good: bool = False) -> SlotBundle:
        path = self.folder / "slots" / slot / f"{version}.difom"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(f"bundle {version}".encode())
        bundle = SlotBundle(
            file=path.name,
            sha256=sha256(path),
            size=path.stat().st_size,
            name="polyps",
            version=version,
            manifest="0" * 64,
            good=good,
        )
        self.publisher.sign(self.folder, slot, bundle)
        return bundle

    def start(self) -> SlotStore:
        return SlotStore(self.folder)

    def version(self) -> int | None:
        path = self.start().current()
        return int(path.stem) if path else None

    def reasons(self, event: str) -> list[object]:
        records = AuditLog(self.folder).records()
        return [record.detail["reason"] for record in records if record.event == event]

    def events(self) -> list[str]:
        log = AuditLog(self.folder)
        assert log.verify().ok
        return [record.event for record in log.records()]
