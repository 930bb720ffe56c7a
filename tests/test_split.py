"""Bodies of many items: JSON arrays, NDJSON, and what each item's event is."""

from __future__ import annotations

import codecs
import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from webtest import TestApp

from tests.support import make_event, make_relay, make_route
from trafficrelay.body import read_data, read_events
from trafficrelay.errors import Malformed, Refusal, TooManyItems, UnsupportedBody
from trafficrelay.event import Event
from trafficrelay.transform import MAX_DEPTH, MAX_ITEMS

JSON = "application/json"
NDJSON = "application/x-ndjson"
MIB = 1 << 20


def split(body: bytes, content_type: str = JSON, *, read_as: str = "", **fields: Any) -> list[Event]:
    event = make_event(body=body, data=None, headers={"Content-Type": content_type, "X-Kept": "1"}, **fields)
    return read_events(event, limit=MIB, content_type=read_as, split=True)


# Arrays


def test_each_item_of_an_array_is_an_event_of_its_own() -> None:
    """Each item of an array is an event of its own, and its body the item's bytes."""
    whole = make_event(body=b' [ {"a": 1e2} ,\n"x",false , [1, 2]]', data=None, query={"q": "1"})

    events = split(whole.body, query={"q": "1"})

    assert [event.body for event in events] == [b'{"a": 1e2}', b'"x"', b"false", b"[1, 2]"]
    assert [event.data for event in events] == [{"a": 100.0}, "x", False, [1, 2]]
    assert len({event.id for event in events} | {whole.id}) == 5
    assert all(len(event.id) == 32 and int(event.id, 16) for event in events)
    for event in events:
        assert dict(event.headers) == {"content-type": JSON, "x-kept": "1"}
        for name in ("route", "received_at", "method", "params", "query", "remote_addr", "cloudevent"):
            assert getattr(event, name) == getattr(whole, name)


@pytest.mark.parametrize("content_type", [JSON, "application/vnd.shop+json", "application/json; charset=utf-16"])
def test_item_that_is_read_again_gives_the_same(content_type: str) -> None:
    """An item that is read again as it was stored gives the same, whatever its array came as."""
    body = '[{"a": "é"}, [1], "x"]'.encode("utf-16" if "utf-16" in content_type else "utf-8")

    for event in split(body, content_type):
        stored = Event.from_dict(json.loads(json.dumps(event.to_dict())))
        assert read_events(stored, limit=len(stored.body)) == [event]


@pytest.mark.parametrize("body", [b'{"a": [1, 2]}', b"1", b'"[1]"', b" true "])
def test_json_that_is_no_array_is_one_event(body: bytes) -> None:
    """JSON that is no array is one event, the request's own."""
    (event,) = split(body)

    assert (event.id, event.body, event.data) == (make_event().id, body, json.loads(body))


@pytest.mark.parametrize(("body", "content_type"), [(b"[]", JSON), (b" [ ]", JSON), (b"", NDJSON), (b"\n \n", NDJSON)])
def test_nothing_is_no_event(body: bytes, content_type: str) -> None:
    """An empty array is no event, and neither is NDJSON without a line."""
    assert split(body, content_type) == []


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"[1, 2]", "text/plain"),
        (b"[1]", "application/octet-stream"),
        (b"[1]", ""),
        (b"a=1&b=2", "application/x-www-form-urlencoded"),
        (b"", "application/x-www-form-urlencoded"),
        (b"--x--", "multipart/form-data; boundary=x"),
    ],
)
def test_body_of_another_type_is_no_body_to_split(body: bytes, content_type: str) -> None:
    """A body of another type is a 415, for what a route of items makes of it would be one event of junk."""
    with pytest.raises(UnsupportedBody, match=r"^This route takes JSON arrays and NDJSON\.$") as caught:
        split(body, content_type)

    assert caught.value.status == 415


def test_request_without_a_body_is_one_event_where_bodies_are_split() -> None:
    """A request without a body is one event where bodies are split, with its query as data."""
    (event,) = split(b"", "", method="GET", query={"q": "1"})

    assert (event.id, event.data) == (make_event().id, {"q": "1"})


def test_cloudevent_of_any_type_is_one_event_where_bodies_are_split() -> None:
    """A CloudEvent is one event where bodies are split, whatever its data is."""
    headers = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/", "ce-type": "t", "Content-Type": "text/plain"}

    (event,) = read_events(make_event(body=b"hi", data=None, headers=headers), limit=MIB, split=True)

    assert event.data == "hi"


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"null", JSON, "The body is null"),
        (b" null\n", "application/vnd.shop+json", "The body is null"),
        (b"[1, null, 2]", JSON, "Item 2 is null"),
        (b"1\n\nnull\n", NDJSON, "Line 3 is null"),
    ],
)
def test_null_is_no_event(body: bytes, content_type: str, words: str) -> None:
    """Null is no event, neither as a body nor as an item, and leaves no dead letter."""
    relay, outbox = make_relay(make_route(split=True))

    answer = TestApp(relay.app).post("/x", body, {"Content-Type": content_type}, status=400)

    assert answer.json["detail"] == f"{words}, which is no event."
    assert not outbox.jobs
    assert not outbox.dead_letters


