"""Forms with files: what becomes of each part, and all that can be wrong with a body of several."""

from __future__ import annotations

import base64
import logging
import sys
import tempfile
import tracemalloc
import types
from collections.abc import Iterator
from typing import Any

import pytest
from webtest import TestApp, Upload

from tests.support import make_event, make_relay, make_route
from trafficrelay.body import MAX_FIELDS, packages, read_data, read_events
from trafficrelay.errors import Malformed, UnsupportedBody

MULTIPART = "multipart/form-data; boundary=x"
MIB = 1 << 20


@pytest.fixture(autouse=True)
def packages_are_looked_for_anew() -> Iterator[None]:
    packages.found.cache_clear()
    packages._tell.cache_clear()
    yield
    packages.found.cache_clear()
    packages._tell.cache_clear()


def part(disposition: str, content: bytes, *headers: str) -> bytes:
    head = "\r\n".join([f"Content-Disposition: form-data; {disposition}", *headers]).encode()
    return b"--x\r\n" + head + b"\r\n\r\n" + content + b"\r\n"


def read(*parts: bytes, content_type: str = MULTIPART, end: bytes = b"--x--\r\n") -> Any:
    body = b"".join(parts) + end
    return read_data(body, method="POST", content_type=content_type, content_encoding="", query={})


# Fields and files


def test_fields_are_strings_and_what_is_sent_several_times_is_a_list() -> None:
    """Fields are strings, and what is sent several times is a list, as in any form."""
    data = read(
        part('name="a"', b"1"),
        part('name="b"', b""),
        part('name="c"', b"2"),
        part('name="c"', b"3"),
        part('name="c"', b"4\r\n--y"),
    )

    assert data == {"a": "1", "b": "", "c": ["2", "3", "4\r\n--y"]}


def test_file_is_its_bytes_with_name_and_type() -> None:
    """A file is its bytes, with its name and type; several are a list."""
    one = part('name="f"; filename="é.png"', b"\x89PNG\r\n\0", "Content-Type: image/PNG; x=1")
    other = part('name="f"; filename="b"', b"")

    assert read(one, other) == {
        "f": [
            {"filename": "é.png", "content_type": "image/png", "content": b"\x89PNG\r\n\0"},
            {"filename": "b", "content_type": "application/octet-stream", "content": b""},
        ]
    }


def test_file_that_a_browser_sends_for_none_has_no_name() -> None:
    """The file that a browser sends where none was chosen has no name and no content."""
    data = read(part('name="f"; filename=""', b"", "Content-Type: application/octet-stream"))

    assert data == {"f": {"filename": "", "content_type": "application/octet-stream", "content": b""}}


@pytest.mark.parametrize("name", ["../../etc/passwd", r"C:\Users\me\passwd", "/etc/passwd", "a/b\\passwd", "passwd"])
def test_name_of_a_file_has_no_path(name: str) -> None:
    """The name of a file has no path, whatever its sender says."""
    assert read(part(f'name="f"; filename="{name}"', b""))["f"]["filename"] == "passwd"


@pytest.mark.parametrize(
    ("content_type", "is_file"),
    [
        ("text/plain", False),
        ("text/csv; charset=utf-8", False),
        ("application/json", False),
        ("application/vnd.shop+json", False),
        ("application/octet-stream", True),
        ("image/png", True),
    ],
)
def test_part_without_a_file_name_is_a_file_if_its_type_is_no_text(content_type: str, is_file: bool) -> None:
    """A part without a file name is a file if its type is neither text nor JSON."""
    data = read(part('name="a"', b"1", f"Content-Type: {content_type}"))

    assert isinstance(data["a"], dict) == is_file


def test_names_of_fields_are_unquoted_and_may_be_missing() -> None:
    """The names of fields are unquoted as browsers quote them, and may be missing."""
    assert read(part('name="a%22b"', b"1"), part('x="y"', b"2")) == {'a"b': "1", "": "2"}


def test_form_without_a_part_is_empty() -> None:
    """A form without a part is empty."""
    assert read() == {}


def test_what_stands_before_and_behind_the_parts_is_passed_over() -> None:
    """What stands before and behind the parts is passed over (RFC 2046, 5.1.1)."""
    assert read(b"preamble\r\n", part('name="a"', b"1"), end=b"--x--\r\nepilogue") == {"a": "1"}


