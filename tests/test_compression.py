"""Compressed bodies: every coding, everything that can be wrong with one, and bombs."""

from __future__ import annotations

import gzip
import logging
import os
import random
import subprocess
import sys
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import brotli
import pytest
from webtest import TestApp

from tests.support import make_event, make_relay, make_route
from trafficrelay.body import compression, packages, read_data, read_events
from trafficrelay.body.compression import MAX_MEMBERS, accepted, inflate, largest
from trafficrelay.errors import BodyTooLarge, Malformed, UnsupportedBody
from trafficrelay.event import Event

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MIB: Final = 1 << 20
PLAIN: Final = b'{"order": 1, "items": ["a", "b"]}'


def raw_deflate(body: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-15)
    return compressor.compress(body) + compressor.flush()


COMPRESS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "x-gzip": gzip.compress,
    "deflate": zlib.compress,
    "deflate without its header": raw_deflate,
    "br": brotli.compress,
    "zstd": zstd.compress,
}


def compressed(name: str, body: bytes) -> tuple[bytes, str]:
    """Compress a body, and give what the header says of it too."""
    return COMPRESS[name](body), name.partition(" ")[0]


@pytest.fixture(autouse=True)
def packages_are_looked_for_anew() -> Iterator[None]:
    packages.found.cache_clear()
    packages._tell.cache_clear()
    yield
    packages.found.cache_clear()
    packages._tell.cache_clear()


@pytest.mark.parametrize("body", [PLAIN, b"1", b"x" * 300_000, os.urandom(50_000)], ids=["json", "1", "long", "noise"])
@pytest.mark.parametrize("name", list(COMPRESS))
def test_body_is_what_it_was_before_it_was_compressed(name: str, body: bytes) -> None:
    """A body is what it was before it was compressed."""
    assert inflate(*compressed(name, body), limit=MIB) == body