def test_null_within_an_event_is_data() -> None:
    """Null within an event is data, in lines that are not split too."""
    for body, content_type in ((b"[null]", JSON), (b'{"a": null}', JSON), (b"null\n1", NDJSON)):
        relay, outbox = make_relay(make_route())
        TestApp(relay.app).post("/x", body, {"Content-Type": content_type}, status=202)

        assert len(outbox.jobs) == 1


def test_array_that_is_not_split_is_one_event() -> None:
    """An array that is not split is one event."""
    (event,) = read_events(make_event(body=b"[1, 2]", headers={"Content-Type": JSON}), limit=MIB)

    assert (event.id, event.data) == (make_event().id, [1, 2])


@pytest.mark.parametrize(
    ("body", "place"),
    [
        (b"[x]", "Item 1"),
        (b"[1, x]", "Item 2"),
        (b'[[1, 2], {"a": [",", 1]}, nul]', "Item 3"),
        (b'["a,b\\",", "\xff"]', "Item 2"),
        (b'[1, "\xed\xa0\x80", 3]', "Item 2"),
        (b'[1, {"a": 01}]', "Item 2"),
        (b"[1, 1e999]", "Item 2"),
        (b"[1, " + b"9" * 5000 + b"]", "Item 2"),
        (b'["a", "\\q"]', "Item 2"),
        (b"[1,]", "Item 2"),
        (b"[1, 2] x", "The body"),
        (b"[1, 2", "The body"),
        (b"", "The body"),
        (b" ", "The body"),
    ],
)
def test_error_says_which_item_is_wrong(body: bytes, place: str) -> None:
    """An error says which item is wrong, and nothing of it."""
    with pytest.raises(Malformed) as caught:
        split(body)

    assert caught.value.detail.startswith(f"{place} is no JSON") or caught.value.detail.startswith("The body is empty")


def test_item_far_in_a_body_is_not_looked_for() -> None:
    """The item at fault is told where it is within 64 KB; beyond, finding it would cost more than reading the body."""
    with pytest.raises(Malformed, match=r"^Item 21001 is no JSON"):
        split(b"[" + b"[]," * 21_000 + b"x]")
    with pytest.raises(Malformed, match=r"^The body is no JSON"):
        split(b"[" + b"[]," * 22_000 + b"x]")


def test_item_may_be_nested_as_deep_as_a_body() -> None:
    """An item may be nested as deep as a body, and no deeper."""
    deep = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH

    (event,) = split(b"[" + deep + b"]")
    with pytest.raises(Malformed, match="Item 2 is nested deeper than 100"):
        split(b"[1, [" + deep + b"]]")
    with pytest.raises(Malformed, match="nested deeper"):
        split(b"[" * 100_000 + b"]" * 100_000)

    assert event.body == deep


@pytest.mark.parametrize("content_type", [JSON, NDJSON])
def test_body_may_hold_as_many_items_as_the_limit(content_type: str) -> None:
    """A body may hold as many items as the limit, and no more: 413, and none is taken."""
    items = [b"%d" % number for number in range(MAX_ITEMS + 1)]

    def written(some: list[bytes]) -> bytes:
        return b"[" + b",".join(some) + b"]" if content_type == JSON else b"\n".join(some)

    assert [event.data for event in split(written(items[:-1]), content_type)] == list(range(MAX_ITEMS))
    with pytest.raises(TooManyItems, match="1000 items") as caught:
        split(written(items), content_type)
    assert (caught.value.status, caught.value.limit) == (413, MAX_ITEMS)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"[" + b"1," * 500_000 + b"1]", JSON), (b"1\n" * 500_000, NDJSON), (b" \n" * 500_000, NDJSON)],
)
def test_too_many_small_items_are_refused_in_bounded_memory(body: bytes, content_type: str) -> None:
    """Half a million items in a megabyte are refused, or seen to be none, in bounded memory."""
    tracemalloc.start()
    try:
        try:
            events = split(body, content_type)
        except TooManyItems:
            events = []
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert events == []
    assert peak < 64 * MIB


# NDJSON


@pytest.mark.parametrize(
    "content_type",
    [
        NDJSON,
        "application/ndjson",
        "Application/JSONL",
        "application/jsonlines; charset=utf-8",
        "application/x-jsonlines",
    ],
)
def test_each_line_is_an_event_of_its_own(content_type: str) -> None:
    """Each line of NDJSON is an event of its own; blank lines are skipped."""
    events = split(b'{"a": 1}\r\n\n  [2] \n"\\n"', content_type)

    assert [event.body for event in events] == [b'{"a": 1}', b"[2]", b'"\\n"']
    assert [event.data for event in events] == [{"a": 1}, [2], "\n"]
    assert {event.headers["content-type"] for event in events} == {JSON}
    for event in events:
        assert read_events(event, limit=MIB) == [event]


def test_single_line_is_an_event_of_its_own_too() -> None:
    """A single line is an event of its own too."""
    (event,) = split(b"1", NDJSON)

    assert (event.data, event.id == make_event().id) == (1, False)