@pytest.mark.parametrize(
    "content_type",
    [
        'multipart/form-data; boundary="x"',
        "Multipart/Form-Data;boundary=x",
        "multipart/form-data; charset=utf-8; Boundary=x ; y=z",
        'multipart/form-data; y="z"; boundary="x"; a="b"',
    ],
)
def test_boundary_is_found_in_every_spelling(content_type: str) -> None:
    """The boundary is found in every spelling."""
    assert read(part('name="a"', b"1"), content_type=content_type) == {"a": "1"}


# Charsets


def test_field_is_read_in_the_charset_that_its_part_names() -> None:
    """A field is read in the charset that its part names, before the form's field _charset_ and the body's type."""
    own = part('name="a"', b"\xe9", "Content-Type: text/plain; charset=windows-1252")
    other = part('name="b"', "é".encode())
    usual = part('name="b"', b"\xe9")
    said = part('name="_charset_"', b"iso-8859-1")

    assert read(own, other) == {"a": "é", "b": "é"}
    assert read(usual, said) == {"b": "é", "_charset_": "iso-8859-1"}
    assert read(usual, content_type=f"{MULTIPART}; charset=latin-1") == {"b": "é"}


def test_field_that_is_not_in_its_charset_is_malformed() -> None:
    """A field that is not in its charset is malformed; a file may hold anything."""
    with pytest.raises(Malformed, match="utf_8"):
        read(part('name="a"', b"\xff"))

    assert read(part('name="a"; filename="b"', b"\xff"))["a"]["content"] == b"\xff"


@pytest.mark.parametrize("charset", ["klingon", "zlib", "utf-7", "x" * 300, ""])
def test_charset_that_is_not_known_is_not_supported(charset: str) -> None:
    """A charset that is not known is not supported, wherever it is named."""
    with pytest.raises(UnsupportedBody, match="charset"):
        read(part('name="a"', b"1", f"Content-Type: text/plain; charset={charset or 'hex'}"))
    with pytest.raises(UnsupportedBody, match="charset"):
        read(part('name="a"', b"1"), part('name="_charset_"', charset.encode() or b"\xff"))


# What is wrong

BROKEN: dict[str, bytes] = {
    "nothing": b"",
    "no boundary in it": b"hello",
    "no end": part('name="a"', b"1"),
    "no end of a part": b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n1',
    "no end of the headers": b'--x\r\nContent-Disposition: form-data; name="a"\r\n',
    "half an end": part('name="a"', b"1") + b"--x-",
    "boundaries alone": b"--x\r\n" * 1000,
    "lines that end in LF": part('name="a"', b"1").replace(b"\r\n", b"\n") + b"--x--\n",
    "no disposition": b"--x\r\nContent-Type: text/plain\r\n\r\n1\r\n--x--\r\n",
    "another disposition": b'--x\r\nContent-Disposition: attachment; name="a"\r\n\r\n1\r\n--x--\r\n',
    "a header without a colon": b"--x\r\nhello\r\n\r\n1\r\n--x--\r\n",
    "a header that is no UTF-8": b'--x\r\nContent-Disposition: form-data; name="\xff"\r\n\r\n1\r\n--x--\r\n',
    "another length": part('name="a"', b"1", "Content-Length: 5") + b"--x--\r\n",
    "another boundary": part('name="a"', b"1").replace(b"--x", b"--y") + b"--y--\r\n",
    "a header of 8 KB": part('name="a"', b"1", "X-Large: " + "x" * 8192) + b"--x--\r\n",
    "20 headers": part('name="a"', b"1", *(f"X-{number}: 1" for number in range(20))) + b"--x--\r\n",
}


@pytest.mark.parametrize("name", list(BROKEN))
def test_broken_body_is_malformed(name: str) -> None:
    """A broken body is malformed."""
    with pytest.raises(Malformed):
        read(BROKEN[name], end=b"")


