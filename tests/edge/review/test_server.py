"""The review page: a token, this machine only, decisions that are kept at once, and a browser."""

from __future__ import annotations

import base64
import http.client
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import cv2
import numpy as np
import pytest

from edge.contracts import MarkKind
from edge.errors import BusyError, DataError, UsageError
from edge.review.decision import Verdict, decided_mask, encode_mask, read_decision
from edge.review.server import Review, review_page
from edge.status import Light
from edge.stills.files import read_still
from tests.support.chromium import Chromium
from tests.support.marks import SIZE, name, peak, put

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edge.frame import ImageU8

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    home = tmp_path / "marks"
    put(home, name(1))
    put(home, name(2), peak(100, visible=False), kind=MarkKind.MISSED)
    put(home, name(3, word="still"), kind=None)
    return home


@pytest.fixture
def review(folder: Path) -> Iterator[Review]:
    with Review(folder, hint="how to export") as server:
        yield server


def ask(
    review: Review, path: str, content: object = None, *, token: str | None = None, **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Get a path below the token, or post a content there."""
    url = urlsplit(review.url)
    connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=10)
    fields = {"Content-Type": "application/json"} | {
        key.replace("_", "-"): value for key, value in headers.items()
    }
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    where = (url.path if token is None else f"/{token}/") + path
    if content is None:
        connection.request("GET", where, headers=fields)
    else:
        connection.request("POST", where, body, fields)
    response = connection.getresponse()
    result = response.status, response.read(), response.headers
    connection.close()
    return result


def drawn(height: int = SIZE[0]) -> str:
    pixels = np.zeros((height, SIZE[1], 4), np.uint8)
    pixels[50:70, 60:90] = 255
    return base64.b64encode(encode_mask(pixels)).decode()


def test_the_list_and_the_pictures_are_those_of_the_folder(review: Review, folder: Path) -> None:
    status, content, headers = ask(review, "items")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    listed = json.loads(content)
    assert listed["hint"] == "how to export"
    first = next(item for item in listed["items"] if item["name"] == name(1))
    assert (first["kind"], first["size"], first["verdict"]) == ("false-alarm", [160, 120], "")
    assert [item["kind"] for item in listed["items"]] == ["missed", "false-alarm", "still"]
    status, content, headers = ask(review, f"frame/{name(1)}")
    assert (status, headers["Content-Type"]) == (200, "image/png")
    assert content == (folder / name(1) / "frame.png").read_bytes()
    for which in ("found", "mask"):
        assert ask(review, f"{which}/{name(1)}")[1] == (folder / name(1) / "mask.png").read_bytes()


def test_a_decision_is_kept_before_it_is_answered(review: Review, folder: Path) -> None:
    status, content, _ = ask(review, f"decide/{name(1)}", {"verdict": "polyp"})
    assert (status, json.loads(content)["verdict"]) == (200, "polyp")
    assert read_decision(folder / name(1)) is not None
    status, content, _ = ask(review, f"decide/{name(2)}", {"verdict": "polyp", "mask": drawn()})
    assert (status, json.loads(content)["drawn"]) == (200, True)
    decision, still = read_decision(folder / name(2)), read_still(folder / name(2))
    assert decision is not None
    assert np.count_nonzero(decided_mask(decision, still)) == 600
    picture: Any = cv2.imdecode(
        np.frombuffer(ask(review, f"mask/{name(2)}")[1], np.uint8), cv2.IMREAD_GRAYSCALE
    )
    assert np.count_nonzero(picture) == 600
    assert ask(review, f"decide/{name(3, word='still')}", {"verdict": "clean"})[0] == 200
    assert review.counts() == {"polyp": 2, "clean": 1, "skip": 0, "open": 0, "unreadable": 0}
    assert ask(review, f"decide/{name(1)}", {"verdict": None})[0] == 200
    assert read_decision(folder / name(1)) is None


def test_a_review_is_continued_where_it_stopped(folder: Path) -> None:
    with Review(folder) as first:
        ask(first, f"decide/{name(1)}", {"verdict": "skip"})
    with Review(folder) as second:
        assert second.url != first.url
        items = json.loads(ask(second, "items")[1])["items"]
    assert {item["name"]: item["verdict"] for item in items}[name(1)] == "skip"


def test_what_is_no_decision_is_refused_and_changes_nothing(review: Review, folder: Path) -> None:
    where = f"decide/{name(2)}"
    for content in (
        b"",
        b"{}",
        b"\xff",
        b"[" * 5000,
        {"verdict": "yes"},
        {"verdict": "polyp"},
        {"verdict": "polyp", "mask": "?"},
        {"verdict": "polyp", "mask": drawn(SIZE[0] + 1)},
        {"verdict": "clean", "mask": drawn()},
        {"verdict": "clean", "more": 1},
    ):
        status, body, _ = ask(review, where, content)
        assert status == 400, content
        assert json.loads(body)["error"]
    assert ask(review, where, {"verdict": "clean"}, Content_Type="text/plain")[0] == 400
    assert read_decision(folder / name(2)) is None
    for missing in ("decide/x", f"decide/{name(9)}", f"decide/../{name(1)}", "decide", "items"):
        assert ask(review, missing, {"verdict": "clean"})[0] == 404


@pytest.mark.parametrize(
    "path",
    ["x", "items/", "frame", "frame/x", f"frame/{name(9)}", f"scores/{name(1)}", "frame/../../x"],
)
def test_there_are_no_other_paths(review: Review, path: str) -> None:
    assert ask(review, path)[0] == 404


def test_nothing_is_answered_without_the_token(review: Review, folder: Path) -> None:
    right = urlsplit(review.url).path.strip("/")
    assert len(right) > 20
    for token in ("", "x", right[:-1], right + "x", "%C3%A9"):
        for path in ("", "items", f"frame/{name(1)}"):
            assert ask(review, path, token=token)[0] == 404
        assert ask(review, f"decide/{name(1)}", {"verdict": "clean"}, token=token)[0] == 404
    assert read_decision(folder / name(1)) is None


def test_other_sites_get_nothing_and_the_page_asks_nobody_else(
    review: Review, folder: Path
) -> None:
    for headers in ({"Sec_Fetch_Site": "cross-site"}, {"Host": "evil.example"}):
        assert ask(review, "items", **headers)[0] == 403
        assert ask(review, f"decide/{name(1)}", {"verdict": "clean"}, **headers)[0] == 403
    assert read_decision(folder / name(1)) is None
    status, content, headers_sent = ask(review, "")
    assert (status, content) == (200, review_page())
    policy = headers_sent["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert headers_sent["Cache-Control"] == "no-store"


def test_a_still_that_was_changed_is_not_shown_or_decided(review: Review, folder: Path) -> None:
    (folder / name(1) / "frame.png").write_bytes(b"x")
    assert ask(review, f"frame/{name(1)}")[0] == 409
    status, body, _ = ask(review, f"decide/{name(1)}", {"verdict": "clean"})
    assert (status, "was changed" in json.loads(body)["error"]) == (409, True)
    (folder / name(9)).symlink_to(folder / name(1))
    assert ask(review, f"frame/{name(9)}")[0] == 404


def test_a_disk_that_takes_nothing_is_told_and_ends_nothing(
    review: Review, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("edge.review.server.write_decision", full)
    status, body, _ = ask(review, f"decide/{name(1)}", {"verdict": "clean"})
    assert status == 507
    assert json.loads(body) == {"error": "the decision was not kept: No space left on device"}
    monkeypatch.undo()
    assert ask(review, f"decide/{name(1)}", {"verdict": "clean"})[0] == 200


def test_a_folder_has_one_review_and_must_hold_something(
    review: Review, folder: Path, tmp_path: Path
) -> None:
    with pytest.raises(BusyError, match="reviewed by another process"), Review(folder):
        pass
    with pytest.raises(DataError, match="holds nothing to review"):
        Review(tmp_path)
    port = urlsplit(review.url).port or 0
    put(tmp_path / "other", name(1))
    for _ in range(2):  # the claim is given back
        with (
            pytest.raises(UsageError, match="cannot be used"),
            Review(tmp_path / "other", port=port),
        ):
            pass


def test_the_verb_serves_until_it_is_stopped(folder: Path) -> None:
    command = [sys.executable, "-m", "edge_difom", "review", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        url = urlsplit(line.removeprefix("review: ").strip())
        connection = http.client.HTTPConnection("127.0.0.1", url.port or 0, timeout=10)
        body = b'{"verdict": "clean"}'
        path = f"{url.path}decide/{name(1)}"
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        assert connection.getresponse().status == 200
        connection.close()
        os.kill(process.pid, signal.SIGINT)
        rest = process.stdout.read()
        assert process.wait(30) == 0
    assert "1 clean, 2 open" in rest
    assert f"next: edge-difom review {folder} --export DATA" in rest


def test_the_page_has_the_lights_of_the_device() -> None:
    page = review_page().decode()
    for light in Light:
        assert f"--{light}: #{bytes(light.rgb).hex()};" in page
    assert "RESEARCH USE ONLY" in page


def text(of: str) -> str:
    return f"document.getElementById('{of}').textContent"


def press(page: Chromium, key: str) -> None:
    page.call("Input.dispatchKeyEvent", type="keyDown", key=key)
    page.call("Input.dispatchKeyEvent", type="keyUp", key=key)


def drag(page: Chromium, *places: tuple[float, float]) -> None:
    """Press, move and release; places are shares of the stage."""
    box = page.value(
        "(({x, y, width: w, height: h}) => { const s = Math.min(w / stage.width, h / stage.height);"
        "const [W, H] = [stage.width * s, stage.height * s];"
        "return [x + (w - W) / 2, y + (h - H) / 2, W, H]; })"
        "(document.getElementById('stage').getBoundingClientRect())"
    )
    spots = [(box[0] + x * box[2], box[1] + y * box[3]) for x, y in places]
    kinds = ["mousePressed", *["mouseMoved"] * (len(spots) - 1), "mouseReleased"]
    for kind, (x, y) in zip(kinds, [*spots, spots[-1]], strict=True):
        page.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def final(folder: Path, called: str) -> ImageU8:
    decision = read_decision(folder / called)
    assert decision is not None
    assert decision.verdict is Verdict.POLYP
    return decided_mask(decision, read_still(folder / called))


@pytest.mark.slow
def test_a_person_reviews_with_keys_and_a_brush(
    review: Review, folder: Path, tmp_path: Path
) -> None:
    page = Chromium(tmp_path / "profile")
    try:
        page.call("Page.navigate", url=review.url)
        page.until("!document.getElementById('stage').hidden")
        assert page.value(text("chip")) == "missed polyp"
        assert page.value("document.getElementById('accept').disabled") is True
        page.until(f"{text('counts')} === '3 open, 0 polyp, 0 clean, 0 skipped'")
        assert page.value("document.querySelectorAll('#timeline button').length") == 3
        drag(page, (0.4, 0.5), (0.5, 0.5), (0.6, 0.5))
        page.until(f"{text('chip')} === 'missed polyp, edited'")
        press(page, "z")
        page.until("document.getElementById('accept').disabled")
        press(page, "p")
        for place in ((0.4, 0.4), (0.6, 0.4), (0.6, 0.6), (0.4, 0.6)):
            drag(page, place)
        press(page, "Enter")
        page.until("!document.getElementById('accept').disabled")
        press(page, "a")
        page.until(f"{text('message')}.startsWith('kept')")
        area = np.argwhere(final(folder, name(2)))
        height, width = SIZE
        assert np.abs(area.min(axis=0) - (0.4 * height, 0.4 * width)).max() <= 2
        assert np.abs(area.max(axis=0) - (0.6 * height, 0.6 * width)).max() <= 2
        page.until(f"{text('chip')} === 'false alarm'")
        press(page, "c")
        page.until(f"{text('chip')} === 'still'")
        press(page, "a")
        page.until(f"{text('message')} === 'kept; every frame is decided'")
        still = read_still(folder / name(3, word="still"))
        assert still.mask is not None
        np.testing.assert_array_equal(final(folder, name(3, word="still")), still.mask)
        assert page.value(text("counts")) == "0 open, 2 polyp, 1 clean, 0 skipped"
        press(page, "u")
        page.until(f"{text('message')} === 'withdrawn'")
        assert read_decision(folder / name(3, word="still")) is None
        for width in (1280, 390):
            page.call(
                "Emulation.setDeviceMetricsOverride",
                width=width, height=800, deviceScaleFactor=1, mobile=width < 500,
            )  # fmt: skip
            page.until(f"innerWidth === {width}")
            assert page.value("document.documentElement.scrollWidth") <= width
        assert page.value(
            "performance.getEntriesByType('resource').every(r => r.name.startsWith(origin))"
        )
    finally:
        page.close()
