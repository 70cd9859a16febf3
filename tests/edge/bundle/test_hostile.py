"""A malicious bundle is an error, and nothing of it lands outside its folder."""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundle import store as bundle_store
from edge.bundle.reader import LARGEST_MANIFEST, MANIFEST, MANIFEST_HASH, Bundle, unpack
from edge.bundle.store import check_names
from edge.errors import BundleError
from edge.util.files import sha256
from tests.support.hostile_zip import Entry, zip_of

MODEL = "model.xml"
SETTINGS = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def entries(publisher: Any) -> list[Entry]:
    """A small bundle as entries of a zip."""
    folder = publisher.bundle(b"<net/>" * 40)
    return [
        Entry(name.encode(), (folder / name).read_bytes())
        for name in (MANIFEST, MANIFEST_HASH, MODEL)
    ]


def test_an_archive_without_entries_is_an_error(tmp_path: Path) -> None:
    """An empty directory of entries, and one of folders only; found by `make fuzz`."""
    for number, entries in enumerate(([], [Entry(b"engines/", b"")])):
        path = tmp_path / f"{number}.difom"
        path.write_bytes(zip_of(entries))
        with pytest.raises(BundleError):
            Bundle.open(path)


def try_everything(path: Path, out: Path) -> bool:
    """Open, read and unpack; returns whether it is a bundle. Only a BundleError is allowed."""
    before = {file for file in out.parent.rglob("*") if out not in file.parents and file != out}
    shutil.rmtree(out, ignore_errors=True)
    with warnings.catch_warnings():
        # zipfile warns of what it reads past; damage is what the test is about.
        warnings.simplefilter("ignore")
        try:
            bundle = Bundle.open(path)
            bundle.verify_hashes()
            for name in bundle.manifest.files:
                bundle.read(name)
            unpack(path, out)
            good = True
        except BundleError:
            good = False
            assert not out.exists()
    after = {file for file in out.parent.rglob("*") if out not in file.parents and file != out}
    assert after == before
    return good