def test_event_of_a_compressed_body_is_that_of_the_plain_one() -> None:
    """The event of a compressed body is that of the plain one: body, data, headers."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip", "Content-Length": "53", "X-Kept": "1"}

    (event,) = read_events(make_event(body=gzip.compress(PLAIN), data=None, headers=headers), limit=MIB)

    assert (event.body, event.data["order"]) == (PLAIN, 1)
    assert dict(event.headers) == {"content-type": "application/json", "x-kept": "1"}


def test_several_codings_are_undone_from_the_last_to_the_first() -> None:
    """Several codings are undone from the last to the first."""
    body = brotli.compress(gzip.compress(PLAIN))

    assert inflate(body, "gzip, BR", MIB) == inflate(body, "gzip,identity,,br", MIB) == PLAIN


def test_third_coding_is_not_supported() -> None:
    """A third coding is not supported."""
    with pytest.raises(UnsupportedBody, match="3 times") as caught:
        inflate(gzip.compress(PLAIN), "gzip, gzip, gzip", MIB)

    assert caught.value.headers["Accept-Encoding"] == "gzip, deflate, br, zstd"


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_members_that_follow_each_other_are_one_body(name: str) -> None:
    """Members that follow each other are one body."""
    first, coding = compressed(name, PLAIN[:10])
    second, _ = compressed(name, PLAIN[10:])

    assert inflate(first + second, coding, MIB) == PLAIN


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_more_members_than_any_sender_makes_are_malformed(name: str) -> None:
    """More members than any sender makes are malformed."""
    member, coding = compressed(name, b"")

    assert inflate(member * MAX_MEMBERS, coding, MIB) == b""
    with pytest.raises(Malformed, match="members"):
        inflate(member * (MAX_MEMBERS + 1), coding, MIB)


@pytest.mark.parametrize("name", list(COMPRESS))
def test_body_that_is_cut_short_is_malformed_wherever_it_ends(name: str) -> None:
    """A body that is cut short is malformed, wherever it ends."""
    whole, coding = compressed(name, PLAIN)

    for end in range(1, len(whole)):
        with pytest.raises(Malformed):
            inflate(whole[:end], coding, MIB)


@pytest.mark.parametrize("garbage", [b"\0", b"garbage", b"\x1f\x8b", b"\n"])
@pytest.mark.parametrize("name", list(COMPRESS))
def test_something_behind_a_body_is_malformed(name: str, garbage: bytes) -> None:
    """Something behind a body is malformed."""
    whole, coding = compressed(name, PLAIN)

    with pytest.raises(Malformed):
        inflate(whole + garbage, coding, MIB)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_what_follows_a_member_and_is_none_is_said_to_be_what_is_wrong(name: str) -> None:
    """What follows a member and is none, as zeros that fill a block up, is said to be what is wrong."""
    whole, coding = compressed(name, PLAIN)

    with pytest.raises(Malformed, match="What follows in the compressed body"):
        inflate(whole + bytes(100), coding, MIB)


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, br"])
@pytest.mark.parametrize("body", [PLAIN, b"\0", b"\xff" * 100, b"x"], ids=["json", "0", "ff", "x"])
def test_body_that_is_not_in_its_coding_is_malformed(body: bytes, coding: str) -> None:
    """A body that is not in its coding is malformed."""
    with pytest.raises(Malformed):
        inflate(body, coding, MIB)


@pytest.mark.parametrize("name", ["gzip", "deflate"])
def test_body_whose_checksum_is_wrong_is_malformed(name: str) -> None:
    """A body whose checksum is wrong is malformed."""
    whole, coding = compressed(name, PLAIN)
    at = -5 if name == "gzip" else -1

    with pytest.raises(Malformed):
        inflate(whole[:at] + bytes([whole[at] ^ 1]) + (whole[at + 1 :] if at < -1 else b""), coding, MIB)


@pytest.mark.parametrize("name", list(COMPRESS))
def test_body_may_be_as_large_as_the_limit_and_no_larger(name: str) -> None:
    """A body may be as large as the limit and no larger, whatever it consists of."""
    for body in (b"0" * 100_000, random.Random(1).randbytes(100_000)):
        whole, coding = compressed(name, body)

        assert inflate(whole, coding, len(body)) == body
        assert inflate(gzip.compress(whole), f"{coding}, gzip", len(body)) == body
        for limit in (0, 1, len(body) - 1):
            with pytest.raises(BodyTooLarge):
                inflate(whole, coding, limit)


def test_zstd_that_reaches_further_back_than_http_allows_is_malformed() -> None:
    """A zstd body that reaches further back than HTTP allows, 8 MB, is malformed: its window is what it takes."""
    options = {zstd.CompressionParameter.window_log: 24, zstd.CompressionParameter.enable_long_distance_matching: 1}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(PLAIN) + compressor.flush()

    with pytest.raises(Malformed):
        inflate(body, "zstd", MIB)


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_empty_body_is_no_compressed_one(coding: str) -> None:
    """An empty body is no compressed one, whatever its header says."""
    event = make_event(body=b"", data=None, method="GET", query={"q": "1"}, headers={"Content-Encoding": coding})

    (read,) = read_events(event, limit=MIB)

    assert (read.data, dict(read.headers)) == ({"q": "1"}, {})


def test_data_of_a_compressed_body_is_bounded_too() -> None:
    """The data of a compressed body is bounded too where nobody says how large it may be."""
    with pytest.raises(BodyTooLarge):
        read_data(gzip.compress(b"0" * 2 * MIB), method="POST", content_type="", content_encoding="gzip", query={})


# Bombs

BOMB: Final = """
import resource, sys, zlib
from trafficrelay.body.compression import inflate
from trafficrelay.errors import BodyTooLarge

