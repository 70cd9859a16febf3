"""Libraries inside wheels, packages of the system, the firmware's codec and their support."""

from __future__ import annotations

import hashlib
from datetime import date
from typing import TYPE_CHECKING

import pytest

from edge.errors import DataError
from firmware_bridge.fleet.sbom.binaries import scan
from firmware_bridge.fleet.sbom.packages import needed
from firmware_bridge.fleet.sbom.parts import UNKNOWN
from firmware_bridge.fleet.sbom.products import PRODUCTS, read_version
from firmware_bridge.fleet.sbom.support import Rule, read_rules, support_of
from firmware_bridge.fleet.sbom.system import firmware_parts, read_dpkg, system_parts

if TYPE_CHECKING:
    from pathlib import Path

WORDS = {
    "openssl": (b"\0OpenSSL method\0OpenSSL 1.1.1k  FIPS 25 Mar 2021\0", "1.1.1k"),
    "ffmpeg": (b"FFmpeg version n8.1.1\0", "8.1.1"),
    "libpng": (b"libpng version 1.6.58\n", "1.6.58"),
    "libjpeg-turbo": (b"libjpeg-turbo version 3.2.0 (build 20261016)", "3.2.0"),
    "libtiff": (b"LIBTIFF, Version 4.7.2\nCopyright", "4.7.2"),
    "libvpx": (b"WebM Project VP9 Decoder v1.15.2\0", "1.15.2"),
    "aom": (b"AOMedia Project AV1 Decoder Inspector\0AOMedia Project AV1 Decoder 3.14.1", "3.14.1"),
    "openblas": (b"OpenBLAS 0.3.31.188.0  USE64BITINT", "0.3.31"),
    "zlib": (b" deflate 1.3.1 Copyright 1995-2024", "1.3.1"),
    "sdl": (b"SDL-release-2.32.10-0-g5d2495703", "2.32.10"),
    "flac": (b"reference libFLAC 1.5.0 20250211", "1.5.0"),
}


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A project with a wheel that brings two libraries and has one linked in."""
    place = tmp_path / "site"
    files = {
        "video.libs/libcrypto-5409cd36.so.1.1.1k": b"\0OpenSSL 1.1.1k  25 Mar 2021\0",
        "video.libs/liblzma-de26b416.so.5.8.4": b"nothing that tells a version",
        "video/_video.abi3.so": b"extension\0OpenSSL 1.1.1k  25 Mar 2021\0libpng version 1.6.58\n",
        "video/readme.txt": b"OpenSSL 9.9.9  1 Jan 2030",
    }
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)
    for name, needs in (("edge-difom", "Requires-Dist: video\n"), ("video", "")):
        info = place / f"{name.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        text = f"Metadata-Version: 2.4\nName: {name}\nVersion: 1.0\n{needs}"
        (info / "METADATA").write_text(text)
    listed = "".join(f"{name},,\n" for name in (*files, "video/gone.so"))
    (place / "video-1.0.dist-info/RECORD").write_text(listed)
    return place


def test_a_library_inside_a_wheel_is_named_by_its_own_words(site: Path) -> None:
    packages = needed([], path=[str(site)])
    parts = {part.ref: part for part in scan(packages, [str(site)])}
    openssl = parts["pkg:generic/openssl@1.1.1k"]
    assert openssl.files == (
        "video.libs/libcrypto-5409cd36.so.1.1.1k",
        "video/_video.abi3.so",
    )
    assert openssl.owners == ("pkg:pypi/video@1.0",)
    assert openssl.cpe == "cpe:2.3:a:openssl:openssl:1.1.1k:*:*:*:*:*:*:*"
    assert "pkg:generic/libpng@1.6.58" in parts
    assert "pkg:generic/xz@5.8.4" in parts, "by the name of its file"
    assert not [ref for ref in parts if "9.9.9" in ref]


def test_every_compiled_file_has_its_hash(site: Path) -> None:
    files = [
        part for part in scan(needed([], path=[str(site)]), [str(site)]) if part.kind == "file"
    ]
    assert [part.name for part in files] == [
        "video.libs/libcrypto-5409cd36.so.1.1.1k",
        "video.libs/liblzma-de26b416.so.5.8.4",
        "video/_video.abi3.so",
    ]
    for part in files:
        assert part.sha256 == hashlib.sha256((site / part.name).read_bytes()).hexdigest()
    assert files[0].version == "1.1.1k"
    assert files[2].version == UNKNOWN


@pytest.mark.parametrize("product", [each for each in PRODUCTS if each.mark], ids=lambda p: p.name)
def test_a_product_is_known_by_its_words(product: object) -> None:
    assert product in PRODUCTS
    product_found = next(each for each in PRODUCTS if each is product)
    data, version = WORDS[product_found.name]
    assert read_version(product_found, b"before " + data + b" after") == version
    assert read_version(product_found, b"nothing of it") == ""
    assert read_version(product_found, product_found.mark) == ""


def test_the_package_has_the_hash_of_its_record(site: Path) -> None:
    by_name = {package.name: package for package in needed([], path=[str(site)])}
    record = (site / "video-1.0.dist-info/RECORD").read_bytes()
    assert by_name["video"].record == hashlib.sha256(record).hexdigest()
    assert by_name["video"].archive == ""
    assert by_name["edge-difom"].record == ""
    origin = '{"url": "file:///video.whl", "archive_info": {"hashes": {"sha256": "ab"}}}'
    (site / "video-1.0.dist-info/direct_url.json").write_text(origin)
    again = {package.name: package for package in needed([], path=[str(site)])}
    assert again["video"].archive == "ab"


def test_packages_of_the_system_are_known_by_their_source() -> None:
    text = (
        "libssl3:amd64\t1:3.0.11-1\tamd64\topenssl\t1:3.0.11-1\tDebian <a@b.c>\tinstalled\n"
        "gone\t1\tall\tgone\t1\tx\tconfig-files\n"
    )
    (part,) = read_dpkg(text, {"ID": "debian", "VERSION_ID": "12"})
    assert part.name == "libssl3"
    assert part.purl == "pkg:deb/debian/libssl3@1%3A3.0.11-1?arch=amd64&distro=debian-12"
    assert (part.ecosystem, part.known_as) == ("Debian:12", "openssl")


def test_a_system_without_dpkg_has_an_interpreter_all_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert [part.name for part in system_parts()][1:] == ["linux", "python"]


def test_the_firmware_and_its_codec_have_hashes(tmp_path: Path) -> None:
    firmware, codec = firmware_parts()
    assert (firmware.kind, codec.name) == ("firmware", "zcbor")
    assert codec.version != UNKNOWN
    assert codec.owners == (firmware.ref,)
    assert len(firmware.sha256) == len(codec.sha256) == 64
    assert "codec/zcbor_decode.c" in codec.files


def test_support_is_told_where_it_is_known() -> None:
    rules = read_rules()
    old = support_of("pkg:generic/openssl@1.1.1k", rules, date(2024, 1, 1))
    assert (old.level, old.end) == ("no longer maintained", "2023-09-11")
    before = support_of("pkg:generic/openssl@1.1.1k", rules, date(2023, 9, 11))
    assert before.level == "actively maintained"
    for other in ("pkg:generic/openssl@1.1.10", "pkg:pypi/openssl@1.1.1k", "pkg:pypi/x", ""):
        assert support_of(other, rules, date(2024, 1, 1)).level == UNKNOWN
    every = [Rule(purl="pkg:pypi/fast_engine", level="abandoned")]
    assert support_of("pkg:pypi/fast-engine@2", every, date(2024, 1, 1)).level == "abandoned"
    assert support_of("pkg:pypi/fast-engine@2", every, date(2024, 1, 1)).end == UNKNOWN


def test_a_file_of_support_that_is_none_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "support.json"
    for text in ("{}", '[{"purl": "pkg:pypi/a", "stop": 1}]', "["):
        file.write_text(text)
        with pytest.raises(DataError, match="cannot be read"):
            read_rules(file)
    file.write_text('[{"purl": "pkg:pypi/a", "level": "fine"}]')
    with pytest.raises(DataError, match="unknown level"):
        read_rules(file)