def made(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "packed.difom"
    path.write_bytes(data)
    return path


def test_the_builder_makes_bundles(entries: list[Entry], tmp_path: Path) -> None:
    for method in (0, 8):
        packed = zip_of([replace(entry, method=method) for entry in entries])
        assert try_everything(made(tmp_path, packed), tmp_path / "out")


HOSTILE = {
    "path traversal": {"name": b"../outside"},
    "absolute name": {"name": b"/tmp/outside"},
    "other system's name": {"name": b"C:\\outside"},
    "name with a null": {"name": b"mod\0el"},
    "name with an end of line": {"name": b"mod\nel"},
    "name too long": {"name": b"x" * 256},
    "twice": {"name": MODEL.encode()},
    "twice in another case": {"name": MODEL.upper().encode()},
    "below a file": {"name": MODEL.encode() + b"/x"},
    "symbolic link": {"attributes": 0o120777 << 16, "data": b"/etc/passwd"},
    "character device": {"attributes": 0o020666 << 16},
    "pipe": {"attributes": 0o010666 << 16},
    "encrypted": {"flags": 1},
    "bzip2": {"method": 12},
    "lzma": {"method": 14},
    "unknown method": {"method": 99},
    "huge declared size": {"size": 0xFFFFFFF0},
    "declared larger than stored": {"size": 5000},
    "bomb": {"method": 8, "data": bytes(8 << 20)},
    "over another entry": {"offset": 0},
    "past the end": {"offset": 1 << 30},
    "packed past the end": {"packed": 1 << 20, "size": 1 << 20},
}


@pytest.mark.row(34, "a packed bundle with one entry made to do harm")
@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_entry_makes_it_no_bundle(
    kind: str, entries: list[Entry], tmp_path: Path
) -> None:
    entry = replace(Entry(b"extra", b"x"), **HOSTILE[kind])  # type: ignore[arg-type]  # fields of one table
    assert not try_everything(made(tmp_path, zip_of([*entries, entry])), tmp_path / "out")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(BundleError):
            Bundle.open(tmp_path / "packed.difom")


@pytest.mark.parametrize("count", [1001, 70000])
def test_too_many_entries_are_refused(count: int, entries: list[Entry], tmp_path: Path) -> None:
    names = b"".join(
        b"PK\1\2" + struct.pack("<H", 0x031E) + struct.pack("<HHHHHLLLHH", 20, 0, 0, 0, 33, 0, 0, 0,
        6, 0)
        + struct.pack("<HHHLL", 0, 0, 0, 0, 0) + f"{number:06d}".encode()
        for number in range(count)
    )  # fmt: skip
    end = struct.pack("<HHHHLLH", 0, 0, count & 0xFFFF, count & 0xFFFF, len(names), 0, 0)
    with pytest.raises(BundleError, match="too many files"):
        Bundle.open(made(tmp_path, names + b"PK\5\6" + end))


def test_entries_that_are_large_in_sum_only_are_refused(
    entries: list[Entry], tmp_path: Path
) -> None:
    many = [Entry(f"{number}".encode(), b"", method=8, size=400 << 20) for number in range(3)]
    with pytest.raises(BundleError, match="too large"):
        Bundle.open(made(tmp_path, zip_of([*entries, *many])))


def test_a_bomb_costs_no_memory(entries: list[Entry], tmp_path: Path) -> None:
    bomb = zip_of([*entries, Entry(b"bomb", bytes(300 << 20), method=8)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert not try_everything(made(tmp_path, bomb), tmp_path / "out")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10


def memory_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


@pytest.mark.row(34, "an entry that inflates to far more than it states")
@pytest.mark.parametrize("name", [MODEL, MANIFEST, MANIFEST_HASH])
def test_an_entry_that_lies_about_its_size_costs_no_memory(
    name: str, entries: list[Entry], tmp_path: Path
) -> None:
    lie = Entry(name.encode(), bytes(400 << 20), method=8, size=4000, packed=None)
    packed = zip_of([lie if entry.name == lie.name else entry for entry in entries])
    del lie
    path, before = made(tmp_path, packed), memory_kib()
    with pytest.raises(BundleError):
        Bundle.open(path).read(MODEL)
    assert memory_kib() - before < 20 << 10


@pytest.mark.row(34, "a zip64 record that states another list of files")
def test_a_zip64_list_of_files_is_not_believed(tmp_path: Path) -> None:
    one = (
        b"PK\1\2"
        + struct.pack("<HHHHHHLLLHH", 0x031E, 20, 0, 0, 0, 33, 0, 0, 0, 1, 0)
        + struct.pack("<HHHLL", 0, 0, 0, 0, 0)
        + b"x"
    )
    number = 600_000
    record = b"PK\6\6" + struct.pack(
        "<QHHLLQQQQ", 44, 45, 45, 0, 0, number, number, number * len(one), 0
    )
    locator = b"PK\6\7" + struct.pack("<LQL", 0, number * len(one), 1)
    end = b"PK\5\6" + struct.pack("<HHHHLLH", 0, 0, 1, 1, len(one), 0, 0)
    path, before = made(tmp_path, one * number + record + locator + end), memory_kib()
    with pytest.raises(BundleError, match="zip64"):
        Bundle.open(path)
    assert memory_kib() - before < 20 << 10


@pytest.mark.parametrize("end", [b"PK\5\6" + bytes(8) + b"\xff" * 4 + bytes(6), b""])
def test_the_list_of_files_is_where_zipfile_looks_for_it(
    entries: list[Entry], tmp_path: Path, end: bytes
) -> None:
    archive = zip_of(entries)
    commented = archive[:-2] + len(end).to_bytes(2, "little") + end
    path = made(tmp_path, commented)
    if end:
        with pytest.raises(BundleError):
            Bundle.open(path)
    else:
        Bundle.open(path)


def test_a_manifest_of_many_megabytes_is_refused_unread(folder: Path) -> None:
    with (folder / MANIFEST).open("ab") as file:
        file.write(b" " * (LARGEST_MANIFEST + 1))
    before = memory_kib()
    with pytest.raises(BundleError, match="too large"):
        Bundle.open(folder)
    assert memory_kib() - before < 20 << 10


def test_a_manifest_at_its_limit_takes_bounded_memory(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    for record in (
        {"files": {f"{number:x}": "" for number in range(300_000)}},
        {"engines": [{"runtime": "", "precision": "", "files": [], "min_version": ""}] * 60_000},
        {"golden": {"frames": [{"frame": "", "scores": ""}] * 150_000}},
        {"accuracy": [], "parity": [], "name": "a/" * 1_500_000},
        {"files": {"a/" * 1_500_000: ""}},
    ):
        encoded = json.dumps(manifest | record).encode()
        assert len(encoded) < LARGEST_MANIFEST + (1 << 20)
        (folder / MANIFEST).write_bytes(encoded[:LARGEST_MANIFEST])
        before = memory_kib()
        with pytest.raises(BundleError):
            Bundle.open(folder)
        assert memory_kib() - before < 200 << 10


@pytest.mark.parametrize(("iou", "difference"), [(0.0, 1.0), (0.89, 1), (1.1, 1), (1, 5), (1, -1)])
def test_a_bundle_does_not_choose_to_pass_every_test(
    folder: Path, iou: float, difference: float
) -> None:
    manifest = json.loads((folder / MANIFEST).read_bytes())
    manifest["golden"] |= {"min_iou": iou, "max_mean_difference": difference}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="tolerance"):
        Bundle.open(folder)


FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [b"../x", b"a/../../x", b"/x", b"model.xml/", b"MODEL.XML", "mode\u0301l".encode()]
            ),
        ),
        "data": st.binary(max_size=60),
        "method": st.sampled_from([0, 8, 9, 12, 14, 93, 99]),
        "flags": st.integers(0, 0xFFFF),
        "attributes": st.integers(0, 0xFFFFFFFF),
        "size": st.integers(0, 0xFFFFFFFF),
        "packed": st.integers(0, 0xFFFFFFFF),
        "crc": st.integers(0, 0xFFFFFFFF),
        "offset": st.integers(0, 0xFFFFFFFF),
    },
)


