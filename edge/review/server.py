"""Web server of the review page: this machine only, behind a token in the address.

Decisions are kept before they are answered, so that a review can
be stopped at any moment.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from edge.errors import BusyError, DataError, EdgeDifomError, UsageError
from edge.review.decision import Verdict, decide, decided_mask, read_decision, write_decision
from edge.review.items import count, list_items, read_item
from edge.review.sessions import PictureReader, lines_json, list_sessions, session_at
from edge.stills.files import IMAGE, MASK, read_file, read_record, read_still
from edge.stills.folder import NAME
from edge.util.files import locked
from edge.util.local_server import JSON, LocalHandler, LocalServer, policy

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from types import TracebackType

    from typing_extensions import Self

    from edge.review.items import Item

_HOME = Path(__file__).parent
LOCK = ".review.lock"
_MAX_BODY = 8 << 20
_PNG, _JPEG = "image/png", "image/jpeg"
_NUMBER = re.compile(r"[0-9]{1,7}")

_log = logging.getLogger(__name__)


def review_page(name: str = "page") -> bytes:
    """Return a page with its style and script, whose hashes its policy allows.

    Args:
        name: `page` for marks and stills, `sessions` for recordings.
    """
    styles = dict.fromkeys(("page.css", f"{name}.css"))
    style = b"".join((_HOME / file).read_bytes() for file in styles)
    page = (_HOME / f"{name}.html").read_bytes()
    page = page.replace(b"<style></style>", b"<style>\n" + style + b"</style>")
    script = (_HOME / f"{name}.js").read_bytes()
    return page.replace(b"<script></script>", b"<script>\n" + script + b"</script>")


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Body of a decision.

    Attributes:
        verdict: What the frame is; null withdraws the decision.
        mask: PNG of the mask that was drawn; null accepts the found one.
    """

    verdict: Verdict | None
    mask: bytes | None = None


class Review:
    """Serves the review of a folder while the context is entered.

    Args:
        folder: Marks and stills, recorded sessions, or both.
        port: Port of 127.0.0.1; 0 for a free one.
        hint: How to write a data folder, for the page.

    Attributes:
        url: Address of the page with its token, valid once entered.

    Raises:
        DataError: The folder holds nothing to review.
    """

    def __init__(self, folder: Path, *, port: int = 0, hint: str = "") -> None:
        self.folder, self.url = folder, ""
        self._hint = hint
        self._port = port
        self._server: _Server | None = None
        self._lock: AbstractContextManager[None] | None = None
        if not list_sessions(folder):
            list_items(folder)

    def __enter__(self) -> Self:
        self._lock = self._claim()
        token = secrets.token_urlsafe(16)
        try:
            self._server = _Server(self._port, self.folder, token, self._hint)
        except OSError as error:
            self._release()
            raise UsageError(
                f"port {self._port} of 127.0.0.1 cannot be used",
                got=str(error),
                hint="without a port a free one is taken",
            ) from error
        self._server.start("review")
        self.url = self._server.url
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        self._release()

    def counts(self) -> dict[str, int]:
        """Return verdict -> number of stills, and `open` for those without one."""
        return count(_items(self.folder))

    def sessions(self) -> int:
        """Return the number of recorded sessions."""
        return len(list_sessions(self.folder))

    def _claim(self) -> AbstractContextManager[None]:
        lock = locked(self.folder / LOCK, wait=False)
        try:
            lock.__enter__()
        except BlockingIOError as error:
            raise BusyError(
                f"{self.folder} is reviewed by another process",
                expected="one review of a folder at a time",
                hint="end the other one",
            ) from error
        except OSError as error:
            raise UsageError(
                f"no decisions can be kept in {self.folder}",
                expected="a folder that can be written",
                got=error.strerror or str(error),
                hint="copy the folder to a place that can be written",
            ) from error
        return lock

    def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock is not None:
            lock.__exit__(None, None, None)


class _Server(LocalServer):
    def __init__(self, port: int, folder: Path, token: str, hint: str) -> None:
        self.folder, self.hint = folder, hint
        self.pages = {name: review_page(name) for name in ("page", "sessions")}
        self.writing, self.reader = threading.Lock(), PictureReader()
        super().__init__(port, _Handler, policy(b"".join(self.pages.values())), token)

    def close(self) -> None:
        """End all connections and the thread."""
        super().close()
        self.reader.close()


