"""One grammar for sources, sinks, engines, carts, teachers and data sets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import UsageError
from edge.util.spec import Spec, choice, expand, number, option, parse, switch, whole

WORD = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]*", fullmatch=True)
SCHEME = st.text(max_size=12).filter(lambda text: ":" not in text and "?" not in text)
OPTIONS = st.dictionaries(WORD, st.text(max_size=12), max_size=4)


@dataclass(frozen=True, kw_only=True)
class Options:
    width: int = option(whole(32, 8192), 640)
    fps: float | None = option(number("frames per second", 1, 1000), None)
    live: bool = option(switch, True)
    codec: str = option(choice("h264", "vp9"), "h264")


@given(SCHEME, st.text(max_size=30), OPTIONS)
def test_a_formatted_spec_is_read_back(scheme: str, target: str, options: dict[str, str]) -> None:
    spec = Spec(scheme, target, options)
    assert parse(str(spec)) == spec


@given(SCHEME, OPTIONS)
def test_a_bare_scheme_is_read_back(scheme: str, options: dict[str, str]) -> None:
    spec = Spec(scheme, "", options, bare=True)
    assert parse(str(spec)) == spec


@given(st.text(max_size=40))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    try:
        spec = parse(text)
        spec.with_positional("one")
        spec.with_list(["one"]).read(Options)
    except UsageError:
        return


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("null", Spec("null", bare=True)),
        ("jsonl:", Spec("jsonl")),
        ("window?display=1", Spec("window", "", {"display": "1"}, bare=True)),
        ("file:/a/what?.mp4", Spec("file", "/a/what?.mp4")),
        ("file:/a/what?.mp4?realtime=1", Spec("file", "/a/what?.mp4", {"realtime": "1"})),
        ("synthetic:?width=640&fps=30", Spec("synthetic", "", {"width": "640", "fps": "30"})),
        ("rtsp://h/x?channel=1?", Spec("rtsp", "//h/x?channel=1")),
        ("rtsp://h/x?channel=1?reopen=0", Spec("rtsp", "//h/x?channel=1", {"reopen": "0"})),
        ("file:a?b=c=d", Spec("file", "a?b=c=d")),
        ("x:y?name=a%26b%25", Spec("x", "y", {"name": "a&b%"})),
        ("file:100%25.mp4", Spec("file", "100%25.mp4")),
        ("gst:a ! b", Spec("gst", "a ! b")),
    ],
)
def test_the_parts_of_a_text(text: str, spec: Spec) -> None:
    assert parse(text) == spec


def test_options_become_a_typed_struct() -> None:
    assert parse("x:").read(Options) == Options()
    given_options = parse("x:?width=800&fps=29.97&live=0&codec=vp9").read(Options)
    assert given_options == Options(width=800, fps=29.97, live=False, codec="vp9")


def test_an_unknown_option_names_the_near_one() -> None:
    with pytest.raises(UsageError, match=r"unknown option 'wdth' of x:") as caught:
        parse("x:?wdth=640").read(Options)
    assert caught.value.expected == "codec, fps, live, width"
    assert "did you mean 'width'?" in str(caught.value)
    with pytest.raises(UsageError, match="no option"):
        parse("x:?a=1").refuse_options()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("width=0", "a whole number from 32 to 8192"),
        ("width=1_0", "a whole number"),
        ("width=", "a whole number"),
        ("width=\u0661\u0660\u0660", "a whole number"),
        ("fps=nan", "frames per second, 1 to 1000"),
        ("live=yes", r"1 \(on\) or 0 \(off\)"),
        ("codec=av1", r"h264 \| vp9"),
        ("width=640&width=640", "twice"),
    ],
)
def test_a_value_that_does_not_fit_is_named(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse(f"x:?{text}").read(Options)


def test_commas_are_short_for_named_options() -> None:
    assert parse("serial:/dev/x,9600").with_positional("baud") == parse("serial:/dev/x?baud=9600")
    assert parse("w:full,display=1").with_list(["full"]) == parse("w:?full=1&display=1")
    assert parse("w:display").with_list(["full"]).options == {"display": ""}
    for text in ("serial:/dev/x,1,2", "serial:/dev/x,1?baud=1"):
        with pytest.raises(UsageError):
            parse(text).with_positional("baud")
    with pytest.raises(UsageError, match="twice"):
        parse("w:full,full").with_list(["full"])


def test_a_home_folder_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/nurse")
    assert parse("file:~/clip.mp4").path == Path("/home/nurse/clip.mp4")
    assert expand("./~/clip.mp4") == Path("~/clip.mp4")
    assert expand("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
