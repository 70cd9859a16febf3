"""Products that a compiled library tells about itself, by its own words or by its file's name."""

from __future__ import annotations

import re
from typing import NamedTuple


class Product(NamedTuple):
    """How a product is recognized.

    Attributes:
        name: Its name.
        vendor: Vendor in the CPE dictionary.
        supplier: Who makes it.
        repository: Address of its sources without scheme.
        mark: Bytes that stand before its version in every build.
        version: Finds the version in the bytes that begin with the mark.
        libraries: File names without suffix whose version is that of the product.
    """

    name: str
    vendor: str
    supplier: str
    repository: str
    mark: bytes = b""
    version: re.Pattern[bytes] = re.compile(rb"(?!)")
    libraries: frozenset[str] = frozenset()


def _by_words(
    name: str, vendor: str, supplier: str, repository: str, mark: str, version: str
) -> Product:
    pattern = re.compile(re.escape(mark.encode()) + version.encode())
    return Product(name, vendor, supplier, repository, mark.encode(), pattern)


def _by_name(name: str, vendor: str, supplier: str, repository: str, *libraries: str) -> Product:
    return Product(name, vendor, supplier, repository, libraries=frozenset(libraries))


_NUMBER = r"(\d+(?:\.\d+)+)"
PRODUCTS = (
    _by_words(
        "openssl",
        "openssl",
        "OpenSSL Software Foundation",
        "github.com/openssl/openssl",
        "OpenSSL ",
        r"(\d+\.\d+\.\d+[a-z]{0,2})(?:-fips)?\s+(?:FIPS )?\d",
    ),
    _by_words(
        "ffmpeg",
        "ffmpeg",
        "FFmpeg project",
        "github.com/ffmpeg/ffmpeg",
        "FFmpeg version ",
        rf"n?{_NUMBER}",
    ),
    _by_words(
        "libpng",
        "libpng",
        "PNG Development Group",
        "github.com/pnggroup/libpng",
        "libpng version ",
        _NUMBER,
    ),
    _by_words(
        "libjpeg-turbo",
        "libjpeg-turbo",
        "libjpeg-turbo project",
        "github.com/libjpeg-turbo/libjpeg-turbo",
        "libjpeg-turbo version ",
        _NUMBER,
    ),
    _by_words(
        "libtiff",
        "libtiff",
        "LibTIFF project",
        "gitlab.com/libtiff/libtiff",
        "LIBTIFF, Version ",
        _NUMBER,
    ),
    _by_words(
        "libvpx",
        "webmproject",
        "WebM Project",
        "chromium.googlesource.com/webm/libvpx",
        "WebM Project VP9 Decoder v",
        _NUMBER,
    ),
    _by_words(
        "aom",
        "aomedia",
        "Alliance for Open Media",
        "aomedia.googlesource.com/aom",
        "AOMedia Project AV1 Decoder ",
        rf"v?{_NUMBER}",
    ),
    _by_words(
        "openblas",
        "openblas_project",
        "OpenBLAS project",
        "github.com/openmathlib/openblas",
        "OpenBLAS ",
        r"(\d+\.\d+\.\d+)",
    ),
    _by_words(
        "zlib", "zlib", "zlib project", "github.com/madler/zlib", " deflate ", rf"{_NUMBER} Copyr"
    ),
    _by_words("sdl", "libsdl", "SDL project", "github.com/libsdl-org/sdl", "SDL-release-", _NUMBER),
    _by_words("flac", "xiph", "Xiph.Org", "github.com/xiph/flac", "reference libFLAC ", _NUMBER),
    _by_name("xz", "tukaani", "Tukaani project", "github.com/tukaani-project/xz", "liblzma"),
    _by_name("zstandard", "facebook", "Meta", "github.com/facebook/zstd", "libzstd"),
    _by_name(
        "brotli", "google", "Google", "github.com/google/brotli", "libbrotlicommon", "libbrotlidec"
    ),
    _by_name("openjpeg", "uclouvain", "UCLouvain", "github.com/uclouvain/openjpeg", "libopenjp2"),
)
"""Products that are recognized; any other library is listed with its hash alone."""


def read_version(product: Product, data: bytes) -> str:
    """Return the version that a library's bytes tell of a product; empty if they tell none."""
    place = data.find(product.mark) if product.mark else -1
    while place >= 0:
        if match := product.version.match(data, place):
            return match[1].decode()
        place = data.find(product.mark, place + 1)
    return ""