class _Handler(LocalHandler):
    server: _Server

    def get(self) -> None:
        route = self.route()
        what, _, name = (route or "").partition("/")
        if route in ("", "marks", "recordings"):
            self._page(route)
        elif route == "items":
            self._items()
        elif route == "sessions":
            self._sessions()
        elif what in ("lines", "picture"):
            self._of_session(what, name)
        elif what in ("frame", "found", "mask"):
            self._picture(what, name)
        else:
            self.answer(HTTPStatus.NOT_FOUND)

    def post(self) -> None:
        what, _, name = (self.route() or "").partition("/")
        path = self._still(name)
        if what != "decide" or path is None:
            self.answer(HTTPStatus.NOT_FOUND)
        elif (content := self.body(_MAX_BODY)) is None:
            self._fail(HTTPStatus.BAD_REQUEST, "a decision is JSON")
        else:
            self._decide(path, content)

    def _still(self, name: str) -> Path | None:
        path = self.server.folder / name
        return path if NAME.fullmatch(name) and path.is_dir() and not path.is_symlink() else None

    def _page(self, route: str) -> None:
        """The recordings if they are asked for, or if there is nothing else."""
        recordings = route == "recordings" or (route == "" and not _items(self.server.folder))
        self.answer(HTTPStatus.OK, self.server.pages["sessions" if recordings else "page"])

    def _items(self) -> None:
        folder = self.server.folder
        content = {
            "hint": self.server.hint,
            "items": _items(folder),
            "recordings": bool(list_sessions(folder)),
        }
        self.answer(HTTPStatus.OK, msgspec.json.encode(content), JSON)

    def _sessions(self) -> None:
        folder = self.server.folder
        content = {
            "folder": str(folder),
            "sessions": list_sessions(folder),
            "marks": bool(_items(folder)),
        }
        self.answer(HTTPStatus.OK, msgspec.json.encode(content), JSON)

    def _of_session(self, what: str, rest: str) -> None:
        """The lines of a part of a session, or one of its pictures."""
        name, _, part = rest.partition("/")
        part, _, number = part.partition("/")
        session = session_at(self.server.folder, name)
        content = None
        try:
            if session is not None and what == "lines" and not number:
                content = lines_json(session, part)
            elif session is not None and what == "picture" and _NUMBER.fullmatch(number):
                content = self.server.reader.jpeg(session, part, int(number))
        except DataError as error:
            self._fail(HTTPStatus.CONFLICT, error.what)
            return
        if content is None:
            self.answer(HTTPStatus.NOT_FOUND)
        else:
            self.answer(HTTPStatus.OK, content, JSON if what == "lines" else _JPEG)

    def _picture(self, which: str, name: str) -> None:
        path = self._still(name)
        if path is None:
            self.answer(HTTPStatus.NOT_FOUND)
            return
        try:
            content = _picture(path, which)
        except (DataError, UsageError) as error:
            self._fail(HTTPStatus.CONFLICT, error.what)
            return
        if content is None:
            self.answer(HTTPStatus.NOT_FOUND)
        else:
            self.answer(HTTPStatus.OK, content, _PNG)

    def _decide(self, path: Path, content: bytes) -> None:
        try:
            request = msgspec.json.decode(content, type=Request)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._fail(HTTPStatus.BAD_REQUEST, f"not a decision: {error}")
            return
        try:
            with self.server.writing:
                decision = None
                if request.verdict is not None:
                    decision = decide(read_still(path), request.verdict, request.mask)
                write_decision(path, decision)
        except UsageError as error:
            self._fail(HTTPStatus.BAD_REQUEST, f"{error.what}; {error.hint or error.expected}")
        except EdgeDifomError as error:
            self._fail(HTTPStatus.CONFLICT, error.what)
        except OSError as error:
            why = error.strerror or str(error)
            _log.warning("a decision about %s was not kept: %s", path.name, why)
            self._fail(HTTPStatus.INSUFFICIENT_STORAGE, f"the decision was not kept: {why}")
        else:
            self.answer(HTTPStatus.OK, msgspec.json.encode(read_item(path)), JSON)

    def _fail(self, status: HTTPStatus, why: str) -> None:
        self.answer(status, msgspec.json.encode({"error": why}), JSON)


def _items(folder: Path) -> list[Item]:
    """The marks and stills; none if there are only recordings, or all were removed meanwhile."""
    try:
        return list_items(folder)
    except DataError:
        return []


def _picture(path: Path, which: str) -> bytes | None:
    """The frame of a still, the mask that was found, or the one that was decided."""
    record = read_record(path)
    if which == "frame":
        return read_file(path, record, IMAGE)
    decision = read_decision(path) if which == "mask" else None
    if decision is not None and decision.mask is not None:
        decided_mask(decision, read_still(path))  # it fits the frame
        return decision.mask
    return read_file(path, record, MASK) if record.no_mask is None else None