@given(st.data())
@settings(SETTINGS, max_examples=150)
def test_any_entry_is_a_bundle_as_it_was_or_an_error(
    entries: list[Entry], tmp_path: Path, data: st.DataObject
) -> None:
    changed = list(entries)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed)))
        fields: dict[str, Any] = data.draw(FIELDS)
        if place < len(changed):
            changed[place] = replace(changed[place], **fields)
        else:
            changed.append(replace(Entry(b"extra", b"x"), **fields))
    packed = zip_of(
        changed,
        count=data.draw(st.none() | st.integers(0, 70000)),
        comment=data.draw(st.binary(max_size=9)),
    )
    if try_everything(made(tmp_path, packed), tmp_path / "out"):
        assert (tmp_path / "out" / MODEL).read_bytes() == entries[2].data


@given(st.data())
@settings(SETTINGS, max_examples=150)
def test_any_damage_is_a_bundle_as_it_was_or_an_error(
    entries: list[Entry], tmp_path: Path, data: st.DataObject
) -> None:
    archive = zip_of(entries)
    parts = bytearray(archive)
    for _ in range(data.draw(st.integers(1, 6))):
        place = data.draw(
            st.integers(0, len(parts) - 1) | st.integers(max(0, len(parts) - 250), len(parts) - 1)
        )
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "double"]))
        if kind == "set":
            parts[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del parts[place : place + data.draw(st.integers(1, 50))]
        elif kind == "insert":
            parts[place:place] = data.draw(st.binary(max_size=30))
        else:
            parts[place:place] = parts[place : place + 60]
        if not parts:
            break
    if try_everything(made(tmp_path, bytes(parts)), tmp_path / "out"):
        assert (tmp_path / "out" / MODEL).read_bytes() == entries[2].data


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=8,
)


