"""From the bytes of a body to data."""

from __future__ import annotations

import codecs
import encodings
import gzip
from dataclasses import replace
from typing import Any
from urllib.parse import unquote_plus

import pytest

from tests.support import make_event
from trafficrelay.body import MAX_FIELDS, read_data, read_events, read_query
from trafficrelay.body.text import _CHARSETS, _OTHER_PERCENT
from trafficrelay.errors import Malformed, UnsupportedBody
from trafficrelay.event import Event

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def read(body: bytes, content_type: str = JSON, *, method: str = "POST", encoding: str = "", query: Any = None) -> Any:
    return read_data(
        body, method=method, content_type=content_type, content_encoding=encoding, query={} if query is None else query
    )


# JSON


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b'{"a": [1, 2.5, true, null, "x"]}', {"a": [1, 2.5, True, None, "x"]}),
        (b" 1 ", 1),
        (b"null", None),
        (b'""', ""),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b"18446744073709551616", 2**64),
        (b"-0", 0),
        (b"1e308", 1e308),
        ('"é☃😀"'.encode(), "é☃😀"),
        (rb'"\ud83d\ude00"', "😀"),
        (b'"\\u0000"', "\0"),
        (codecs.BOM_UTF8 + b'{"a": 1}', {"a": 1}),
    ],
)
def test_json_gives_what_it_says(body: bytes, data: Any) -> None:
    """JSON gives what it says."""
    assert read(body) == data


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json",
        "Application/JSON",
        " application/json ",
        "application/json; charset=utf-8",
        'application/json; charset="UTF-8"',
        "application/json;charset=utf8",
        "application/json; profile=x",
        "application/vnd.github+json",
        "application/cloudevents+json; charset=utf-8",
        "application/problem+json",
        "application/json;",
    ],
)
def test_content_type_of_json_is_known_in_every_spelling(content_type: str) -> None:
    """A content type of JSON is known in every spelling."""
    assert read(b'{"a": "\xc3\xa9"}', content_type) == {"a": "é"}


@pytest.mark.parametrize("charset", ["latin-1", "iso-8859-1", "windows-1252", "utf-16", "utf-32", "utf-8-sig"])
def test_json_is_read_in_the_charset_that_it_names(charset: str) -> None:
    """JSON is read in the charset that it names."""
    body = '{"a": "é"}'.encode(charset)

    assert read(body, f"application/json; charset={charset}") == {"a": "é"}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(body, id=str(body[:12]))
        for body in (
            b"",
            b" ",
            b"{",
            b"{'a': 1}",
            b"[1,]",
            b'{"a": 1,}',
            b"[1] x",
            b"NaN",
            b"[Infinity]",
            b"-Infinity",
            b"01",
            b"1e999",
            b"nul",
            b'"\t"',
            b'"\xff"',
            b"\xff",
            rb'"\ud800"',
            rb'"\ud800x"',
            rb'"\ud800\u0041"',
            rb'"\udc00"',
            b'"\xed\xa0\x80"',
            b"// comment\n1",
            b"[" * 100_000,
            b"[" * 100_000 + b"]" * 100_000,
            b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
            b"9" * 1_000_000,
            b"-" + b"9" * 1_000_000,
            b"a=1",
            codecs.BOM_UTF16_LE + '"x"'.encode("utf-16-le"),
        )
    ],
)
def test_what_is_no_json_is_malformed(body: bytes) -> None:
    """What is no JSON is malformed."""
    with pytest.raises(Malformed):
        read(body)


def test_error_does_not_repeat_the_body() -> None:
    """An error does not repeat the body."""
    with pytest.raises(Malformed) as caught:
        read(b'{"card": "4111-secret" oops}')

    assert "4111" not in caught.value.detail


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", FORM])
@pytest.mark.parametrize(
    ("body", "charset"), [(b"\xff", "utf-8"), (b"\xff", "ascii"), (b"abc", "utf-16"), (b"\x00\xd8", "utf-16-le")]
)
def test_body_that_is_not_in_its_charset_is_malformed(body: bytes, charset: str, content_type: str) -> None:
    """A body that is not in its charset is malformed."""
    with pytest.raises(Malformed):
        read(body, f"{content_type}; charset={charset}")


