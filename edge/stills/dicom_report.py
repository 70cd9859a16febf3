"""What a still shows as DICOM objects beside its image: a presentation state and a report.

A Color Softcopy Presentation State (PS3.3 A.33.2) draws the outlines over the Secondary Capture;
the grayscale one applies to monochrome images only. A Comprehensive SR with TID 1500 (PS3.16)
holds one measurement group for each region. Like `dicom`, this needs the extra `[dicom]`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import highdicom as hd
import numpy as np
from PIL import ImageCms
from pydicom.sr.codedict import codes
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from edge import __version__
from edge.stills.dicom import LABEL, MAKER, NOTICE, UTF8, mark_identity, short

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pydicom.dataset import Dataset

    from edge.stills.record import BundleIdentity, StillRegion
    from edge.stills.still import Still

SCHEME = "99EDGEDIFOM"
"""Designator of the codes that no public scheme has (PS3.16 8)."""

SCORE = hd.sr.CodedConcept("score", SCHEME, "Highest score of the region")
SHARE = hd.sr.CodedConcept("share", SCHEME, "Share of the analyzed part of the frame")
_COLONOSCOPY = hd.sr.CodedConcept("73761001", "SCT", "Colonoscopy")
_ENGLISH = hd.sr.CodedConcept("en-US", "RFC5646", "English (United States)")
_GREEN = hd.color.CIELabColor(83.0, -70.0, 48.0)
_LAYER = "POLYP"


class Outline(NamedTuple):
    """A region of a mask.

    Attributes:
        points: (n, 2) float, closed: x and y from the top left corner of the top left pixel.
        region: What is known of it; None if the record lists no region there.
    """

    points: NDArray[np.float64]
    region: StillRegion | None


def outlines(still: Still) -> list[Outline]:
    """Return the outlines of a still's mask, the largest first; none without a mask."""
    if still.mask is None:
        return []
    contours, _ = cv2.findContours(still.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    regions = []
    for contour in sorted(contours, key=cv2.contourArea, reverse=True):
        points = contour.reshape(-1, 2)
        box = cv2.boundingRect(contour)
        met = [region for region in still.record.regions if _meet(region.box, box)]
        # An outline needs three points, and pixels have their centers at a half.
        ring = np.concatenate([points, points[:1]]) + 0.5
        if len(points) < 3:
            x, y, w, h = box
            ring = np.array([(x, y), (x + w, y), (x + w, y + h), (x, y + h), (x, y)], np.float64)
        regions.append(Outline(ring, met[0] if met else None))
    return regions


def presentation_state(still: Still, image: Dataset) -> Dataset | None:
    """Build the presentation state that draws a still's outlines over its image.

    Args:
        still: A still that was read or composed.
        image: Its image from `dicom.secondary_capture`.

    Returns:
        A Color Softcopy Presentation State in a series of its own; None if nothing was found.
    """
    regions = outlines(still)
    if not regions:
        return None
    layer = hd.pr.GraphicLayer(layer_name=_LAYER, order=1, description=NOTICE, display_color=_GREEN)
    graphics = [
        hd.pr.GraphicObject(graphic_type="POLYLINE", graphic_data=one.points, units="PIXEL")
        for one in regions
    ]
    texts = [
        hd.pr.TextObject(
            text_value=_label(one),
            units="PIXEL",
            anchor_point=(float(one.points[:, 0].max()), float(one.points[:, 1].min())),
            anchor_point_visible=False,
        )
        for one in regions
    ]
    state = hd.pr.ColorSoftcopyPresentationState(
        referenced_images=[image],
        series_instance_uid=generate_uid(),
        series_number=3,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        manufacturer_model_name=NOTICE,
        software_versions=short(f"{MAKER} {__version__}"),
        device_serial_number="none",
        content_label=LABEL,
        content_description=NOTICE,
        graphic_annotations=[
            hd.pr.GraphicAnnotation(
                referenced_images=[image],
                graphic_layer=layer,
                graphic_objects=graphics,
                text_objects=texts,
            )
        ],
        graphic_layers=[layer],
        icc_profile=_srgb(),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=UTF8,
    )
    state.Laterality = ""  # type 2C, as in the image
    return _finished(state, image)


def structured_report(still: Still, image: Dataset) -> Dataset | None:
    """Build the measurement report of a still (TID 1500), preliminary and not verified.

    Each region is a measurement group (TID 1410) with its outline in the image, polyp of colon as
    its finding, its highest score and its share of the analyzed part, and the bundle as the
    algorithm.

    Args:
        still: A still that was read or composed.
        image: Its image from `dicom.secondary_capture`.

    Returns:
        A Comprehensive SR in a series of its own; None if nothing was found.
    """
    bundle = still.record.bundle
    regions = outlines(still)
    if bundle is None or not regions:
        return None
    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=generate_uid(), name=MAKER, manufacturer_name=MAKER, model_name=NOTICE
    )
    context = hd.sr.ObservationContext(
        observer_device_context=hd.sr.ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )
    source = hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID)
    content = hd.sr.MeasurementReport(
        observation_context=context,
        procedure_reported=_COLONOSCOPY,
        imaging_measurements=[
            _group(number, one, source, bundle) for number, one in enumerate(regions, 1)
        ],
        title=codes.DCM.ImagingMeasurementReport,
        language_of_content_item_and_descendants=hd.sr.LanguageOfContentItemAndDescendants(
            language=_ENGLISH
        ),
        referenced_images=[image],
    )
    report = hd.sr.ComprehensiveSR(
        evidence=[image],
        content=content[0],
        series_instance_uid=generate_uid(),
        series_number=4,
        sop_instance_uid=generate_uid(),
        instance_number=1,
        manufacturer=MAKER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        specific_character_set=UTF8,
    )
    return _finished(report, image)