def test_body_that_is_cut_short_is_malformed_wherever_it_ends() -> None:
    """A body that is cut short is malformed, wherever it ends."""
    whole = part('name="a"', b"1") + part('name="f"; filename="b"', b"\r\n-", "Content-Type: image/png") + b"--x--"

    for end in range(len(whole)):
        with pytest.raises(Malformed):
            read(whole[:end], end=b"")


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; boundary=é",
        "multipart/form-data; boundary=" + "x" * 300,
        "multipart/form-data; boundary=a\nb",
    ],
)
def test_body_without_a_boundary_is_malformed(content_type: str) -> None:
    """A body whose type names no boundary, or none that could be one, is malformed."""
    with pytest.raises(Malformed, match="boundary"):
        read(part('name="a"', b"1"), content_type=content_type)


@pytest.mark.parametrize(
    "content_type", ["multipart/mixed; boundary=x", "multipart/related; boundary=x", "multipart/x"]
)
def test_another_kind_of_multipart_is_not_supported(content_type: str) -> None:
    """Another kind of multipart is not supported."""
    with pytest.raises(UnsupportedBody, match="multipart/form-data"):
        read(part('name="a"', b"1"), content_type=content_type)


def test_form_may_have_as_many_parts_as_the_limit() -> None:
    """A form may have as many parts as the limit, and no more."""
    parts = [part(f'name="{number}"', b"") for number in range(MAX_FIELDS)]

    assert len(read(*parts)) == MAX_FIELDS
    with pytest.raises(Malformed, match=str(MAX_FIELDS)):
        read(*parts, part('name="one more"', b""))


def test_error_repeats_nothing_of_the_body() -> None:
    """An error repeats nothing of the body."""
    with pytest.raises(Malformed) as caught:
        read(part('name="secret-name"', b"secret", "Content-Length: 1"), end=b"")

    assert "secret" not in caught.value.detail


def test_large_file_stays_in_memory_and_takes_little_more_than_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large file stays in memory, takes little more than its size, and never gets into a temporary file."""

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError

    for name in ("TemporaryFile", "NamedTemporaryFile", "mkstemp", "SpooledTemporaryFile"):
        monkeypatch.setattr(tempfile, name, refuse)
    body = part('name="f"; filename="f"', bytes(8 * MIB), "Content-Type: image/png") + b"--x--"

    tracemalloc.start()
    try:
        content = read(body, end=b"")["f"]["content"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert len(content) == 8 * MIB
    assert peak < 28 * MIB


# Without the package


@pytest.mark.parametrize("other", [None, types.ModuleType("multipart")], ids=["none", "python-multipart"])
def test_without_the_package_multipart_is_not_supported(
    other: types.ModuleType | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Without the package, or with another of its name, multipart is not supported; the log tells what to install."""
    monkeypatch.setitem(sys.modules, "multipart", other)

    with caplog.at_level(logging.INFO, "trafficrelay"):
        for _ in range(2):
            with pytest.raises(UnsupportedBody) as caught:
                read(part('name="a"', b"1"))

    (said,) = caplog.messages
    assert "multipart" in said
    assert "pip install 'trafficrelay[bodies]'" in said
    assert "pip" not in caught.value.detail


# On the way


def test_form_with_a_file_becomes_a_job() -> None:
    """A form with a file becomes a job, in which the file's bytes are in base64."""
    relay, outbox = make_relay(make_route())

    TestApp(relay.app).post("/x", {"a": "1", "f": Upload("a.bin", b"\xff\0", "image/png")}, status=202)

    (job,) = outbox.jobs
    content = base64.b64encode(b"\xff\0").decode()
    assert job.data == {"a": "1", "f": {"filename": "a.bin", "content_type": "image/png", "content": content}}


def test_multipart_without_an_end_is_a_400() -> None:
    """A multipart body without an end is a 400."""
    relay, outbox = make_relay(make_route())

    TestApp(relay.app).post("/x", BROKEN["no end"], {"Content-Type": MULTIPART}, status=400)

    assert not outbox.jobs


def test_form_that_is_read_again_gives_the_same() -> None:
    """A form that is read again gives the same."""
    event = make_event(body=part('name="a"', b"1") + b"--x--", data=None, headers={"Content-Type": MULTIPART})

    (read_once,) = read_events(event, limit=MIB)

    assert (read_once.id, read_once.data) == (event.id, {"a": "1"})
    assert read_events(read_once, limit=MIB) == [read_once]
