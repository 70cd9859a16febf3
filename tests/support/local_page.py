"""Requests to a page of this machine, and keys that are pressed on it."""

from __future__ import annotations

import http.client
import json
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from edge.review.server import Review
    from tests.support.chromium import Chromium


def ask(
    review: Review, path: str, content: object = None, *, token: str | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Get a path below the token, or post a content there."""
    url = urlsplit(review.url)
    connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=10)
    named = {"Content-Type": "application/json"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    where = (url.path if token is None else f"/{token}/") + path
    if content is None:
        connection.request("GET", where, headers=named)
    else:
        connection.request("POST", where, body, named)
    answer = connection.getresponse()
    found = answer.status, answer.read(), answer.headers
    connection.close()
    return found


def text(of: str) -> str:
    return f"document.getElementById('{of}').textContent"


def press(page: Chromium, key: str) -> None:
    page.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key)