def test_lines_that_are_not_split_are_a_list() -> None:
    """Lines that are not split are the list of what they say, in one event."""
    event = make_event(body=codecs.BOM_UTF8 + b"1\n\n[2]\n", data=None, headers={"Content-Type": NDJSON})

    (read,) = read_events(event, limit=MIB)

    assert (read.id, read.body, read.data) == (event.id, event.body, [1, [2]])
    assert read_data(b"", method="POST", content_type=NDJSON, content_encoding="", query={}) == []


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize(
    ("body", "number"),
    [
        (b"1\n2 3\n", 2),
        (b'{"a": 1}\n\n{"a":\n1}', 3),
        (b"[1,\n2] 3", 1),
        (b"1\n\xff\n", 2),
        (b"1\n" + b"[" * 101 + b"]" * 101, 2),
        (b"1\n" + b"[" * 100_000, 2),
        (b"1\n\n\n1,\n", 4),
    ],
)
def test_error_says_which_line_is_wrong(body: bytes, number: int, whole: bool) -> None:
    """An error says which line is wrong, blank ones counted, split or not."""
    event = make_event(body=body, data=None, headers={"Content-Type": NDJSON})

    with pytest.raises(Malformed, match=f"^Line {number} is "):
        read_events(event, limit=MIB, split=not whole)


def test_lines_are_read_in_their_charset() -> None:
    """Lines are read in their charset, and their events are in UTF-8."""
    events = split('{"a": "é"}\n"ü"'.encode("latin-1"), f"{NDJSON}; charset=latin-1")

    assert [(event.body, event.data) for event in events] == [
        ('{"a": "é"}'.encode(), {"a": "é"}),
        ('"ü"'.encode(), "ü"),
    ]


def test_text_is_split_where_the_route_reads_it_as_lines() -> None:
    """Text is split where the route reads it as lines, and each line is JSON when it is read again."""
    events = split(b"1\n2", "text/plain; charset=utf-8", read_as=NDJSON)

    assert [event.data for event in events] == [1, 2]
    assert [read_events(event, limit=MIB) for event in events] == [[event] for event in events]


# Laws

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


items_ = values.filter(lambda value: value is not None)


def as_json(value: Any, spaced: bool) -> bytes:
    return json.dumps(value, ensure_ascii=spaced, indent=1 if spaced else None).encode("utf-8", "surrogatepass")


@given(st.lists(items_, max_size=8), st.booleans())
def test_items_are_what_the_array_holds_and_their_bytes_say_so(items: list[Any], spaced: bool) -> None:
    """The items are what the array holds, in order, and their bytes say so."""
    events = split(as_json(items, spaced))

    assert [event.data for event in events] == items
    assert [json.loads(event.body) for event in events] == items


@given(st.lists(items_, max_size=8))
def test_lines_and_arrays_are_split_alike(items: list[Any]) -> None:
    """Lines and arrays are split alike."""
    lines = b"\n".join(as_json(item, False) for item in items)

    events = split(lines, NDJSON)

    assert [event.data for event in events] == [event.data for event in split(as_json(items, False))] == items


@given(st.lists(items_, min_size=1, max_size=6), st.data())
def test_one_broken_item_refuses_all_with_its_number(items: list[Any], data: st.DataObject) -> None:
    """One broken item refuses all, with its number."""
    at = data.draw(st.integers(0, len(items) - 1))
    written = [as_json(item, False) for item in items]
    written[at] = data.draw(st.sampled_from([b"x", b'{"a":}', b"[1 2]", b'"\xff"', b'{"a" 1}', b"01"]))

    for body, content_type, word in (
        (b"[" + b",".join(written) + b"]", JSON, "Item"),
        (b"\n".join(written), NDJSON, "Line"),
    ):
        with pytest.raises(Malformed, match=f"^{word} {at + 1} is no JSON"):
            split(body, content_type)


# On the way


@pytest.mark.parametrize(("body", "content_type"), [(b'[{"n": 1}, {"n": 2}]', JSON), (b'{"n": 1}\n{"n": 2}\n', NDJSON)])
def test_each_item_becomes_a_job(body: bytes, content_type: str) -> None:
    """Each item becomes a job, with an id of its own."""
    relay, outbox = make_relay(make_route(split=True))

    TestApp(relay.app).post("/x", body, {"Content-Type": content_type}, status=202)

    assert [job.data for job in outbox.jobs] == [{"n": 1}, {"n": 2}]


def test_one_broken_item_leaves_no_job() -> None:
    """One broken item leaves no job of the others."""
    relay, outbox = make_relay(make_route(split=True))

    answer = TestApp(relay.app).post("/x", b"[1, x]", {"Content-Type": JSON}, status=400)

    assert "Item 2" in answer.json["detail"]
    assert not outbox.jobs


def test_refusals_of_items_are_documented_ones() -> None:
    """What is raised for items is a refusal that is answered with a 4xx."""
    assert issubclass(TooManyItems, Refusal)
    assert 400 <= TooManyItems(1).status < 500
