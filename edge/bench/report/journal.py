"""The record of a run: JSON lines with the raw samples, written as the run goes.

If a run is killed, its record is complete up to the last second. The lines are a header, for each
load its beginning and one line per second, the measurements after the loads, and the end.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

# msgspec reads the annotations when a line is decoded.
from edge.bench.measure.environment import MachineSnapshot  # noqa: TC001
from edge.bench.measure.sensors import Reading  # noqa: TC001
from edge.bench.report.profile_record import DeviceProfile, Work  # noqa: TC001
from edge.bench.report.record import GoldenCheck, WarmUp  # noqa: TC001
from edge.bundle.manifest import Accuracy, ParityRow  # noqa: TC001
from edge.errors import DataError
from edge.util.files import naming
from edge.util.host import Device  # noqa: TC001

if TYPE_CHECKING:
    from io import FileIO
    from pathlib import Path
    from types import TracebackType

    from typing_extensions import Self

FORMAT = 1
RECORD_NAME = "record.jsonl"


class Header(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="header"):
    """Everything that is known before the first load; the fields are those of `BenchReport`.

    Attributes:
        format: Version of the lines.
        seconds: Requested time to count frames under each load.
        energy_range: Energy meter -> value at which it wraps.
    """

    format: int = FORMAT
    seconds: float
    bundle: str
    digest: str
    engine: str
    precision: str
    threads: int | None
    frame_size: tuple[int, int]
    compile_ms: float
    first_inference_ms: float
    settings: dict[str, Any]
    accuracy: list[Accuracy]
    parity: list[ParityRow]
    golden: GoldenCheck | None
    work: Work | None
    profile: DeviceProfile | None
    machine: dict[str, str]
    sensors_missing: list[str]
    energy_range: dict[str, int]
    device: Device
    versions: dict[str, str | None]
    command: str
    created: str


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """The machine at one moment: the counters for the guard and the values of the sensors."""

    snapshot: MachineSnapshot
    reading: Reading


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="load"):
    """The end of a load's warm-up and the start of counting.

    Attributes:
        load: Name of the load.
        fps: Frames per second of the source; None at the highest rate.
        warmup: The warm-up before it.
        machine: The machine at this moment.
    """

    load: str
    fps: float | None
    warmup: WarmUp
    machine: Sample


class Second(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="second"):
    """The frames that ended in one second of a load.

    Attributes:
        load: Name of the load.
        at_ns: End of the second, since the load began.
        stages_ns: Stage -> nanoseconds of each frame; frame i is element i of every list.
        dropped: Frames that were overwritten in this second.
        cpu_ns: CPU time of this process in this second, all threads.
        machine: The newest sample of the machine, at most one second old.
    """

    load: str
    at_ns: int
    stages_ns: dict[str, list[int]]
    dropped: int
    cpu_ns: int
    machine: Sample

    def whole_ns(self) -> list[int]:
        """Return the whole-frame latencies, which are the sums of the stages."""
        return [sum(stages) for stages in zip(*self.stages_ns.values(), strict=True)]


class Aside(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="aside"):
    """Measurements after the loads.

    Attributes:
        inference_ms: Times of the engine alone, one per inference.
        around_cpu_ms: CPU times of preprocessing and postprocessing, one per frame.
        peak_rss_mb: Peak resident memory, MiB.
    """

    inference_ms: list[float]
    around_cpu_ms: list[float]
    peak_rss_mb: float | None


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="line", tag="end"):
    """The regular end of a run.

    Attributes:
        notes: Remarks of the run itself.
    """

    notes: list[str]


Line = Header | Begin | Second | Aside | End


class BenchJournal:
    """Collects and writes the lines of a run; a context manager.

    Args:
        path: File for the lines, which must not exist; None to keep them only in memory.

    Attributes:
        lines: All lines so far.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.lines: list[Line] = []
        self._path = path
        self._file: FileIO | None = None

    def __enter__(self) -> Self:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with naming(self._path):
                self._file = self._path.open("xb", buffering=0)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def add(self, line: Line) -> None:
        """Add a line and write it, so that it survives the death of this process.

        Raises:
            OSError: It does not fit on the disk. A record without its header is removed.
        """
        self.lines.append(line)
        if self._file is None:
            return
        assert self._path is not None
        left = memoryview(msgspec.json.encode(line) + b"\n")
        try:
            with naming(self._path):
                while left:
                    left = left[self._file.write(left) :]
        except OSError:
            if len(self.lines) == 1:
                self._path.unlink(missing_ok=True)
            raise


def read_journal(path: Path) -> list[Line]:
    """Read the lines of a record, without an incomplete last line.

    Args:
        path: The file, or its folder.

    Raises:
        DataError: There is no such file, or it is not a record in this format.
    """
    file = path / RECORD_NAME if path.is_dir() else path
    if not file.is_file():
        raise DataError(f"there is no record {file}", expected=f"a {RECORD_NAME} of a bench run")
    data = file.read_bytes()
    try:
        lines = msgspec.json.Decoder(Line).decode_lines(data[: data.rfind(b"\n") + 1])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DataError(
            f"{file} cannot be read", expected="a record of a bench run", got=str(error)
        ) from error
    if not lines or not isinstance(lines[0], Header) or lines[0].format != FORMAT:
        raise DataError(
            f"{file} is not a record",
            expected=f"a header of format {FORMAT} in its first line",
            got="a different line",
        )
    return lines
