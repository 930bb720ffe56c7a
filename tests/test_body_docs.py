"""What docs/bodies.md shows and says is what happens."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from webtest import TestApp, Upload

from tests.support import make_event, make_relay, make_route
from trafficrelay import MemoryOutbox, Relay
from trafficrelay.body import MAX_FIELDS, read_events
from trafficrelay.body.cloudevents import MAX_ATTRIBUTES
from trafficrelay.body.compression import MAX_CODINGS, MAX_MEMBERS
from trafficrelay.body.items import NDJSON
from trafficrelay.transform import MAX_DEPTH, MAX_ITEMS

PAGE = (Path(__file__).parents[1] / "docs" / "bodies.md").read_text("utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
MULTIPART = {"Content-Type": "multipart/form-data; boundary=x"}
JSON = {"Content-Type": "application/json"}
CLOUDEVENT = {"Content-Type": "application/cloudevents+json"}
EVENT = {"specversion": "1.0", "id": "1", "source": "/", "type": "sold", "data": [1, 2]}
MAX_BODY = 100_000


def rows(heading: str) -> dict[str, str]:
    """Give the rows of the page's table that begins so: the second column by the first."""
    lines = PAGE.partition(heading)[2].partition("\n\n")[0].splitlines()[2:]
    return {cells[1].strip(): cells[2].strip() for cells in (line.split("|") for line in lines)}


READ = rows("| content type |")
REFUSED = rows("| what comes |")


def field(name: str, value: str = "1") -> bytes:
    return f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


@pytest.fixture
def shown() -> tuple[TestApp, MemoryOutbox]:
    """The relay of the page's example, in memory."""
    (code,) = BLOCKS
    names: dict[str, Any] = {}
    exec(code, names)
    relay, outbox = make_relay(*names["relay"].routes)
    assert isinstance(names["relay"], Relay)
    return TestApp(relay.app), outbox


def test_its_example_reads_what_it_says(shown: tuple[TestApp, MemoryOutbox]) -> None:
    """Its example reads what it says."""
    app, outbox = shown

    app.post("/beacon", b'{"a": 1}', {"Content-Type": "text/plain;charset=UTF-8"}, status=202)
    app.post("/import", b"[1, 2]", JSON, status=202)
    app.post("/import", b"3\n4\n", {"Content-Type": "application/x-ndjson"}, status=202)
    app.post("/upload", {"title": "Cat", "photo": Upload("cat.png", b"\xff", "image/png")}, status=202)
    app.post("/cloudevents", json.dumps(EVENT), CLOUDEVENT, status=202)

    assert [(job.function, job.data) for job in outbox.jobs] == [
        ("shop.jobs.on_beacon", {"a": 1}),
        *[("shop.jobs.on_row", number) for number in (1, 2, 3, 4)],
        ("shop.jobs.on_upload", {"title": "Cat", "name": "cat.png", "photo": "/w=="}),
        ("shop.jobs.on_event", {"type": "sold", "data": [1, 2]}),
    ]


SENT: dict[str, tuple[bytes, dict[str, str], Any]] = {
    "`application/json`, `application/*+json`": (b"[1]", JSON, [1]),
    "`application/x-ndjson`, `application/jsonl` and other spellings": (
        b"1\n\n2\n",
        {"Content-Type": "application/jsonl"},
        [1, 2],
    ),
    "`application/x-www-form-urlencoded`": (
        b"a=1&b=2&b=3",
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"a": "1", "b": ["2", "3"]},
    ),
    "`multipart/form-data`": (field("a") + b"--x--", MULTIPART, {"a": "1"}),
    "`application/cloudevents+json`, or `ce-` headers": (json.dumps(EVENT).encode(), CLOUDEVENT, [1, 2]),
    "`application/cloudevents-batch+json`": (
        json.dumps([EVENT]).encode(),
        {"Content-Type": "application/cloudevents-batch+json"},
        [1, 2],
    ),
    "`text/*`": (b"hi", {"Content-Type": "text/html"}, "hi"),
    "anything else, or no content type": (b"hi", {}, b"hi"),
    "no body, of a GET, HEAD or DELETE or without a content type": (b"", {}, {"q": "1"}),
}


def test_each_row_of_what_is_read_is_tried() -> None:
    """Each row of what is read is tried."""
    assert list(SENT) == list(READ)


@pytest.mark.parametrize("row", list(SENT))
def test_body_becomes_what_its_row_says(row: str) -> None:
    """A body becomes what its row says."""
    body, headers, data = SENT[row]

    (event,) = read_events(make_event(body=body, data=None, headers=headers, query={"q": "1"}), limit=MAX_BODY)

    assert event.data == data