body = sys.stdin.buffer.read()
inflate(zlib.compress(b"warm"), "deflate", 100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    inflate(body, sys.argv[1], 1 << 20)
except BodyTooLarge as error:
    print(error.status, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def gigabyte(compressor: Any) -> bytes:
    """Compress a gigabyte of zeros."""
    chunk = bytes(MIB)
    write = getattr(compressor, "compress", None) or compressor.process
    finish = getattr(compressor, "flush", None)
    finish = compressor.finish if hasattr(compressor, "finish") else finish
    return b"".join([*(write(chunk) for _ in range(1024)), finish()])


@pytest.mark.parametrize(
    ("coding", "make"),
    [
        ("gzip", lambda: zlib.compressobj(1, wbits=31)),
        ("deflate", lambda: zlib.compressobj(1, wbits=15)),
        ("br", lambda: brotli.Compressor(quality=1)),
        ("zstd", lambda: zstd.ZstdCompressor(level=1)),
    ],
    ids=["gzip", "deflate", "br", "zstd"],
)
def test_gigabyte_in_a_small_body_is_refused_in_bounded_memory(coding: str, make: Callable[[], Any]) -> None:
    """A gigabyte in a small body is refused in bounded memory, what the libraries take included."""
    bomb = gigabyte(make())

    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            inflate(bomb, coding, MIB)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    run = subprocess.run(
        [sys.executable, "-c", BOMB, coding],
        input=bomb,
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    status, grown = run.stdout.split()

    assert len(bomb) < 6 * MIB
    assert peak < 8 * MIB
    assert status == b"413"
    assert int(grown) < 32 * 1024  # KiB on Linux; a module to import and what the library itself takes are in it


def test_bomb_in_a_bomb_is_refused_at_the_outer_one() -> None:
    """A bomb in a bomb is refused at the outer one."""
    inner = gzip.compress(bytes(8 * MIB)) * 1000

    with pytest.raises(BodyTooLarge):
        inflate(gzip.compress(inner), "gzip, gzip", MIB)


# What is not there


def test_sender_is_told_which_codings_are_read() -> None:
    """The sender of an unknown coding is told which ones are read."""
    relay, outbox = make_relay(make_route())

    answer = TestApp(relay.app).post("/x", b"{}", {"Content-Encoding": "compress"}, status=415)

    assert answer.headers["Accept-Encoding"] == "gzip, deflate, br, zstd"
    assert not outbox.jobs


@pytest.mark.parametrize(("module", "coding"), [("brotli", "br"), ("backports.zstd", "zstd")])
def test_coding_whose_package_is_not_installed_is_not_supported(
    module: str, coding: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A coding without its package is not supported; what to install is in the log, once, and in no answer."""
    for name in (module, "compression.zstd"):
        monkeypatch.setitem(sys.modules, name, None)
    whole, _ = compressed(coding, PLAIN)

    with caplog.at_level(logging.INFO, "trafficrelay"):
        for _ in range(3):
            with pytest.raises(UnsupportedBody) as caught:
                inflate(whole, coding, MIB)

    (said,) = caplog.messages
    assert "pip install 'trafficrelay[bodies]'" in said
    assert module in said
    assert "pip" not in caught.value.detail
    assert coding not in caught.value.headers["Accept-Encoding"].split(", ")
    assert inflate(gzip.compress(PLAIN), "gzip", MIB) == PLAIN


def test_package_that_cannot_be_told_where_to_stop_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A brotli that cannot be told where to stop is not used: it would inflate a bomb."""

    class Old:
        def process(self, data: bytes) -> bytes:
            raise AssertionError

    monkeypatch.setattr(brotli, "Decompressor", Old)

    assert "br" not in accepted()
    with pytest.raises(UnsupportedBody):
        inflate(brotli.compress(PLAIN), "br", MIB)


def test_nothing_is_imported_before_a_body_needs_it() -> None:
    """No package is imported before a body needs it."""
    code = (
        "import sys, trafficrelay.app\n"
        "print([name for name in ('brotli', 'backports.zstd', 'compression.zstd', 'multipart') if name in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[1], text=True
    )

    assert run.stdout.strip() == "[]"


def test_every_coding_of_the_table_has_a_test() -> None:
    """Every coding that is read has a test."""
    assert set(compression._CODINGS) == {name.partition(" ")[0] for name in COMPRESS}


def test_stored_event_is_the_inflated_one() -> None:
    """What is stored of an event is what it was inflated to, so nothing inflates it again."""
    (event,) = read_events(
        make_event(body=gzip.compress(PLAIN), headers={"Content-Type": "application/json", "Content-Encoding": "gzip"}),
        limit=MIB,
    )

    assert Event.from_dict(event.to_dict()).body == PLAIN


@pytest.mark.parametrize(
    ("codings", "size", "most"),
    [("gzip", 10, 10_320), ("X-Gzip ", 10, 10_320), ("deflate", 10**6, 10**6), ("br", 10, 10**6)],
)
def test_what_a_body_may_become_is_known_beforehand(codings: str, size: int, most: int) -> None:
    """For who has to have room for it."""
    assert largest(size, codings, 10**6) == most


def test_no_gzip_becomes_more_than_that() -> None:
    """The most that deflate does: one byte, again and again."""
    body = gzip.compress(bytes(5_000_000), 9)

    assert len(inflate(body, "gzip", 10**7)) <= largest(len(body), "gzip", 10**9)
