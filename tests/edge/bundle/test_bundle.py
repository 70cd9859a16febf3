"""A bundle is whole, of a known schema and unchanged, or it is an error that names the file."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge.bundle.manifest import Golden, Manifest
from edge.bundle.reader import MANIFEST, MANIFEST_HASH, Bundle, pack, unpack, write_bundle
from edge.bundle.store import check_name
from edge.errors import BundleError, UsageError
from edge.util.files import sha256
from edge_difom.cli.main import main

Parts = tuple[Manifest, dict[str, bytes]]
MODEL = "engines/tflite/model.tflite"


@pytest.fixture
def copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_bundle, tmp_path / "copy")


@pytest.fixture
def packed(tiny_bundle: Path, tmp_path: Path) -> Path:
    return pack(tiny_bundle, tmp_path / "tiny.difom")


def rewrite(folder: Path, change: dict[str, object]) -> None:
    """Change keys of a manifest and sign off on it again."""
    content = json.loads((folder / MANIFEST).read_bytes()) | change
    data = json.dumps(content).encode()
    (folder / MANIFEST).write_bytes(data)
    (folder / MANIFEST_HASH).write_text(f"{sha256(data)}  {MANIFEST}\n")


def read_everything(path: Path) -> None:
    bundle = Bundle.open(path)
    for name in bundle.manifest.files:
        bundle.read(name)


def test_a_directory_and_its_zip_are_the_same_bundle(
    tiny_bundle: Path, packed: Path, tiny_parts: Parts
) -> None:
    for path in (tiny_bundle, packed, str(packed)):
        bundle = Bundle.open(path)
        assert bundle.digest == sha256(tiny_bundle / MANIFEST)
        assert {name: bundle.read(name) for name in bundle.manifest.files} == tiny_parts[1]
        assert bundle.engine_files("tflite") == [tiny_parts[1][MODEL]]
        assert set(bundle.verify_hashes().values()) == {"ok"}


def test_sha256sum_can_check_the_manifest(tiny_bundle: Path) -> None:
    if not shutil.which("sha256sum"):
        pytest.skip("no sha256sum")
    subprocess.run(["sha256sum", "--check", "--strict", MANIFEST_HASH], cwd=tiny_bundle, check=True)


def test_packing_gives_the_same_bytes_and_stores_them(
    tiny_bundle: Path, packed: Path, tmp_path: Path
) -> None:
    other = shutil.copytree(tiny_bundle, tmp_path / "other", copy_function=shutil.copy)
    assert pack(Bundle.open(other), tmp_path / "other.difom").read_bytes() == packed.read_bytes()
    with zipfile.ZipFile(packed) as archive:
        assert archive.namelist()[0] == MANIFEST
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert {info.date_time[0] for info in archive.infolist()} == {1980}


def test_unpacking_gives_the_directory_back(
    tiny_bundle: Path, packed: Path, tmp_path: Path
) -> None:
    folder = unpack(packed, tmp_path / "folder").path
    for file in tiny_bundle.rglob("*"):
        if file.is_file():
            assert (folder / file.relative_to(tiny_bundle)).read_bytes() == file.read_bytes()


def test_nothing_is_overwritten_without_force(
    tiny_bundle: Path, packed: Path, copy: Path, tiny_parts: Parts
) -> None:
    before = packed.read_bytes()
    with pytest.raises(UsageError, match="exists already"):
        pack(tiny_bundle, packed)
    with pytest.raises(UsageError, match="exists already"):
        unpack(packed, copy)
    with pytest.raises(UsageError, match="exists already"):
        write_bundle(copy, *tiny_parts)
    assert packed.read_bytes() == before
    assert pack(tiny_bundle, packed, force=True) == packed
    assert unpack(packed, copy, force=True).digest == Bundle.open(packed).digest


def test_a_packed_bundle_has_its_suffix(tiny_bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.difom"):
        pack(tiny_bundle, tmp_path / "tiny.zip")


def test_a_changed_byte_of_any_file_is_found(copy: Path) -> None:
    for file in [path for path in copy.rglob("*") if path.is_file()]:
        data = file.read_bytes()
        for place in (0, len(data) // 2, len(data) - 1):
            file.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
            with pytest.raises(BundleError, match="manifest" if file.parent == copy else file.name):
                read_everything(copy)
        file.write_bytes(data)
    read_everything(copy)


@given(st.data())
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_zip_reads_as_before_or_is_an_error(packed: Path, data: st.DataObject) -> None:
    data_packed = packed.read_bytes()
    place = data.draw(
        st.one_of(
            st.integers(0, len(data_packed) - 1),
            st.integers(len(data_packed) - 1200, len(data_packed) - 1),
        )
    )
    kind = data.draw(st.sampled_from(["flip", "cut"]))
    broken = packed.with_name("broken.difom")
    flipped = bytes([data_packed[place] ^ data.draw(st.integers(1, 255))])
    broken.write_bytes(
        data_packed[:place]
        if kind == "cut"
        else data_packed[:place] + flipped + data_packed[place + 1 :]
    )
    # zipfile warns of what it reads past; a damaged name is what the test is about.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            read_everything(broken)
        except BundleError:
            return
    assert Bundle.open(broken).digest == Bundle.open(packed).digest


def test_a_missing_and_an_extra_file_are_reported(copy: Path) -> None:
    (copy / MODEL).unlink()
    (copy / "notes.txt").write_text("not listed")
    changed = copy / "golden/0.frame.png"
    changed.write_bytes(changed.read_bytes() + b"x")
    states = Bundle.open(copy).verify_hashes()
    assert {name: state for name, state in states.items() if state != "ok"} == {
        MODEL: "missing",
        "notes.txt": "unlisted",
        "golden/0.frame.png": "changed",
    }
    with pytest.raises(BundleError, match=r"notes\.txt is not a file of this bundle"):
        Bundle.open(copy).read("notes.txt")


def test_another_schema_is_named_with_both_versions(copy: Path) -> None:
    """Another schema is named with both versions before anything else."""
    rewrite(copy, {"schema_version": 7, "from_the_future": True})
    with pytest.raises(
        BundleError, match=r"schema 7, this edge-difom reads schema 2[\s\S]*newer version"
    ):
        Bundle.open(copy)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"input": {"height": "64", "width": 64}},
        {"output": {"height": 16, "width": 16, "threshold": 0.0}},
        {"output": {"height": 16, "width": 16, "least_peak": 1.5}},
        {"input": {"height": 0, "width": 64}},
        {
            "engines": [
                {
                    "runtime": "tflite",
                    "precision": "int8",
                    "files": ["other.tflite"],
                    "min_version": "1",
                }
            ]
        },
        {"files": {"../outside": "00"}},
        {"schema_version": "one"},
    ],
    ids=[
        "unknown key",
        "wrong type",
        "threshold",
        "least peak",
        "empty input",
        "unlisted engine",
        "escape",
        "version",
    ],
)
def test_a_manifest_that_does_not_hold_together_is_an_error(
    copy: Path, change: dict[str, object]
) -> None:
    rewrite(copy, change)
    with pytest.raises(BundleError, match="copy"):
        Bundle.open(copy)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps).map(str.encode)
)
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_content_of_the_manifest_is_a_bundle_error(copy: Path, content: bytes) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(BundleError):
        Bundle.open(copy)


@pytest.mark.parametrize("what", ["absent", "empty folder", "text file"])
def test_what_is_no_bundle_is_an_error(what: str, tmp_path: Path) -> None:
    path = tmp_path / "thing"
    if what == "empty folder":
        path.mkdir()
    elif what == "text file":
        path.write_text("hello")
    with pytest.raises(BundleError, match="thing"):
        Bundle.open(path)


NAMES = ["../x", "/etc/x", "a/../../x", "a\\x", "C:x", "", "a//x", "./x", "a/", "x\0y"]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leaves_the_bundle_is_never_written(
    name: str, tiny_parts: Parts, tmp_path: Path
) -> None:
    manifest, files = tiny_parts
    with pytest.raises(BundleError, match="leaves the bundle"):
        write_bundle(tmp_path / "inside" / "b", manifest, files | {name: b"x"})
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a\\..\\x"])
def test_a_zip_with_a_name_that_leaves_it_is_refused(name: str, packed: Path) -> None:
    with zipfile.ZipFile(packed, "a") as archive:
        archive.writestr(name, b"x")
    with pytest.raises(BundleError, match="leaves the bundle"):
        Bundle.open(packed)


def test_a_zip_with_a_name_twice_is_refused(packed: Path) -> None:
    with zipfile.ZipFile(packed, "a") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        archive.writestr(MODEL, b"the other one")
    with pytest.raises(BundleError, match="twice"):
        Bundle.open(packed)


def test_a_compressed_zip_made_by_hand_is_read(tiny_bundle: Path, tmp_path: Path) -> None:
    archive = shutil.make_archive(str(tmp_path / "made"), "zip", tiny_bundle)
    read_everything(Path(archive))


@given(st.text(min_size=1))
def test_a_name_that_passes_stays_inside(name: str) -> None:
    try:
        check_name(name, Path("b"))
    except BundleError:
        return
    joined = Path("/srv/b") / name
    assert ".." not in joined.parts
    assert joined.is_relative_to("/srv/b")
    assert joined.as_posix() == f"/srv/b/{name}"


def test_a_manifest_cannot_use_what_is_not_given(tiny_parts: Parts, tmp_path: Path) -> None:
    manifest, files = tiny_parts
    golden = msgspec.structs.replace(
        manifest.golden, frames=[Golden(frame="no.png", scores="no.png")]
    )
    with pytest.raises(BundleError, match=r"no\.png"):
        write_bundle(tmp_path / "b", msgspec.structs.replace(manifest, golden=golden), files)


def test_commands_pack_show_and_unpack(
    tiny_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: str) -> str:
        with pytest.raises(SystemExit) as ended:
            main(["bundle", *arguments])
        assert ended.value.code == 0
        return capsys.readouterr().out

    packed = str(tmp_path / "p.difom")
    assert f"next: edge-difom verify --bundle {packed}" in call(
        "pack", str(tiny_bundle), "--out", packed
    )
    text = call("show", packed)
    assert "Not a medical device" in text
    assert "tflite" in text
    assert json.loads(call("show", packed, "--json", "-"))["name"] == "tiny"
    assert "made:" in call("unpack", packed, "--out", str(tmp_path / "u"))
    assert Bundle.open(tmp_path / "u").digest == Bundle.open(tiny_bundle).digest


def test_reading_a_bundle_imports_no_engine(tiny_bundle: Path) -> None:
    code = (
        "import sys; from edge.bundle.reader import Bundle; "
        f"Bundle.open({str(tiny_bundle)!r}).verify_hashes();"
        "assert not {'cv2', 'numpy', 'openvino', 'ai_edge_litert', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
