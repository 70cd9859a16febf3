"""Removes passwords from text before it is shown, logged or put into an error."""

from __future__ import annotations

import re

_CREDENTIALS = re.compile(
    r"(?P<begin>\b(?:rtsp[stuh]?|rtmps?|https?|srt|tcp|udp|ftp):/{0,2}|//)(?:(?!\s!\s).)*@",
    re.DOTALL | re.IGNORECASE,
)
"""From the `//` of a URL, or from its scheme, to the last `@` of the same pipeline element.

A password may hold slashes, quotes, spaces and `@`, so no earlier end is safe. A URL without
credentials but with an `@` in its path loses its host in the log, which is the lesser harm.
"""

_BARE = re.compile(
    r"(?<![\w./%+-])(?!(?:file|images|video|jsonl|shm):)[\w.%+-]+:[^\s/@]+@(?=[\w\[])"
)
"""`user:password@host` without a scheme; a file may have an `@` in its name."""

_SECRET = re.compile(
    r"(?P<name>(?:pass(?:word|wort|wd|phrase|code|w)?|pwd|psw|pw|secret|token|jwt"
    r"|(?:api|access|private|secret)[-_]?key|sig(?:nature)?|session[-_]?id"
    r"|auth(?:orization)?|credentials?)\s*=\s*(?:\(\w+\)\s*)?)"
    r"(?P<value>\"(?:\\.|[^\"\\])*\"?|'(?:\\.|[^'\\])*'?|(?:\\.|\S)+)",
    re.IGNORECASE | re.DOTALL,
)
"""A property or query field that holds a secret, such as `user-pw=...` of GStreamer's sources."""


def redact(text: str) -> str:
    """A text without the credentials of its URLs and without the values of its secrets.

    Args:
        text: A URL, a GStreamer pipeline, a message, or any other text.

    Returns:
        `rtsp://user:password@host/live` as `rtsp://host/live`, and `user-pw=abc` as `user-pw=***`.
    """
    without_login = _BARE.sub("***@", _CREDENTIALS.sub(lambda match: match["begin"], text))
    return _SECRET.sub(lambda match: f"{match['name']}***", without_login)