@pytest.mark.parametrize("content_type", ["application/json", "text/plain", FORM])
@pytest.mark.parametrize(
    "charset",
    [
        *("klingon", "zlib", "zlib_codec", "bz2", "hex", "base64", "rot13", "uu", "quopri"),
        *("punycode", "idna", "unicode_escape", "unicode-escape", "raw_unicode_escape", "undefined"),
        "utf-7",  # can spell lone surrogates, which nothing behind it can write again
        *("x\0y", "é", "a" * 10_000, "../utf_8", "utf_8.StreamReader"),
    ],
)
def test_charset_that_no_sender_means_is_not_supported(charset: str, content_type: str) -> None:
    """A charset that is none, or is no text, is a 415."""
    with pytest.raises(UnsupportedBody, match="charset"):
        read(b'"x"', f"{content_type}; charset={charset}")


def test_charsets_that_senders_make_up_are_not_remembered() -> None:
    """Python's registry keeps every unknown name for ever: what a sender chooses must not get there."""
    before = set(encodings._cache)  # type: ignore[attr-defined]

    for number in range(3):
        with pytest.raises(UnsupportedBody):
            read(b"x", f"text/plain; charset=made-up-{number}")

    assert not [name for name in set(encodings._cache) - before if "made" in name]  # type: ignore[attr-defined]


# Forms and queries


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (b"", {}),
        (b"a=1", {"a": "1"}),
        (b"a=1&b=2", {"a": "1", "b": "2"}),
        (b"a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        (b"a=&b", {"a": "", "b": ""}),
        (b"a=&a=", {"a": ["", ""]}),
        (b"a=x+y%20z", {"a": "x y z"}),
        (b"a=%C3%A9", {"a": "é"}),
        ("a=é".encode(), {"a": "é"}),
        (b"a=%ff", {"a": "\N{REPLACEMENT CHARACTER}"}),
        (b"a=1;b=2", {"a": "1;b=2"}),
        (b"payload=%7B%22a%22%3A1%7D", {"payload": '{"a":1}'}),
        (b"&&", {}),
        (b"=x", {"": "x"}),
    ],
)
def test_form_gives_a_dict_with_repeated_keys_as_lists(body: bytes, data: Any) -> None:
    """A form gives a dict with repeated keys as lists."""
    assert read(body, FORM) == data


@pytest.mark.parametrize("body", [b"a=%E9", b"a=\xe9"])
def test_form_is_read_in_the_charset_that_it_names(body: bytes) -> None:
    """A form is read in the charset that it names."""
    assert read(body, f"{FORM}; charset=latin-1") == {"a": "é"}


@pytest.mark.parametrize(
    ("value", "charset"),
    [
        ("é%41", "utf-8"),
        ("é%zz%4", "utf-8"),
        ("%%%é%C3%A9\\x41\\", "utf-8"),
        ("é%E9%", "windows-1252"),
        ("ア%41%83%41", "shift_jis"),
        ("x" * 16_383 + "é%41" + "%C3%A9" * 9_000, "utf-8"),
    ],
)
def test_form_with_characters_and_escapes_is_read_as_python_reads_it(value: str, charset: str) -> None:
    """A form in which there are other characters beside escapes, whole ones and broken, is read as Python reads it."""
    expected = unquote_plus(value, encoding=charset, errors="replace")

    assert read(b"a=" + value.encode(charset), f"{FORM}; charset={charset}") == {"a": expected}


@pytest.mark.parametrize("charset", ["utf-16", "utf-8-sig", "iso2022_jp", "cp037"])
def test_escapes_beside_characters_of_an_odd_charset_are_utf_8(charset: str) -> None:
    """Escapes beside characters of a charset in which a percent sign is no byte of its own are UTF-8."""
    text = "a=é%C3%A9" if charset != "iso2022_jp" else "a=ゴ%C3%A9"

    assert read(text.encode(charset), f"{FORM}; charset={charset}") == {"a": text[2] + "é"}