TRIED: dict[str, list[tuple[bytes, dict[str, str]]]] = {
    "JSON that is none, or is nested over 100 levels": [
        (b"{", JSON),
        (b'{"a":' + b"[" * 100 + b"]" * 100 + b"}", JSON),
    ],
    "an empty body that says JSON": [(b"", JSON)],
    "a line or an item that is no JSON": [(b"[1, x]", JSON), (b"1\nx", {"Content-Type": "application/x-ndjson"})],
    "a body that is null": [(b"null", JSON)],
    "an item of a split that is null": [(b"[1, null]", JSON), (b"1\nnull", {"Content-Type": "application/x-ndjson"})],
    "bytes that are not in the charset that they name": [(b"\xff", {"Content-Type": "text/plain"})],
    "a form with more than 1,000 fields": [
        (b"a&" * MAX_FIELDS + b"a", {"Content-Type": "application/x-www-form-urlencoded"})
    ],
    "multipart without an end or a boundary, or that is broken otherwise": [
        (field("a"), MULTIPART),
        (field("a") + b"--x--", {"Content-Type": "multipart/form-data"}),
        (b"--x\r\nhello\r\n\r\n\r\n--x--", MULTIPART),
    ],
    "multipart with more than 1,000 parts, or with a header of over 4 KB in one": [
        (field("a", "") * (MAX_FIELDS + 1) + b"--x--", MULTIPART),
        (field("a" * 5000) + b"--x--", MULTIPART),
    ],
    "a compressed body that is cut short, damaged, or has something behind it": [
        (gzip.compress(b"1")[:-1], JSON | {"Content-Encoding": "gzip"}),
        (b"x" + gzip.compress(b"1"), JSON | {"Content-Encoding": "gzip"}),
        (gzip.compress(b"1") + b"x", JSON | {"Content-Encoding": "gzip"}),
    ],
    "a compressed body of more than 1,000 members or frames": [
        (gzip.compress(b"") * (MAX_MEMBERS + 1), JSON | {"Content-Encoding": "gzip"})
    ],
    # tests/test_compression.py makes one that is otherwise whole; this is the header of a frame with a window of 16 MB.
    "a body in zstd with a window of more than 8 MB": [
        (bytes.fromhex("28b52ffd0070") + bytes.fromhex("090000") + b"1", JSON | {"Content-Encoding": "zstd"})
    ],
    "a CloudEvent without `id`, `source`, `specversion` or `type`, or of another version than 1.0": [
        (json.dumps({**EVENT, "id": None}).encode(), CLOUDEVENT),
        (b"1", JSON | {"ce-specversion": "1.0"}),
        (json.dumps({**EVENT, "specversion": "0.3"}).encode(), CLOUDEVENT),
    ],
    "a CloudEvent with both `data` and `data_base64`, or with base64 that is none": [
        (json.dumps({**EVENT, "data_base64": "AA=="}).encode(), CLOUDEVENT),
        (b'{"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data_base64": "x"}', CLOUDEVENT),
    ],
    "a CloudEvent whose attributes have more than 32 KB together": [
        (json.dumps({**EVENT, "x": "x" * 33_000}).encode(), CLOUDEVENT)
    ],
    "a body over `max_body`, as it comes or inflated": [
        (b"1" * (MAX_BODY + 1), {}),
        (gzip.compress(b"1" * (MAX_BODY + 1)), {"Content-Encoding": "gzip"}),
    ],
    "more than 1,000 items in a body that is split": [(b"[" + b"1," * MAX_ITEMS + b"1]", JSON)],
    "a charset that is not known": [(b"1", {"Content-Type": "text/plain; charset=klingon"})],
    "a coding that is not known, or whose package is not installed, or a third one": [
        (b"1", {"Content-Encoding": "compress"}),
        (b"1", {"Content-Encoding": ", ".join(["gzip"] * (MAX_CODINGS + 1))}),
    ],
    "a multipart type other than `multipart/form-data`, or any without its package": [
        (field("a") + b"--x--", {"Content-Type": "multipart/mixed; boundary=x"})
    ],
    "with `split=True` a body that is neither JSON nor NDJSON, nor a CloudEvent": [
        (b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}),
        (b"[1]", {"Content-Type": "text/plain"}),
        (b"[1]", {}),
    ],
}


def test_each_row_of_what_is_refused_is_tried() -> None:
    """Each row of what is refused is tried."""
    assert list(TRIED) == list(REFUSED)


@pytest.mark.parametrize("row", list(TRIED))
def test_what_is_refused_is_answered_as_its_row_says(row: str) -> None:
    """What is refused is answered as its row says."""
    relay, outbox = make_relay(make_route(split="item" in row or "split" in row, max_body=MAX_BODY))
    app = TestApp(relay.app)

    for body, headers in TRIED[row]:
        answer = app.post("/x", body, headers, expect_errors=True)

        assert REFUSED[row].startswith(str(answer.status_code))
        assert ("Accept-Encoding" in REFUSED[row]) == ("Accept-Encoding" in answer.headers)
        assert answer.json["detail"]
        assert "its number" not in REFUSED[row] or re.search("(Item|Line) 2", answer.json["detail"])
    assert not outbox.jobs


def test_its_numbers_are_those_of_the_code() -> None:
    """Its numbers are those of the code."""
    assert (MAX_DEPTH, MAX_FIELDS, MAX_ITEMS, MAX_CODINGS, MAX_MEMBERS) == (100, 1000, 1000, 2, 1000)
    assert MAX_ATTRIBUTES == 32 * 1024
    assert {"application/x-ndjson", "application/jsonl"} < NDJSON


def test_its_lines_fit_a_terminal() -> None:
    """Its lines fit a terminal."""
    assert max(len(line) for line in PAGE.splitlines()) <= 120
