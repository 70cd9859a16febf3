"""A publisher for slots that are filled by hand: root metadata, and a signature for each bundle."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import Metadata, Root, TargetFile, Targets

from firmware_bridge.fleet.slots.slot_files import bundle_path, metadata_path
from firmware_bridge.fleet.trust import trust_store
from firmware_bridge.fleet.trust.client import first_trust

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_bridge.fleet.slots.state import SlotBundle

EXPIRES = datetime(2032, 1, 1, tzinfo=timezone.utc)
ONLINE = ("timestamp", "snapshot", "targets")


class Signer:
    """A publisher with one root key and one key for everything else."""

    def __init__(self) -> None:
        self.top, self.online = CryptoSigner.generate_ed25519(), CryptoSigner.generate_ed25519()
        self.version = 0
        self.root = self.next_root()

    def next_root(self, *, new_online: bool = False, new_top: bool = False) -> bytes:
        """The next root metadata, optionally with new keys, signed by the old root key too."""
        signers = [self.top]
        if new_top:
            self.top = CryptoSigner.generate_ed25519()
            signers.append(self.top)
        if new_online:
            self.online = CryptoSigner.generate_ed25519()
        self.version += 1
        root = Root(version=self.version, expires=EXPIRES, consistent_snapshot=True)
        root.add_key(self.top.public_key, "root")
        for role in ONLINE:
            root.add_key(self.online.public_key, role)
        document = Metadata(root)
        for signer in signers:
            document.sign(signer, append=True)
        self.root = document.to_bytes()
        return self.root

    def trusted_by(self, folder: Path) -> None:
        """Let a device trust this publisher."""
        folder.mkdir(parents=True, exist_ok=True)
        trust_store.save(folder, first_trust(self.root))

    def sign(self, folder: Path, slot: str, bundle: SlotBundle) -> None:
        """Put the signed description of a slot's bundle beside it."""
        name = f"{bundle.name}.difom"
        custom = {
            "format": 1,
            "version": bundle.version,
            "name": bundle.name,
            "schema_version": 2,
            "manifest": bundle.manifest,
            "engines": [],
        }
        entry = TargetFile(bundle.size, {"sha256": bundle.sha256}, name, {"custom": custom})
        document = Metadata(Targets(version=1, expires=EXPIRES, targets={name: entry}))
        document.sign(self.online)
        metadata_path(bundle_path(folder, slot, bundle)).write_bytes(document.to_bytes())
