"""A device of this project and python-tuf's own client, side by side on one repository."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from tuf.api.exceptions import DownloadError, DownloadHTTPError, RepositoryError
from tuf.ngclient import Updater
from tuf.ngclient.fetcher import FetcherInterface

from edge.errors import BundleError
from firmware_bridge.fleet.trust.client import first_trust, refresh
from firmware_bridge.fleet.trust.folder import open_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_bridge.fleet.trust.trust_store import Trusted


class Files(FetcherInterface):
    """python-tuf's fetcher for a folder."""

    def _fetch(self, url: str) -> Iterator[bytes]:
        try:
            yield Path(url.removeprefix("file://")).read_bytes()
        except FileNotFoundError as error:
            raise DownloadHTTPError("no such file", 404) from error


class Both:
    """A device of ours and one of python-tuf, side by side."""

    def __init__(self, publisher: Any, folder: Path) -> None:
        self.publisher, self.folder = publisher, folder
        self.root = publisher.root.read_bytes()
        self.trusted: Trusted = first_trust(self.root)
        self.now = publisher.now
        folder.mkdir()

    def ours(self) -> int:
        """Version of the bundle offered."""
        source = open_folder(str(self.publisher.repository))
        self.trusted, targets = refresh(source.metadata, self.trusted, self.now, self.keep)
        return int(targets.targets["polyps.difom"].custom["version"])

    def keep(self, trusted: Trusted) -> None:
        self.trusted = trusted

    def theirs(self) -> int:
        with mock.patch("tuf.ngclient._internal.trusted_metadata_set.datetime") as clock:
            clock.datetime.now.return_value = self.now
            address = self.publisher.repository.resolve().as_uri()
            updater = Updater(
                str(self.folder),
                f"{address}/metadata/",
                str(self.folder),
                f"{address}/targets/",
                fetcher=Files(),
                bootstrap=self.root,
            )
            updater.refresh()
        target = updater.get_targetinfo("polyps.difom")
        assert target is not None
        return int(target.custom["version"])

    def refresh(self) -> int | None:
        """The version that both offer, None where both refuse."""
        try:
            own_version: int | None = self.ours()
        except BundleError:
            own_version = None
        try:
            tuf_version: int | None = self.theirs()
        except (RepositoryError, DownloadError):
            tuf_version = None
        assert own_version == tuf_version
        return own_version
