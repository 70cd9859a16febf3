"""The shared-memory stream, read by C through the header that is shipped."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edge.frame import Frame, Region, Result
from edge.overlay.layer_cache import LayerDrawing
from edge.shm import layout as layout
from edge.sinks.base import SinkOptions
from edge.sinks.shm import ShmSink
from edge.status import State, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from edge.frame import ImageU8

HEADER = Path(layout.__file__).with_name("edge_difom_shm.h")
RUNNING = Status(State.RUNNING, None, 77)

OFFSETS = r"""
#include <stdio.h>
#include "edge_difom_shm.h"
#define AT(s, f) printf("%s.%s %zu %zu\n", #s, #f, offsetof(struct edge_difom_##s, f), \
                        sizeof(((struct edge_difom_##s *)0)->f));
int main(void) {
FIELDS
  printf("header %zu\nslot %zu\nregion %zu\n", sizeof(struct edge_difom_header),
  sizeof(struct edge_difom_slot),
         sizeof(struct edge_difom_region));
  printf("constants %u %u %u %u\n", EDGE_DIFOM_VERSION, EDGE_DIFOM_SLOTS, EDGE_DIFOM_MAX_REGIONS,
         EDGE_DIFOM_SILENCE_NS);
  printf("states %d %d %d %d %d %d %d\n", EDGE_DIFOM_BOOT, EDGE_DIFOM_SELFTEST,
  EDGE_DIFOM_NO_SIGNAL,
         EDGE_DIFOM_RUNNING, EDGE_DIFOM_PAUSED, EDGE_DIFOM_DEGRADED, EDGE_DIFOM_BYPASS);
  printf("flags %d %d %d\n", EDGE_DIFOM_HAS_FRAME, EDGE_DIFOM_HAS_MASK, EDGE_DIFOM_HAS_PICTURE);
  fwrite(EDGE_DIFOM_MAGIC, 1, 8, stdout);
  return 0;
}
"""

FOLLOW = r"""
/* Reads for a while; every part of a frame must be of that frame: all its bytes are its number. */
#include <stdio.h>
#include <stdlib.h>
#include "edge_difom_shm.h"
static unsigned char overlay[4 * 640 * 480], scores[96 * 128], picture[3 * 640 * 480];
static int all(const unsigned char *bytes, size_t size, unsigned value) {
  for (size_t n = 0; n < size; n++) if (bytes[n] != value) return 0;
  return 1;
}
int main(int count, char **arguments) {
  struct edge_difom_stream stream;
  struct edge_difom_slot head;
  unsigned long whole = 0, torn = 0, backwards = 0, last = 0, wanted;
  uint64_t end = edge_difom_now_ns() + 20000000000u;
  if (count != 3) return 2;
  wanted = strtoul(arguments[2], NULL, 10);
  edge_difom_init(&stream, arguments[1]);
  while (whole < wanted && edge_difom_now_ns() < end) {
    unsigned value;
    if (edge_difom_read(&stream, &head, overlay, sizeof overlay, scores, sizeof scores, picture,
    sizeof picture)
        != EDGE_DIFOM_OK || !(head.flags & EDGE_DIFOM_HAS_FRAME) || head.number == last) continue;
    backwards += head.number < last;
    last = head.number;
    value = (unsigned)(head.frame_index % 251);
    if (all(overlay, sizeof overlay, value) && all(scores, sizeof scores, value)
        && all(picture, sizeof picture, value) && head.regions == 1
        && stream.regions[0].x == (int)value && edge_difom_may_show(&head, head.done_ns)) whole++;
    else torn++;
  }
  printf("%lu %lu %lu\n", whole, torn, backwards);
  printf("%d\n", edge_difom_read(&stream, &head, overlay, 16, NULL, 0, NULL, 0));
  edge_difom_close(&stream);
  return 0;
}
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a C program with the header."""
    folder = tmp_path_factory.mktemp("c")

    def build(source: str) -> Path:
        program = folder / f"program{len(list(folder.iterdir()))}"
        program.with_suffix(".c").write_text(source)
        flags = [
            "-std=gnu99",
            "-O2",
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-I",
            str(HEADER.parent),
        ]
        subprocess.run(["gcc", *flags, program.with_suffix(".c"), "-o", program], check=True)
        return program

    return build


def test_c_and_python_agree_on_the_layout(compiled: Callable[[str], Path]) -> None:
    kinds = {"header": layout.HEADER, "slot": layout.SLOT, "region": layout.REGION}
    fields = [(kind, name) for kind, dtype in kinds.items() for name in dtype.names or ()]
    program = compiled(
        OFFSETS.replace("FIELDS", "\n".join(f"  AT({kind}, {name})" for kind, name in fields))
    )
    lines = subprocess.run([program], capture_output=True, check=True).stdout.split(b"\n")
    expected = [
        f"{kind}.{name} {kinds[kind].fields[name][1]} {kinds[kind].fields[name][0].itemsize}"  # type: ignore[index]
        for kind, name in fields
    ]
    expected += [f"{kind} {dtype.itemsize}" for kind, dtype in kinds.items()]
    expected += [f"constants {layout.VERSION} {layout.SLOTS} {layout.MAX_REGIONS} 120000000"]
    expected += ["states " + " ".join(str(layout.STATE_CODES[state]) for state in State)]
    expected += [f"flags {layout.HAS_FRAME} {layout.HAS_MASK} {layout.HAS_PICTURE}"]
    assert [line.decode() for line in lines[:-1]] == expected
    assert lines[-1] == layout.MAGIC


@pytest.mark.skipif(shutil.which("g++") is None, reason="there is no C++ compiler")
def test_the_header_is_c_plus_plus_too(tmp_path: Path) -> None:
    (tmp_path / "a.cpp").write_text('#include "edge_difom_shm.h"\nint main() { return 0; }\n')
    flags = ["-std=c++11", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-I", str(HEADER.parent)]
    subprocess.run(["g++", *flags, tmp_path / "a.cpp"], check=True)


class NumberDrawing(LayerDrawing):
    def layer(self, size: tuple[int, int], result: Result, status: Status | None) -> ImageU8:  # noqa: ARG002 - as drawn
        return np.full(
            (*size, 4), result.scores[0, 0] if result.scores is not None else 0, np.uint8
        )


def test_c_reads_whole_frames_however_fast_they_are_written(
    compiled: Callable[[str], Path], tmp_path: Path
) -> None:
    program, path = compiled(FOLLOW), tmp_path / "s"
    with ShmSink(path, SinkOptions(drawing=NumberDrawing()), picture=True) as sink:
        sink.notify(RUNNING)
        process = subprocess.Popen([program, path, "100"], stdout=subprocess.PIPE, text=True)
        with process:
            index = 0
            while process.poll() is None:
                index += 1
                value = index % 251
                image, scores = (
                    np.full((480, 640, 3), value, np.uint8),
                    np.full((96, 128), value, np.uint8),
                )
                region = Region((value, 0, 1, 1), (), 0.1, 0.5)
                sink.write(Frame(index, image, sink._clock()), Result(scores, (region,), 0.1, None))
            assert process.stdout is not None
            lines = process.stdout.read().splitlines()
    assert lines == ["100 0 0", "2"], (
        "all whole, none torn, none backwards; then a buffer that is too small"
    )


def test_c_sees_a_dead_writer_and_a_new_one(
    compiled: Callable[[str], Path], tmp_path: Path
) -> None:
    source = r"""
#include <stdio.h>
#include "edge_difom_shm.h"
int main(int count, char **arguments) {
  struct edge_difom_stream stream;
  char line[8];
  if (count != 2) return 2;
  edge_difom_init(&stream, arguments[1]);
  while (fgets(line, sizeof line, stdin)) {
    uint64_t news_ns, number, now = edge_difom_now_ns();
    int alive = edge_difom_has_news(&stream, now);
    number = edge_difom_news(&stream, &news_ns);
    printf("%d %d %d\n", alive, number > 0, edge_difom_has_news(&stream, news_ns + 120000000u));
    fflush(stdout);
  }
  edge_difom_close(&stream);
  return 0;
}
"""
    path = tmp_path / "s"
    process = subprocess.Popen(
        [compiled(source), path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None

        def ask() -> str:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("?\n")
            return process.stdout.readline().strip()

        assert ask() == "0 0 0"
        # A clock far ahead stands for a writer that was heard just now, however slow this machine
        # is.
        with ShmSink(path, SinkOptions(), clock=lambda: 1 << 62) as sink:
            sink.notify(RUNNING)
            assert ask() == "1 1 0"
        assert ask() == "0 0 0"
        with ShmSink(path, SinkOptions(), clock=lambda: 1 << 61):
            assert ask() == "1 1 0"
        process.stdin.close()