@pytest.mark.parametrize("charset", sorted(_CHARSETS))
def test_percent_sign_is_a_byte_of_its_own_in_every_other_charset(charset: str) -> None:
    """A percent sign, and a hexadecimal digit after it, is a byte of its own in every other charset."""
    signs = "%0123456789abcdefABCDEF"
    some = [chr(code) for code in (*range(128), *range(0xA0, 0x100), *range(0x400, 0x460), *range(0x3040, 0x30FF))]
    others = "".join(one for one in some if one != "%").encode(charset, "ignore")

    own = b"%" not in others and signs.encode(charset, "replace") == signs.encode()
    assert own is (charset not in _OTHER_PERCENT)


def test_form_may_have_as_many_fields_as_the_limit() -> None:
    """A form may have as many fields as the limit."""
    fields = [f"f{number}=1" for number in range(MAX_FIELDS)]

    assert len(read("&".join(fields).encode(), FORM)) == MAX_FIELDS


@pytest.mark.parametrize("separator", ["&", "=1&"])
def test_too_many_fields_are_malformed(separator: str) -> None:
    """Too many fields are malformed."""
    text = separator.join(["a"] * (MAX_FIELDS + 1))

    with pytest.raises(Malformed, match=str(MAX_FIELDS)):
        read(text.encode(), FORM)
    with pytest.raises(Malformed, match=str(MAX_FIELDS)):
        read_query(text)


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("", {}),
        ("a=1&b=&a=2", {"a": ["1", "2"], "b": ""}),
        ("a=%C3%A9", {"a": "é"}),
        ("a=%ff", {"a": "\N{REPLACEMENT CHARACTER}"}),
        # PEP 3333 hands bytes over as latin-1
        ("a=\xc3\xa9", {"a": "é"}),
        ("a=\xff", {"a": "\N{REPLACEMENT CHARACTER}"}),
    ],
)
def test_query_is_read_as_utf_8(text: str, query: Any) -> None:
    """A query is read as UTF-8."""
    assert read_query(text) == query


# Everything else


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        ("text/plain", "é"),
        ("text/xml; charset=utf-8", "é"),
        ("text/plain; charset=latin-1", "Ã©"),
        ("application/octet-stream", b"\xc3\xa9"),
        ("application/xml", b"\xc3\xa9"),
        ("application/json-seq", b"\xc3\xa9"),
        ("json", b"\xc3\xa9"),
        ("", b"\xc3\xa9"),
        (";", b"\xc3\xa9"),
    ],
)
def test_text_is_decoded_and_the_rest_stays_bytes(content_type: str, data: Any) -> None:
    """Text is decoded, and bodies of every other type stay bytes."""
    assert read(b"\xc3\xa9", content_type) == data


def test_byte_order_mark_of_text_is_left_out() -> None:
    """A byte order mark of text is left out."""
    assert read(codecs.BOM_UTF8 + b"hi", "text/plain") == "hi"


@pytest.mark.parametrize(
    ("method", "content_type", "data"),
    [
        ("GET", "", {"q": "1"}),
        ("GET", JSON, {"q": "1"}),
        ("DELETE", JSON, {"q": "1"}),
        ("POST", "", {"q": "1"}),
        ("PUT", "", {"q": "1"}),
        ("POST", FORM, {}),
        ("POST", "text/plain", ""),
        ("POST", "application/octet-stream", b""),
    ],
)
def test_empty_body_gives_the_query_where_none_was_expected(method: str, content_type: str, data: Any) -> None:
    """An empty body gives the query where none was expected."""
    assert read(b"", content_type, method=method, query={"q": "1"}) == data


def test_body_of_a_get_is_read() -> None:
    """A body of a GET is read."""
    assert read(b'{"a": 1}', method="GET", query={"q": "1"}) == {"a": 1}


