"""Memory of pictures: used again, and never under a picture that somebody holds."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.imaging.buffer_pool import MAX_BUFFERS, BufferPool, blank

if TYPE_CHECKING:
    from collections.abc import Callable

VIEWS: dict[str, Callable[[np.ndarray], object]] = {
    "itself": lambda image: image,
    "a part": lambda image: image[1:3, 2:5],
    "a part of a part": lambda image: image[::2][:, ::-1][..., 0],
    "turned": lambda image: image.transpose(1, 0, 2),
    "flat": lambda image: image.reshape(-1),
    "its bytes": lambda image: image.data,
}


def address(image: np.ndarray) -> int:
    return int(image.__array_interface__["data"][0])


@pytest.mark.parametrize("name", VIEWS)
def test_a_picture_is_safe_for_as_long_as_any_view_of_it_is_held(name: str) -> None:
    memory = BufferPool()
    image = memory.copy(np.full((4, 6, 3), 7, np.uint8))
    where, view = address(image), VIEWS[name](image)
    del image
    for _ in range(3):
        assert address(memory.copy(np.zeros((4, 6, 3), np.uint8))) != where
    assert (np.asarray(view) == 7).all()
    del view
    # The first free block is taken, and it is the first.
    assert address(memory.allocate((4, 6, 3))) == where


@given(
    st.lists(
        st.tuples(st.sampled_from([(4, 6, 3), (6, 4, 3), (2, 3, 3)]), st.integers(0, 30)),
        max_size=60,
    )
)
def test_whatever_is_held_keeps_what_was_in_it(
    steps: list[tuple[tuple[int, int, int], int]],
) -> None:
    memory = BufferPool()
    live: dict[int, tuple[int, np.ndarray]] = {}
    for value, (shape, dropped) in enumerate(steps):
        live.pop(dropped, None)
        live[value % 31] = value, memory.copy(np.full(shape, value, np.uint8))
        assert all((image == expected).all() for expected, image in live.values())


def test_pictures_that_nobody_holds_take_no_more_memory() -> None:
    memory = BufferPool()
    assert len({address(memory.allocate((8, 8, 3))) for _ in range(100)}) == 1
    images = [memory.allocate((8, 8, 3)) for _ in range(MAX_BUFFERS + 5)]
    assert len({address(image) for image in images}) == MAX_BUFFERS + 5
    before = {address(image) for image in images[:MAX_BUFFERS]}
    del images
    again = [memory.allocate((8, 8, 3)) for _ in range(MAX_BUFFERS)]
    assert {address(image) for image in again} == before


def test_opencv_writes_into_it() -> None:
    memory = BufferPool()
    room = memory.allocate((8, 12, 3))
    resized = cv2.resize(np.full((2, 3, 3), 9, np.uint8), (12, 8), dst=room)
    assert address(np.asarray(resized)) == address(room)
    assert (room == 9).all()


def test_another_size_leaves_held_buffers_alone() -> None:
    """Another size leaves held buffers alone and takes no more memory."""
    memory = BufferPool()
    places = {address(memory.allocate(shape)) for shape in [(8, 8, 3), (4, 4, 3)] * 20}
    assert len(places) == 1
    large = memory.copy(np.full((8, 8, 3), 1, np.uint8))
    small = memory.copy(np.full((4, 4, 3), 2, np.uint8))
    memory.copy(np.full((8, 8, 3), 3, np.uint8))
    assert (large == 1).all()
    assert (small == 2).all()
    assert memory.allocate((0, 8, 3)).shape == (0, 8, 3)


def test_a_picture_may_be_let_go_in_another_thread() -> None:
    memory, box = BufferPool(), []
    box.append(memory.allocate((8, 8, 3)))
    where = address(box[0])
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    assert address(memory.allocate((8, 8, 3))) == where


def test_a_blank_picture_is_of_zeros_and_can_be_drawn_on() -> None:
    image = blank((5, 7, 4))
    assert image.shape == (5, 7, 4)
    assert not image.any()
    image[2] = 255
    assert int(image.sum()) == 7 * 4 * 255
    assert not blank((5, 7, 4)).any()
