"""The field's five test sets by name, such as `kvasir:DIR`, in their common folder layouts.

The test frames are those of PraNet (Fan et al., MICCAI 2020), which publishes them as folders
`TestDataset/SET/{images, masks}`. The archive of a data set has more frames than its test set; the
names of the test frames are in `edge.datasets.public_lists`. For archives with renamed frames, the
user must provide a list.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from edge.datasets.image_files import SUFFIXES
from edge.datasets.pairs import FORMAT_FOLDERS, LAYOUTS, composed, find_pairs, layouts, pair_folders
from edge.datasets.public_lists import TEST_FRAMES
from edge.errors import DataError, UsageError
from edge.util.spec import expand, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edge.datasets.pairs import Pair


class BenchmarkSet(NamedTuple):
    """A test set of the field.

    Attributes:
        title: Its name in papers.
        folders: Names of its folder, in lower case.
        frames: Number of test frames.
        source: Description of the archive.
        drawn: Whether the test frames are a sample of a larger archive.
    """

    title: str
    folders: tuple[str, ...]
    frames: int
    source: str
    drawn: bool = False


SETS = {
    "kvasir": BenchmarkSet(
        "Kvasir",
        ("kvasir", "kvasir-seg"),
        100,
        "Kvasir-SEG has 1000 frames, 900 for training",
        drawn=True,
    ),
    "clinicdb": BenchmarkSet(
        "CVC-ClinicDB",
        ("cvc-clinicdb", "clinicdb", "cvc-612"),
        62,
        "CVC-ClinicDB has 612 frames, 550 for training",
        drawn=True,
    ),
    "colondb": BenchmarkSet(
        "CVC-ColonDB",
        ("cvc-colondb", "colondb"),
        380,
        "the first release of CVC-ColonDB has 300 frames",
    ),
    "cvc300": BenchmarkSet(
        "CVC-300",
        ("cvc-300", "cvc300", "cvc-t"),
        60,
        "CVC-300 of EndoScene has 300 frames, 60 in its test part",
    ),
    "etis": BenchmarkSet(
        "ETIS-LaribPolypDB",
        ("etis-laribpolypdb", "etis-larib", "etis"),
        196,
        "ETIS-LaribPolypDB has 196 frames",
    ),
}
"""Scheme of the data description -> set."""

_LAYOUTS = (*LAYOUTS, ("ETIS-LaribPolypDB", "Ground Truth"))


class LabeledFrames(NamedTuple):
    """Labeled frames to evaluate on.

    Attributes:
        pairs: Images and masks.
        benchmark: Name in `SETS`; None for a plain folder.
        notes: Remarks on the frames that a reader of the figures must know.
    """

    pairs: list[Pair]
    benchmark: str | None = None
    notes: tuple[str, ...] = ()


def find_labeled(where: str, names: Path | None = None) -> LabeledFrames:
    """Find the frames of `SET:DIR`, or of a folder DIR with images/ and masks/.

    DIR is the set's own folder, TestDataset, or the folder above TestDataset.

    Args:
        where: `SET:DIR` with a name in `SETS`, or `DIR`.
        names: File with one stem per line that selects the frames; all of them must exist.

    Raises:
        UsageError: The set is unknown.
        DataError: The folder has no known layout, a pairing is wrong, a listed frame is missing, or
            the test frames cannot be identified among more frames, by name or by a list.
    """
    spec = parse(where)
    if spec.bare or (spec.scheme not in SETS and Path(where).exists()):
        folder = expand(where)
        pairs = find_pairs(folder)
        return LabeledFrames(_chosen(pairs, names, folder) if names else pairs)
    if spec.scheme not in SETS:
        raise UsageError(
            f"{spec.scheme!r} is not a benchmark set",
            expected=f"{', '.join(SETS)}, or a folder without a name before it",
            got=where,
            hint=f"kvasir:{spec.target}" if spec.target else "",
        )
    spec.refuse_options()
    return _find_benchmark(spec.scheme, spec.path, names)


def find_test_sets(paths: Sequence[str]) -> dict[str, LabeledFrames]:
    """Find the test sets of several places.

    Args:
        paths: `SET:DIR` or a folder as `find_labeled` takes it, TestDataset, or a folder with
            folders named like the sets, of which those that are there are taken.

    Returns:
        Name in `SETS`, or name of a plain folder -> its frames.

    Raises:
        UsageError: A set is unknown, or two places have one name.
        DataError: A folder cannot be used.
    """
    sets: dict[str, LabeledFrames] = {}
    for where in paths:
        spec = parse(where)
        folder = expand(where)
        plain = spec.bare or (spec.scheme not in SETS and folder.exists())
        inside = _present(folder) if plain and folder.is_dir() else {}
        if not inside:
            frames = find_labeled(where)
            inside = {frames.benchmark or folder.resolve().name: frames}
        both = sorted(sets.keys() & inside.keys())
        if both:
            raise UsageError(f"two folders of test frames are named {both[0]}", got=where)
        sets |= inside
    return sets


def _present(root: Path) -> dict[str, LabeledFrames]:
    """Find the sets whose folders are in `root` or in its TestDataset."""
    base = _inside(root, "TestDataset") or root
    homes = {
        name: home
        for name, benchmark in SETS.items()
        for home in [next(filter(None, (_inside(base, item) for item in benchmark.folders)), None)]
        if home is not None
    }
    return {name: _find_benchmark(name, home, None) for name, home in homes.items()}


def _find_benchmark(name: str, root: Path, names: Path | None) -> LabeledFrames:
    benchmark = SETS[name]
    if not root.is_dir():
        raise DataError(
            f"{root} is not a folder",
            expected=f"the folder of {benchmark.title}, or of TestDataset",
        )
    other = [
        item.title
        for item in SETS.values()
        if root.name.lower() in item.folders and item is not benchmark
    ]
    if other:
        raise DataError(
            f"{root} is the folder of {other[0]}",
            expected=f"that of {benchmark.title}",
            got=f"{name}:{root}",
        )
    layout = next(_layouts(root, benchmark), None)
    if layout is None:
        raise DataError(
            f"{root} holds no {benchmark.title} in a known layout",
            expected=f"TestDataset/{benchmark.title}/{{images,masks}}, or in the set's own folder "
            + " or ".join(f"{images}/ with {masks}/" for images, masks in _LAYOUTS),
            got=", ".join(sorted(path.name for path in root.iterdir() if path.is_dir())[:8])
            or "no folder in it",
        )
    pairs = pair_folders(*layout)
    if names:
        chosen = _chosen(pairs, names, layout[0])
        return LabeledFrames(
            chosen,
            name,
            (f"{len(chosen)} frames named in {names.name}", *_shortfall(benchmark, chosen)),
        )
    test_names = TEST_FRAMES.get(name, ())
    if len(pairs) > benchmark.frames and test_names:
        listed = set(test_names)
        chosen = [pair for pair in pairs if pair.name in listed]
        if len(chosen) == len(listed):
            return LabeledFrames(
                chosen, name, (f"the field's {len(chosen)} test frames of {len(pairs)}, by name",)
            )
    if len(pairs) > benchmark.frames:
        raise DataError(
            f"{layout[0]} holds more than the test set of {benchmark.title}",
            expected=f"the {benchmark.frames} frames that the field tests on ({benchmark.source})",
            got=f"{len(pairs)} frames that do not bear the names of the field's test frames",
            hint=f"give TestDataset/{benchmark.title}, a list of the test frames, or the folder "
            "without the name of the set to use all frames",
            code="test-frames-unknown",
        )
    notes = _shortfall(benchmark, pairs)
    same = {pair.name for pair in pairs} == set(test_names)
    if (
        benchmark.drawn
        and not notes
        and not same
        and "testdataset" not in str(layout[0].resolve()).lower()
    ):
        notes = (
            f"{benchmark.frames} frames, as in the field's test set of {benchmark.title}; "
            "not checked to be the same ones",
        )
    return LabeledFrames(pairs, name, notes)


def _shortfall(benchmark: BenchmarkSet, pairs: Sequence[Pair]) -> tuple[str, ...]:
    if len(pairs) == benchmark.frames:
        return ()
    return (
        f"{len(pairs)} frames where the field's test set of {benchmark.title} has "
        f"{benchmark.frames}: not comparable with published figures",
    )


def _layouts(root: Path, benchmark: BenchmarkSet) -> Iterator[tuple[Path, Path]]:
    """Yield folders of images and of masks: the set's own first, then folders with its name."""
    for here in _homes(root, benchmark):
        yield from layouts(here, _LAYOUTS)