@pytest.mark.parametrize("encoding", ["gzip", " GZIP ", "x-gzip", "gzip, identity"])
def test_compressed_body_is_inflated(encoding: str) -> None:
    """A compressed body is inflated."""
    assert read(gzip.compress(b'{"a": 1}'), encoding=encoding) == {"a": 1}


@pytest.mark.parametrize("encoding", ["compress", "gzip2", "aes128gcm", "gzip;q=1", "*"])
def test_body_in_an_unknown_coding_is_not_supported(encoding: str) -> None:
    """A body in an unknown coding is not supported."""
    with pytest.raises(UnsupportedBody, match="coding"):
        read(b"{}", encoding=encoding)


@pytest.mark.parametrize("encoding", ["", "identity", " Identity "])
def test_identity_is_no_compression(encoding: str) -> None:
    """The coding identity is no compression."""
    assert read(b"{}", encoding=encoding) == {}


@pytest.mark.parametrize("content_type", ["multipart/mixed; boundary=x", "Multipart/Related", "multipart/"])
def test_multipart_body_of_another_kind_is_not_supported(content_type: str) -> None:
    """A multipart body that is no form is not supported."""
    with pytest.raises(UnsupportedBody, match="multipart"):
        read(b"--x--", content_type)


# Events


def test_event_is_the_same_but_for_its_data() -> None:
    """An event is the same but for its data."""
    event = make_event(body=b'{"a": 1}', data=None, headers={"Content-Type": JSON, "X-Kept": "1"})

    assert read_events(event, limit=100) == [replace(event, data={"a": 1})]


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE"])
def test_event_without_a_body_has_its_query_whatever_the_route_reads_bodies_as(method: str) -> None:
    """An event without a body has its query, whatever the route reads bodies as."""
    event = make_event(method=method, body=b"", data=None, query={"q": "1"}, headers={"Content-Type": JSON})

    for content_type in ("", JSON, "multipart/form-data", "application/x-ndjson"):
        assert read_events(event, limit=100, content_type=content_type, split=True) == [replace(event, data={"q": "1"})]


def test_text_of_a_beacon_is_read_as_what_the_route_says() -> None:
    """Text of a beacon is read as what the route says, and its header says so when it is read again."""
    event = make_event(body=b'{"a": 1}', data=None, headers={"Content-Type": "text/plain;charset=UTF-8"})

    (as_it_is,) = read_events(event, limit=100)
    (read_as,) = read_events(event, limit=100, content_type=JSON)

    assert as_it_is.data == '{"a": 1}'
    assert read_as.data == {"a": 1}
    assert read_as.headers["content-type"] == "application/json; charset=utf-8"
    assert read_events(read_as, limit=100) == [read_as]


@pytest.mark.parametrize(
    ("content_type", "data"),
    [
        (JSON, {"a": "é"}),
        ("application/json; charset=latin-1", {"a": "é"}),
        ("text/plain; charset=windows-1251", '{"a":"й"}'),
        ("application/octet-stream", b'{"a":"\xe9"}'),
    ],
)
def test_charset_of_a_sender_goes_with_the_type_of_the_route(content_type: str, data: Any) -> None:
    """The charset of a sender goes with the type of the route, unless that has one."""
    event = make_event(body='{"a":"é"}'.encode("latin-1"), headers={"Content-Type": "text/plain; charset=latin-1"})

    (as_said,) = read_events(event, limit=100, content_type=content_type)

    assert as_said.data == data


def test_event_read_again_as_it_was_stored_gives_the_same() -> None:
    """An event read again as it was stored gives the same."""
    headers = {"Content-Type": "text/plain", "Content-Encoding": "gzip", "Content-Length": "28"}
    (event,) = read_events(
        make_event(body=gzip.compress(b'{"a": 1}'), headers=headers, data=None), limit=100, content_type=JSON
    )

    again = Event.from_dict(event.to_dict())

    assert read_events(again, limit=len(again.body)) == [event]
