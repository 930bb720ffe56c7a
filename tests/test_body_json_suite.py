"""Every document of JSONTestSuite, where users send them: each has its answer, and none is a 5xx."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from webtest import TestApp

from tests.support import make_event, make_relay, make_route
from trafficrelay.body import read_data, read_events
from trafficrelay.errors import Malformed

FILE: Final = Path(__file__).parent / "data" / "jsontestsuite.txt"
JSON: Final = "application/json"
MIB: Final = 1 << 20


def documents() -> Mapping[str, bytes]:
    """Read the suite: a document by its name."""
    found = {}
    for line in FILE.read_text("ascii").splitlines():
        if not line.startswith("#"):
            name, form, text = (line + " ").split(" ")[:3]
            body = base64.b64decode(text, validate=True)
            found[name] = zlib.decompress(body) if form == "zlib" else body
    return found


DOCUMENTS: Final = documents()
VALID: Final = sorted(name for name in DOCUMENTS if name.startswith("y_"))
INVALID: Final = sorted(name for name in DOCUMENTS if name.startswith("n_"))
EITHER: Final = sorted(name for name in DOCUMENTS if name.startswith("i_"))


def test_suite_is_whole() -> None:
    """The suite is whole."""
    assert (len(VALID), len(INVALID), len(EITHER)) == (95, 188, 35)


@pytest.mark.parametrize("name", VALID)
def test_valid_document_is_read_as_python_reads_it(name: str) -> None:
    """A valid document is read as Python reads it."""
    body = DOCUMENTS[name]

    data = read_data(body, method="POST", content_type=JSON, content_encoding="", query={})

    assert data == json.loads(body)


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("name", INVALID)
def test_invalid_document_is_malformed(name: str, split: bool) -> None:
    """An invalid document is malformed, whether it would be split or not."""
    event = make_event(body=DOCUMENTS[name], data=None, headers={"Content-Type": JSON})

    with pytest.raises(Malformed):
        read_events(event, limit=MIB, split=split)


@pytest.mark.parametrize("name", INVALID)
def test_invalid_document_is_malformed_within_another(name: str) -> None:
    """An invalid document is malformed as an item of an array, as a line and as a CloudEvent's data too."""
    body = DOCUMENTS[name]
    event = b'{"specversion": "1.0", "id": "1", "source": "/", "type": "t", "data": %b}' % body

    around = {
        JSON: b"[1, %b]" % body,
        "application/cloudevents+json": event,
        "application/cloudevents-batch+json": b"[%b]" % event,
    }
    # A few are broken only by where they end: `1]` is mended by what is around it.
    sent = {content_type: text for content_type, text in around.items() if not is_json(text)}
    if body.strip():
        sent["application/x-ndjson"] = b"1\n%b\n" % body

    assert sent or name == "n_structure_no_data"
    for content_type, text in sent.items():
        with pytest.raises(Malformed):
            read_events(make_event(body=text, data=None, headers={"Content-Type": content_type}), limit=MIB, split=True)


def is_json(text: bytes) -> bool:
    """Say what Python says, but that it takes NaN and Infinity for JSON."""

    def refuse(constant: str) -> None:
        raise ValueError(constant)

    try:
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.fixture(scope="module")
def app() -> TestApp:
    """A relay that takes anything on two routes, one of which splits arrays."""
    relay, _ = make_relay(
        make_route(rule="/whole", transform=lambda event: {"data": event.data}),
        make_route(rule="/split", transform=lambda event: {"data": event.data}, split=True),
    )
    return TestApp(relay.app)


def is_no_event(name: str, rule: str) -> bool:
    """Say whether a valid document is null, or has an item that is and is split."""
    data = json.loads(DOCUMENTS[name])
    return data is None or (rule == "/split" and isinstance(data, list) and None in data)


@pytest.mark.parametrize("rule", ["/whole", "/split"])
@pytest.mark.parametrize("name", [*VALID, *INVALID, *EITHER])
def test_document_is_answered_as_its_kind_says(app: TestApp, name: str, rule: str) -> None:
    """A valid document is answered 202 unless it is null, an invalid one 400, and any other one of the two."""
    answer = app.post(rule, DOCUMENTS[name], {"Content-Type": JSON}, expect_errors=True)

    wanted = {"y": {202}, "n": {400}, "i": {202, 400}}[name[0]]
    if name in VALID and is_no_event(name, rule):
        wanted = {400}
    assert answer.status_code in wanted
    if answer.status_code == 400:
        assert answer.json["detail"]
