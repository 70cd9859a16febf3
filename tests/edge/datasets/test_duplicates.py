"""Pictures that show the same, by their thumbnails."""

from __future__ import annotations

import cv2
import numpy as np

from edge.datasets.duplicates import find_repeats, find_same, thumbnails
from edge.datasets.phantom.render import render


def test_a_picture_is_found_again_whatever_its_size_and_format() -> None:
    references = [render(seed, polyp=True).image for seed in range(6)]
    small = cv2.resize(references[2], (references[2].shape[1] // 2, references[2].shape[0] // 2))
    coded = cv2.imdecode(cv2.imencode(".jpg", references[4], [cv2.IMWRITE_JPEG_QUALITY, 70])[1], 1)
    other = render(99, polyp=True).image
    queries = [small, other, coded, references[5]]
    matches = find_same(thumbnails(references), thumbnails(queries))
    assert matches == [(0, 2), (2, 4), (3, 5)]


def test_black_frames_are_not_the_same_as_each_other() -> None:
    black = [np.zeros((32, 32, 3), np.uint8)] * 3
    assert find_same(thumbnails(black), thumbnails(black)) == []
    assert find_repeats(thumbnails(black)) == []
    assert find_same(thumbnails([]), thumbnails(black)) == []
    assert find_repeats(thumbnails([])) == []


def test_repeats_are_pairs_of_rows() -> None:
    picture, other = render(1, polyp=True).image, render(2, polyp=True).image
    assert find_repeats(thumbnails([picture, other, picture, picture])) == [(2, 0), (3, 0), (3, 2)]