def _homes(root: Path, benchmark: BenchmarkSet) -> Iterator[Path]:
    """Yield possible folders of a set: `root`, and its subfolders by name and file format."""
    above = [root]
    test = _inside(root, "TestDataset")
    homes = [
        path
        for base in ([test] if test else []) + above
        for name in benchmark.folders
        if (path := _inside(base, name))
    ]
    for home in homes if test else [*above, *homes]:
        # Archives often have a second folder of the same name inside.
        inner = [path for name in benchmark.folders if (path := _inside(home, name))]
        for here in (home, *inner):
            yield here
            yield from (path for name in FORMAT_FOLDERS if (path := _inside(here, name)))


def _inside(root: Path, name: str) -> Path | None:
    """Find the folder `name` in `root`, case-insensitively."""
    return next(
        (
            path
            for path in sorted(root.iterdir())
            if path.name.lower() == name.lower() and path.is_dir()
        ),
        None,
    )


def _chosen(pairs: Sequence[Pair], names: Path, where: Path) -> list[Pair]:
    try:
        lines = names.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"{names} cannot be read", expected="a name per line, as UTF-8 text", got=str(error)
        ) from error
    available = {pair.name for pair in pairs}
    listed = dict.fromkeys(_named(line, available) for line in lines if line.strip())
    if not listed:
        raise DataError(f"{names} names no frame", expected="a name per line")
    missing = sorted(listed.keys() - available)
    if missing:
        raise DataError(
            f"{where} lacks frames that {names} names",
            expected=f"a name per line, and all {len(listed)} of them there",
            got=f"{len(missing)} missing: {', '.join(missing[:5])}"
            + (", ..." if len(missing) > 5 else ""),
            hint="the folder that the list was made for, with its names as they were",
        )
    return [pair for pair in pairs if pair.name in listed]


def _named(line: str, available: set[str]) -> str:
    """Return the frame that a line names: the whole line or its first column, without suffix."""
    text = composed(line.strip().strip('"'))
    columns = [
        text,
        *(re.split(separator, text)[0].strip().strip('"') for separator in (r"[,;\t]", r"\s")),
    ]
    stems = []
    for column in columns:
        name = column.replace("\\", "/")
        bare = name[: -len(Path(name).suffix)] if Path(name).suffix.lower() in SUFFIXES else name
        stems += [name, bare, bare.rpartition("/")[2]]
    return next((stem for stem in stems if stem in available), stems[2])
