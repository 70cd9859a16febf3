"""Decisions about stills, their order, and the data folder that a training reads."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import cv2
import msgspec
import numpy as np
import pytest

from distill.config import make_config
from distill.data.image_store import decode_images
from distill.data.load import draw_splits
from distill.data.splits import load_negatives, load_splits
from edge.contracts import MarkKind
from edge.datasets.pairs import find_pairs, read_image, read_pair
from edge.errors import DataError, UsageError
from edge.review.decision import (
    FILE,
    Verdict,
    decide,
    decided_mask,
    decode_drawn,
    encode_mask,
    read_decision,
    write_decision,
)
from edge.review.export import Provenance, export
from edge.review.items import count, list_items, read_item
from edge.stills.files import read_still
from edge_difom.cli.main import main
from tests.support.marks import SIZE, name, peak, put
from tests.support.stills import WHO, circle, full

if TYPE_CHECKING:
    from pathlib import Path

    from edge.frame import ImageU8


def drawn(box: tuple[int, int, int, int] = (60, 50, 30, 20)) -> bytes:
    """A mask as a page sends it: white where it is set, transparent elsewhere."""
    pixels = np.zeros((*SIZE, 4), np.uint8)
    x, y, w, h = box
    pixels[y : y + h, x : x + w] = 255
    return encode_mask(pixels)


def mark_all(folder: Path, verdict: Verdict, *names: str, mask: bytes | None = None) -> None:
    for one in names:
        write_decision(folder / one, decide(read_still(folder / one), verdict, mask))


def test_marks_come_first_and_then_the_most_doubtful(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    put(folder, name(1, word="still"), peak(250), kind=None)
    put(folder, name(2, word="still"), peak(131), kind=None)
    put(folder, name(3, word="still"), peak(110, visible=False), kind=None)
    put(folder, name(4), peak(250))
    put(folder, name(5), peak(160, visible=False), kind=MarkKind.MISSED)
    put(folder, name(6), peak(100, visible=False), kind=MarkKind.MISSED)
    put(folder, name(7), peak(20, visible=False), kind=MarkKind.MISSED)
    put(folder, name(8, word="still"), kind=None)
    (folder / name(8, word="still") / "still.json").write_text("{}")
    (folder / "mark-of-nobody").mkdir()
    items = list_items(folder)
    assert [int(item.name.rpartition("-")[2]) for item in items] == [5, 6, 7, 4, 2, 3, 1, 8]
    assert items[0].held_back, "the scores show a region, and the device showed none"
    assert items[0].doubt == 1
    assert [item.kind for item in items[:4]] == ["missed"] * 3 + ["false-alarm"]
    assert "still.json cannot be read" in items[-1].error
    assert (items[4].threshold, items[4].peak) == (WHO.threshold, 131 / 256)
    assert count(items) == {"polyp": 0, "clean": 0, "skip": 0, "open": 7, "unreadable": 1}


def test_a_score_outside_the_view_is_no_doubt(tmp_path: Path) -> None:
    judged = peak(20, visible=False)
    assert judged.scores is not None
    scores = judged.scores.copy()
    scores[0, 0] = 127
    path = put(tmp_path / "m", name(1), replace(judged, scores=scores), kind=MarkKind.MISSED)
    assert read_item(path).peak == 20 / 256


def test_a_folder_without_stills_is_a_data_error(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(DataError):
            list_items(folder)


def test_a_decision_comes_back_and_can_be_withdrawn(tmp_path: Path) -> None:
    path = put(tmp_path / "m", name(1))
    assert read_decision(path) is None
    decision = decide(read_still(path), Verdict.POLYP, drawn())
    write_decision(path, decision)
    assert read_decision(path) == decision
    assert (path / FILE).stat().st_mode & 0o777 == 0o600
    item = read_item(path)
    assert (item.verdict, item.drawn) == ("polyp", True)
    write_decision(path, None)
    write_decision(path, None)
    assert read_item(path).verdict == ""


def test_an_accepted_mask_is_kept_and_a_drawn_one_is_cut(
    tmp_path: Path,
) -> None:
    """An accepted mask is the found one and a drawn one is cut to the view."""
    still = read_still(put(tmp_path / "m", name(1)))
    assert still.mask is not None
    np.testing.assert_array_equal(decided_mask(decide(still, Verdict.POLYP), still), still.mask)
    inside = full(circle(SIZE))
    accepted = decided_mask(decide(still, Verdict.POLYP, drawn((0, 0, *SIZE[::-1]))), still)
    np.testing.assert_array_equal(accepted > 0, inside > 0)


def test_a_polyp_without_a_mask_is_refused(tmp_path: Path) -> None:
    empty = read_still(put(tmp_path / "m", name(1), peak(20, visible=False)))
    for mask in (None, drawn((0, 0, 0, 0)), drawn((0, 0, 4, 4))):
        with pytest.raises(UsageError, match="needs a mask inside the field of view"):
            decide(empty, Verdict.POLYP, mask)
    with pytest.raises(UsageError, match="only a polyp has a mask"):
        decide(empty, Verdict.CLEAN, drawn())


def _png(pixels: ImageU8) -> bytes:
    return encode_mask(pixels)


def test_a_drawn_mask_is_read_by_alpha_or_brightness() -> None:
    """A drawn mask is read by alpha or brightness and nothing else is read."""
    gray = np.zeros(SIZE, np.uint8)
    gray[4:9, 5:7] = 128
    rgba = np.zeros((*SIZE, 4), np.uint8)
    rgba[4:9, 5:7, 3] = 200
    for pixels in (gray, rgba, cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)):
        mask = decode_drawn(_png(np.asarray(pixels, np.uint8)), SIZE)
        assert np.unique(mask).tolist() == [0, 255]
        assert np.argwhere(mask).min(axis=0).tolist() == [4, 5]
        assert np.count_nonzero(mask) == 10
    bomb = _png(np.zeros((4000, 3000), np.uint8))
    deep = cv2.imencode(".png", np.zeros(SIZE, np.uint16))[1].tobytes()
    for data in (b"", b"\xff\xd8\xff", bomb, deep, _png(gray)[:60], _png(gray.T.copy())):
        with pytest.raises(UsageError, match="does not fit its frame"):
            decode_drawn(data, SIZE)


def test_what_is_no_decision_or_of_a_different_frame_is_refused(tmp_path: Path) -> None:
    path = put(tmp_path / "m", name(1))
    for text in (b"{}", b"\xff", b"[" * 5000):
        (path / FILE).write_bytes(text)
        with pytest.raises(DataError, match="is not a decision"):
            read_decision(path)
        assert "is not a decision" in read_item(path).error
    still = read_still(path)
    other = msgspec.structs.replace(decide(still, Verdict.POLYP), frame="0" * 64)
    with pytest.raises(DataError, match="different picture"):
        decided_mask(other, still)
    write_decision(path, msgspec.structs.replace(other, schema=9))
    with pytest.raises(DataError, match="different schema"):
        read_decision(path)


@pytest.fixture
def decided(tmp_path: Path) -> Path:
    """Two runs: accepted, drawn, clean, skipped and open."""
    folder = tmp_path / "marks"
    for number in range(1, 7):
        put(folder, name(number))
    put(folder, name(1, run="00c0ffee"))
    put(folder, name(2, run="00c0ffee"), peak(20, visible=False), kind=MarkKind.MISSED)
    put(folder, name(3, run="00c0ffee", word="still"), kind=None)
    mark_all(folder, Verdict.POLYP, name(1), name(3, run="00c0ffee", word="still"))
    mark_all(folder, Verdict.POLYP, name(2, run="00c0ffee"), mask=drawn())
    mark_all(folder, Verdict.CLEAN, name(2), name(3), name(1, run="00c0ffee"))
    mark_all(folder, Verdict.SKIP, name(4))
    return folder


def test_the_export_is_a_data_folder_that_a_training_reads(decided: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    exported = export(decided, out)
    assert exported.left_out == {"skip": 1, "open": 2}
    pairs = find_pairs(out)
    videos = [pair.video for pair in pairs]
    assert videos == ["run-00c0ffee", "run-00c0ffee", "run-5b1f0c9e"]
    by_file = {origin.file: origin for origin in exported.frames}
    for pair in pairs:
        image, mask = read_pair(pair.image, pair.mask)
        origin = by_file[str(pair.image.relative_to(out))]
        still = read_still(decided / origin.still)
        np.testing.assert_array_equal(image, still.image[..., ::-1])
        if origin.mask == "drawn":
            assert np.argwhere(mask).min(axis=0).tolist() == [50, 60]
            assert mask.sum() == 600
        else:
            assert still.mask is not None
            np.testing.assert_array_equal(mask, still.mask > 0)
    train, validation = load_negatives([out / "clean"], val_fraction=0.5)
    sides = [{sample.group for sample in side} for side in (train, validation)]
    assert not sides[0] & sides[1], "a run is never cut"
    assert len(train) + len(validation) == 3
    splits = load_splits([out], val_fraction=0.3, seed=0)
    groups = [{sample.group for sample in side} for side in (splits.train, splits.validation)]
    assert not groups[0] & groups[1]
    assert len(splits.train) + len(splits.validation) == 3
    assert read_image(out / "clean" / "run-00c0ffee_0001.png").shape == (*SIZE, 3)


def test_the_export_is_private_and_tells_each_frames_origin(decided: Path, tmp_path: Path) -> None:
    """The export tells where each frame is from and is private."""
    out = tmp_path / "data"
    export(decided, out)
    provenance = msgspec.json.decode((out / "provenance.json").read_bytes(), type=Provenance)
    assert provenance.header.data == str(decided)
    assert provenance.header.version
    drawn_one = next(one for one in provenance.frames if one.mask == "drawn")
    assert (drawn_one.mark, drawn_one.source, drawn_one.bundle) == ("missed", "camera", WHO)
    plain = next(one for one in provenance.frames if one.still.startswith("still-"))
    assert (plain.mark, plain.mask, plain.bundle) == ("", "found", WHO)
    assert {one.verdict for one in provenance.frames} == {"polyp", "clean"}
    assert out.stat().st_mode & 0o777 == 0o700
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert len(files) == 3 + 3 + 3 + 1


def test_an_export_is_whole_or_nothing(decided: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    image = decided / name(2) / "frame.png"
    data = image.read_bytes()
    image.write_bytes(data[:-1])
    with pytest.raises(DataError, match=r"frame\.png was changed"):
        export(decided, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["marks"]
    image.write_bytes(data)
    export(decided, out)
    with pytest.raises(UsageError, match="exists already"):
        export(decided, out)
    export(decided, out, force=True)
    write_decision(decided / name(1), None)
    for path in decided.iterdir():
        write_decision(path, None)
    with pytest.raises(DataError, match="is decided for a training"):
        export(decided, out, force=True)
    assert (out / "provenance.json").exists()


def command(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["review", *arguments])
    return int(str(ended.value.code))


def test_the_verb_exports_and_tells_how_to_train(
    decided: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "data"
    assert command(str(decided), "--export", str(out)) == 0
    text = capfd.readouterr().out
    assert "3 frames with a polyp, 3 clean\nleft out: 1 skip, 2 open" in text
    assert f"--data {out} --negatives {out}/clean" in text
    assert command(str(decided), "--export", str(out)) == 2
    assert "--force" in capfd.readouterr().err
    assert command(str(decided), "--export", str(out), "--force") == 0
    assert command(str(decided), "--export", str(decided), "--force") == 2
    assert "would be written" in capfd.readouterr().err
    assert command(str(decided), "--force") == 2
    assert command(str(decided), "--export", str(out), "--port", "9") == 2
    assert command(str(tmp_path / "data")) == 3
    assert "run --marks" in capfd.readouterr().err
    put(tmp_path / "open", name(1))
    assert command(str(tmp_path / "open"), "--export", str(tmp_path / "none")) == 3
    assert "edge-difom review DIR" in capfd.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_training_takes_the_export(decided: Path, tmp_path: Path) -> None:
    out = tmp_path / "data"
    export(decided, out)
    settings = {"data": [str(out)], "negatives": [str(out / "clean")], "val_fraction": 0.3}
    splits = draw_splits(make_config(settings).data)
    samples = [*splits.train, *splits.validation, *splits.clean_train, *splits.clean_validation]
    store = decode_images(samples, (32, 32), tmp_path / "cache")
    assert len(samples) == len(store) == 6
    with pytest.raises(SystemExit) as ended:
        main(["data", "check", str(out)])
    assert ended.value.code == 0