def paths_of(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    return [
        path,
        *(inner_path for key, part in inner for inner_path in paths_of(part, (*path, key))),
    ]


@given(st.data())
@settings(SETTINGS, max_examples=150)
def test_any_manifest_is_held_together_or_an_error(
    entries: list[Entry], tmp_path: Path, data: st.DataObject
) -> None:
    manifest = json.loads(entries[0].data)
    for _ in range(data.draw(st.integers(1, 3))):
        *path, last = data.draw(st.sampled_from([path for path in paths_of(manifest) if path]))
        place = manifest
        for key in path:
            place = place[key]
        place[last] = data.draw(JSON | st.sampled_from(["../x", 10**9, -1, 1e308, {"a": "b"}]))
    encoded = json.dumps(manifest).encode()
    signed = [
        Entry(b"manifest.json", encoded),
        Entry(b"manifest.sha256", f"{sha256(encoded)}  manifest.json\n".encode()),
    ]
    try_everything(made(tmp_path, zip_of([*signed, entries[2]])), tmp_path / "out")


@pytest.mark.parametrize(
    "content",
    [
        b'{"schema_version": 1, "x": ' + b"[" * 100_000,
        b'{"schema_version": 1e999}',
        b'{"schema_version": 1, "name": "\xff"}',
    ],
)
def test_a_manifest_that_breaks_parsers_is_an_error(
    content: bytes, entries: list[Entry], tmp_path: Path
) -> None:
    with pytest.raises(BundleError):
        Bundle.open(made(tmp_path, zip_of([Entry(b"manifest.json", content), *entries[1:]])))


@pytest.fixture
def folder(publisher: Any) -> Path:
    path: Path = publisher.bundle(b"<net/>")
    return path


@pytest.mark.parametrize(
    "name",
    ["", "\x1b[31mred", "a\nb", "a|b", "[a](http://b)", "`a`", "abc\u202edcba", "a" * 101],
)
def test_a_name_that_acts_on_a_terminal_is_refused(
    name: str, tiny_bundle: Path, tmp_path: Path
) -> None:
    """A name that would act on a terminal or a report is refused."""
    folder = Path(shutil.copytree(tiny_bundle, tmp_path / "b"))
    manifest = json.loads((folder / MANIFEST).read_bytes()) | {"name": name}
    encoded = json.dumps(manifest).encode()
    (folder / MANIFEST).write_bytes(encoded)
    (folder / MANIFEST_HASH).write_text(f"{sha256(encoded)}  {MANIFEST}\n")
    with pytest.raises(BundleError, match="cannot be shown") as caught:
        Bundle.open(folder)
    assert str(caught.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("name", [MODEL, MANIFEST, MANIFEST_HASH])
@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "socket"])
def test_only_plain_files_of_a_folder_are_read(
    name: str, kind: str, folder: Path, tmp_path: Path
) -> None:
    path = folder / name
    data = path.read_bytes()
    path.unlink()
    if kind == "link":
        (tmp_path / "outside").write_bytes(data)
        path.symlink_to(tmp_path / "outside")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        import socket

        with socket.socket(socket.AF_UNIX) as made_socket, pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            made_socket.bind(name)
    with pytest.raises(BundleError, match=name):
        Bundle.open(folder).read(MODEL)


def test_a_link_to_a_folder_is_not_followed(folder: Path, tmp_path: Path) -> None:
    manifest = msgspec.json.decode((folder / MANIFEST).read_bytes())
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret.txt").write_bytes(b"secret")
    manifest["files"]["inside/secret.txt"] = sha256(b"secret")
    encoded = msgspec.json.encode(manifest)
    (folder / MANIFEST).write_bytes(encoded)
    (folder / MANIFEST_HASH).write_text(f"{sha256(encoded)}  {MANIFEST}\n")
    (folder / "inside").symlink_to(tmp_path / "outside")
    bundle = Bundle.open(folder)
    with pytest.raises(BundleError, match=r"secret\.txt cannot be read"):
        bundle.read("inside/secret.txt")
    assert bundle.verify_hashes()["inside"] == "unlisted"


def test_a_folder_with_a_file_too_large_is_refused_unread(folder: Path) -> None:
    with (folder / MODEL).open("r+b") as file:
        file.truncate(bundle_store.LARGEST + 1)
    with pytest.raises(BundleError, match="too large"):
        Bundle.open(folder).read(MODEL)


def test_a_folder_with_too_many_files_is_refused(folder: Path) -> None:
    for number in range(bundle_store.MAX_FILES + 1):
        (folder / f"{number}.txt").touch()
    with pytest.raises(BundleError, match="too many files"):
        Bundle.open(folder).verify_hashes()


@given(st.lists(st.text(min_size=1, max_size=4), max_size=6))
def test_names_that_pass_are_files_of_their_own_everywhere(names: list[str]) -> None:
    try:
        check_names(names, Path("b"))
    except BundleError:
        return
    folded = [name.casefold() for name in names]
    assert len(set(folded)) == len(names)
    assert not any(
        f"{other}/" in f"{name}"
        for name in folded
        for other in folded
        if name.startswith(f"{other}/")
    )
