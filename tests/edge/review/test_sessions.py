"""The review page of recordings: its routes, and a person who looks for a finding."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

from edge.contracts import MarkKind
from edge.errors import DataError
from edge.review.server import Review, review_page
from edge.review.sessions import list_sessions
from edge.status import LIGHTS
from tests.support.chromium import Chromium
from tests.support.local_page import ask, press, text
from tests.support.marks import name, put
from tests.support.recordings import number_in, record

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    record(tmp_path / "r", 26, range(12, 15))
    return tmp_path / "r"


@pytest.fixture
def review(folder: Path) -> Iterator[Review]:
    with Review(folder) as made:
        yield made


def only(folder: Path) -> str:
    return next(path.name for path in folder.glob("session-*"))


def test_a_session_is_listed_with_its_segments_and_events(review: Review, folder: Path) -> None:
    status, content, headers = ask(review, "sessions")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    listed = json.loads(content)
    assert (listed["folder"], listed["marks"]) == (str(folder), False)
    (session,) = listed["sessions"]
    assert (session["pseudonym"], session["ended"], session["dropped"]) == ("study-7", True, 0)
    assert [part["frames"] for part in session["segments"]] == [10, 10, 6]
    assert [part["name"] for part in session["clips"]] == ["clip-0002"]
    assert [(one["event"], one["at_ms"], one["shown_ms"]) for one in session["events"]] == [
        ("state", 0, None),
        ("found", 600, None),
        ("lost", 1250, 700),
    ]
    assert review.sessions() == 1


def test_pictures_and_lines_belong_together(review: Review, folder: Path) -> None:
    session = only(folder)
    status, content, _ = ask(review, f"lines/{session}/segment-0002")
    lines = json.loads(content)
    assert status == 200
    assert lines["bundle"]["name"] == "tiny"
    assert [line["frame"] for line in lines["lines"]] == list(range(10, 20))
    assert lines["lines"][2]["regions"][0]["contour"][0] == [40, 20]
    for number in (0, 1, 2, 7, 3, 9):
        status, content, headers = ask(review, f"picture/{session}/segment-0002/{number}")
        assert (status, headers["Content-Type"]) == (200, "image/jpeg")
        shown: Any = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
        assert number_in(shown) == (10 + number) % 8, "also after a jump"
    assert ask(review, f"picture/{session}/clip-0002/0")[0] == 200


@pytest.mark.parametrize(
    "path",
    [
        "lines/", "lines/x/segment-0001", "lines/{0}", "lines/{0}/x", "lines/{0}/segment-0001/0",
        "lines/{0}/../session", "picture/{0}/segment-0001", "picture/{0}/segment-0001/x",
        "picture/{0}/segment-0001/-1", "picture/{0}/segment-0001/99", "picture/{0}/segment-0009/0",
        "picture/../{0}/segment-0001/0", "picture/{0}/session/0", "frame/{0}",
    ],
)  # fmt: skip
def test_there_are_no_other_paths(review: Review, folder: Path, path: str) -> None:
    assert ask(review, path.format(only(folder)))[0] == 404


def test_without_the_token_there_is_nothing(review: Review, folder: Path) -> None:
    for path in ("", "sessions", "recordings", f"picture/{only(folder)}/segment-0001/0"):
        assert ask(review, path, token="x")[0] == 404
        assert ask(review, path)[0] == 200


def test_a_damaged_session_and_damaged_lines_are_told(folder: Path, tmp_path: Path) -> None:
    session = folder / only(folder)
    (session / "segment-0001.jsonl.gz").write_bytes(b"no gzip")
    with Review(folder) as review:
        status, content, _ = ask(review, f"lines/{session.name}/segment-0001")
        assert status == 409
        assert "cannot be read" in json.loads(content)["error"]
        (session / "session.json").write_text("{")
        (item,) = json.loads(ask(review, "sessions")[1])["sessions"]
        assert "cannot be read" in item["error"]
    assert list_sessions(tmp_path / "nothing") == []
    with pytest.raises(DataError, match="cannot be read"):
        Review(tmp_path / "nothing")


def test_marks_and_recordings_of_one_folder_lead_to_each_other(folder: Path) -> None:
    put(folder, name(1), kind=MarkKind.MISSED)
    with Review(folder) as review:
        first, other = ask(review, "")[1], ask(review, "recordings")[1]
        assert b"<h1>Review</h1>" in first
        assert b"<h1>Recordings</h1>" in other
        assert json.loads(ask(review, "items")[1])["recordings"] is True
        assert json.loads(ask(review, "sessions")[1])["marks"] is True
        assert ask(review, "marks")[1] == first


def test_the_page_has_the_colors_of_the_states() -> None:
    page = review_page("sessions").decode()
    for state, light in LIGHTS.items():
        assert any(f'{key}: "{light}"' in page for key in (state.value, f'"{state}"')), state
    assert "RESEARCH USE ONLY" in page


@pytest.mark.slow
def test_a_person_looks_at_a_finding(review: Review, tmp_path: Path) -> None:
    page = Chromium(tmp_path / "profile")
    try:
        page.call("Page.navigate", url=review.url)
        page.until("document.getElementById('stage') && !document.getElementById('stage').hidden")
        page.until(f"{text('chip')} === '1 region'")  # it opens at the finding
        assert page.value(text("clock")).startswith("00:00.6 / 00:01.")
        green = (
            "(() => { const d = view.getImageData(30, 20, 40, 4).data; let n = 0;"
            "for (let i = 0; i < d.length; i += 4) if (d[i + 1] > d[i] + 60) n++; return n; })()"
        )
        assert page.value(green) > 5
        press(page, "h")
        page.until(f"{green} === 0")
        press(page, "h")
        press(page, "ArrowLeft")
        page.until(f"{text('chip')} === 'none found'")
        assert page.value("document.querySelectorAll('#list button').length") == 3
        press(page, "n")
        page.until(f"{text('chip')} === '1 region'")
        press(page, "n")
        page.until(f"{text('message')} === 'there is no later event'")
        press(page, " ")
        page.until(f"{text('clock')}.startsWith('00:01.2')")
        page.until("document.getElementById('play').firstChild.data === 'Play'")
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
