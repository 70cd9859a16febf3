"""Presentation state and report of a still, read back and checked by dciodvfy."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import cv2
import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.uid import ColorSoftcopyPresentationStateStorage, ComprehensiveSRStorage

from edge.frame import OperatingPoint, Result
from edge.imaging.postprocess import regions
from edge.stills import dicom, dicom_report
from edge.stills.dicom_report import outlines
from edge.stills.files import write_still
from edge.stills.keeper import KeptRun
from edge_difom.cli.device_still import IMAGE, REPORT, SEGMENTATION, STATE
from edge_difom.cli.main import main
from tests.support.stills import WHO, still

if TYPE_CHECKING:
    from pathlib import Path

    from edge.stills.still import Still

SIZE = (240, 320)


def spots(*places: tuple[int, int], score: int = 220) -> Result:
    scores = np.full((32, 32), 20, np.uint8)
    for number, (x, y) in enumerate(places):
        scores[y - 2 : y + 3, x - 2 : x + 3] = score - 20 * number
    found = regions(scores, SIZE, OperatingPoint(WHO.threshold, 0.001))
    return Result(scores, found, sum(one.area for one in found), None)


def of(*places: tuple[int, int], **changes: Any) -> Still:
    return still(SIZE, spots(*places), **changes)


@pytest.fixture
def two() -> Still:
    return of((14, 13), (20, 20))


def back(dataset: pydicom.Dataset | None, folder: Path) -> pydicom.Dataset:
    assert dataset is not None
    (folder / "x.dcm").write_bytes(dicom.encode(dataset))
    return pydicom.dcmread(folder / "x.dcm")


def covered(points: Any) -> Any:
    """The mask inside an outline of pixel centers."""
    drawn = np.zeros(SIZE, np.uint8)
    ring = np.round(np.asarray(points).reshape(-1, 2) - 0.5).astype(np.int32)
    return cv2.fillPoly(drawn, [ring], 255)


def test_outlines_are_closed_and_enclose_the_mask(two: Still) -> None:
    found = outlines(two)
    assert len(found) == 2
    drawn = np.zeros(SIZE, np.uint8)
    for one in found:
        np.testing.assert_array_equal(one.points[0], one.points[-1])
        drawn |= covered(one.points)
    np.testing.assert_array_equal(drawn, two.mask)
    assert {one.region for one in found} == set(two.record.regions)


def test_a_dot_has_an_outline(two: Still) -> None:
    assert two.mask is not None
    two.mask[:] = 0
    two.mask[10, 20] = 255
    (only,) = outlines(two)
    assert only.points.tolist() == [[20, 10], [21, 10], [21, 11], [20, 11], [20, 10]]
    assert only.region is None


def test_the_state_draws_the_outlines_over_its_image(two: Still, tmp_path: Path) -> None:
    image = dicom.secondary_capture(two)
    state = back(dicom_report.presentation_state(two, image), tmp_path)
    assert state.SOPClassUID == ColorSoftcopyPresentationStateStorage
    assert state.StudyInstanceUID == image.StudyInstanceUID
    (series,) = state.ReferencedSeriesSequence
    (reference,) = series.ReferencedImageSequence
    assert reference.ReferencedSOPInstanceUID == image.SOPInstanceUID
    (annotation,) = state.GraphicAnnotationSequence
    drawn = np.zeros(SIZE, np.uint8)
    for graphic in annotation.GraphicObjectSequence:
        assert (graphic.GraphicType, graphic.GraphicAnnotationUnits) == ("POLYLINE", "PIXEL")
        drawn |= covered(graphic.GraphicData)
    np.testing.assert_array_equal(drawn, two.mask)
    texts = [text.UnformattedTextValue for text in annotation.TextObjectSequence]
    assert sorted(texts) == sorted(f"RESEARCH {one.score:.2f}" for one in two.record.regions)
    assert state.ICCProfile[12:16] == b"scnr"


def test_the_report_has_a_group_for_each_region(two: Still, tmp_path: Path) -> None:
    image = dicom.secondary_capture(two)
    report = back(dicom_report.structured_report(two, image), tmp_path)
    assert report.SOPClassUID == ComprehensiveSRStorage
    assert report.StudyInstanceUID == image.StudyInstanceUID
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert (report.CompletionFlag, report.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert report.PreliminaryFlag == "PRELIMINARY"
    parsed: Any = hd.sr.ComprehensiveSR.from_dataset(report)
    groups = parsed.content.get_planar_roi_measurement_groups()
    assert len(groups) == 2
    drawn = np.zeros(SIZE, np.uint8)
    for group in groups:
        assert group.finding_type.value == "68496003"
        assert [site.topographical_modifier for site in group.finding_sites] == [None]
        values = {each.name.value: each.value for each in group.get_measurements()}
        region = next(one for one in two.record.regions if round(one.score, 4) == values["score"])
        assert values["share"] == pytest.approx(100 * region.area, abs=1e-4)
        assert group.roi.graphic_type == hd.sr.GraphicTypeValues.POLYLINE
        drawn |= covered(group.roi.value)
    np.testing.assert_array_equal(drawn, two.mask)
    texts = [each.value for each in report.iterall() if each.keyword == "TextValue"]
    assert texts.count(f"bundle_sha256={WHO.digest}") == 2


def test_without_a_finding_there_is_neither(tmp_path: Path) -> None:
    nothing = still(SIZE, Result(np.zeros((8, 8), np.uint8), (), 0.0, None))
    image = dicom.secondary_capture(nothing)
    assert dicom_report.presentation_state(nothing, image) is None
    assert dicom_report.structured_report(nothing, image) is None
    assert list(tmp_path.iterdir()) == []


def write(folder: Path, out: Path) -> dict[str, pydicom.Dataset]:
    with pytest.raises(SystemExit) as ended:
        main(["device", "still", str(folder), "--out", str(out)])
    assert ended.value.code == 0
    return {path.name: pydicom.dcmread(path) for path in out.iterdir()}


def test_all_stills_of_one_examination_are_in_one_study(tmp_path: Path) -> None:
    runs = [KeptRun.new("study-7"), KeptRun.new("study-7"), KeptRun.new("study-8")]
    made = []
    for number, run in enumerate(runs):
        write_still(of((16, 16), study_uid=run.study_uid), tmp_path / f"s{number}")
        made.append(write(tmp_path / f"s{number}", tmp_path / f"d{number}"))
    assert [sorted(one) for one in made] == [sorted([IMAGE, SEGMENTATION, STATE, REPORT])] * 3
    studies = [{each.StudyInstanceUID for each in one.values()} for one in made]
    assert [len(one) for one in studies] == [1, 1, 1]
    assert studies[0] == studies[1] != studies[2]
    series = [each.SeriesInstanceUID for one in made for each in one.values()]
    assert len(set(series)) == len(series)
    assert all((path.stat().st_mode & 0o777) == 0o600 for path in (tmp_path / "d0").iterdir())


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
@pytest.mark.parametrize("patient", ["", "study-7"])
def test_dciodvfy_finds_no_error(two: Still, tmp_path: Path, patient: str) -> None:
    image = dicom.secondary_capture(two, patient_id=patient)
    for name, made in {
        "SCImage": image,
        "Segmentation": dicom.segmentation(two, image),
        "ColorSoftcopyPresentationState": dicom_report.presentation_state(two, image),
        "ComprehensiveSR": dicom_report.structured_report(two, image),
    }.items():
        back(made, tmp_path)
        told = subprocess.run(
            ["dciodvfy", tmp_path / "x.dcm"], capture_output=True, text=True, check=False
        )
        said = told.stdout + told.stderr
        assert name in said.splitlines(), "it knows what the object is"
        assert "Error" not in said, said
        assert "Abort" not in said, said