def _group(
    number: int, one: Outline, source: hd.sr.SourceImageForRegion, bundle: BundleIdentity
) -> hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations:
    measurements = []
    if one.region is not None:
        measurements = [
            hd.sr.Measurement(
                name=SCORE, value=round(one.region.score, 4), unit=codes.UCUM.NoUnits
            ),
            hd.sr.Measurement(
                name=SHARE, value=round(100 * one.region.area, 4), unit=codes.UCUM.Percent
            ),
        ]
    return hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(
            uid=generate_uid(), identifier=f"region {number}"
        ),
        referenced_region=hd.sr.ImageRegion(
            graphic_type="POLYLINE", graphic_data=one.points, source_image=source
        ),
        finding_category=codes.SCT.MorphologicallyAbnormalStructure,
        finding_type=codes.SCT.PolypOfColon,
        finding_sites=[hd.sr.FindingSite(anatomic_location=codes.SCT.Colon)],
        algorithm_id=hd.sr.AlgorithmIdentification(
            name=short(bundle.name),
            version=short(bundle.created),
            parameters=[
                f"bundle_sha256={bundle.digest}",
                f"engine={bundle.engine}",
                f"threshold={bundle.threshold:g}",
            ],
        ),
        measurements=measurements or None,
    )


def _srgb() -> bytes:
    """The profile that a color presentation state must have (PS3.3 C.11.15); sRGB is assumed.

    It must be of an input device. A matrix profile of a display differs from one only by its class
    (ICC.1:2022, 7.2.7 and 8.3.3); the digest of the header no longer fits and is set to none.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[12:16], profile[84:100] = b"scnr", bytes(16)
    return bytes(profile)


def _finished(dataset: Dataset, image: Dataset) -> Dataset:
    dataset.SeriesDescription = NOTICE
    mark_identity(dataset, removed=image.PatientIdentityRemoved == "YES")
    return dataset


def _label(one: Outline) -> str:
    return LABEL if one.region is None else f"{LABEL} {one.region.score:.2f}"


def _meet(one: tuple[int, int, int, int], other: tuple[int, ...]) -> bool:
    return all(
        one[axis] < other[axis] + other[axis + 2] and other[axis] < one[axis] + one[axis + 2]
        for axis in (0, 1)
    )
