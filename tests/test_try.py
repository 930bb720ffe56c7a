"""`trafficrelay try`: what a route would make of a request, step by step, with nothing handed over."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trafficrelay.cli import main
from trafficrelay.errors import DeclarationError
from trafficrelay.saved_request import saved_request
from trafficrelay.verify import github

SECRET = "hush-hush"

HOOKS = f"""\
from trafficrelay import DROP, Deliver, Rejected, Relay, Route, To
from trafficrelay.transforms import keep, rename, split
from trafficrelay.verify import github

relay = Relay("redis://127.0.0.1:1", spool="spool.db")  # where nobody listens


@relay.route("/hooks/<shop>/<number:int>", verify=github("{SECRET}"), job="jobs.push", queue="hooks")
def push(event):
    print("a transform prints")
    if event.headers.get("X-Event") == "ping":
        return DROP
    if event.query.get("refuse"):
        raise Rejected(422, "no such shop")
    return {{"shop": event.params["shop"], "number": event.params["number"], "said": event.data["missing"]}}


relay.add(
    Route(
        "/steps",
        verify=None,
        transforms=[keep("id", "items"), split("items"), rename({{"n": "number"}})],
        job="jobs.item",
        queue="items",
    )
)
relay.add(
    Route(
        "/fan",
        verify=None,
        methods=["POST", "PUT"],
        to=[
            To("jobs.order", queue="orders", when="type == 'order'"),
            To("jobs.all"),
            To(deliver="https://shop.example/t0ken", when="type == 'gone'"),
            To(deliver=Deliver("https://raw.example/", body="raw"), when="type == 'raw'"),
        ],
    )
)
relay.add(Route("/many", verify=None, split=True, job="jobs.one", transforms=[keep("id", missing="reject")]))
relay.add(Route("/small", verify=None, job="jobs.one", max_body=5, methods=["PUT"], on_error="refuse"))


@relay.route("/random", verify=None, job="jobs.one")
def random(event):
    import uuid
    return {{"id": uuid.uuid4()}}


relay.add(Route("/broken", verify=lambda event: event.params["nosuch"], job="jobs.one"))


@relay.route("/nothing", verify=None, job="jobs.one", on_error="refuse")
def nothing(event):
    pass
"""


class Shop:
    def __init__(self, directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.directory = directory
        self.capsys = capsys

    def file(self, content: bytes | str | dict[str, Any] | list[Any], name: str = "body.json") -> str:
        if isinstance(content, dict | list):
            content = json.dumps(content)
        (self.directory / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return name

    def said(self, route: str, file: str, *options: str) -> tuple[int, str]:
        code = main(["try", "hooks:relay", route, file, *options])
        self.captured = self.capsys.readouterr()
        return code, self.captured.out

    def told(self, route: str, file: str, *options: str) -> tuple[int, dict[str, Any]]:
        code, out = self.said(route, file, "--json", *options)
        return code, json.loads(out)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shop]:
    (tmp_path / "hooks.py").write_text(HOOKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield Shop(tmp_path, capsys)
    sys.modules.pop("hooks", None)


def test_the_data_is_shown_after_each_step_and_then_the_jobs(shop: Shop) -> None:
    file = shop.file({"id": 7, "secret": "x", "items": [{"n": 1}, {"n": 2}]})
    code, told = shop.told("/steps", file)
    (event,) = told["events"]
    keep, split, rename = event["steps"]

    assert code == 0
    assert event["data"] == keep["before"][0] == {"id": 7, "secret": "x", "items": [{"n": 1}, {"n": 2}]}
    assert keep["after"] == split["before"] == [{"id": 7, "items": [{"n": 1}, {"n": 2}]}]
    assert len(split["after"]) == 2
    assert rename["before"] == split["after"]
    assert [job["argument"] for job in event["jobs"]] == rename["after"]
    assert {(job["function"], job["queue"]) for job in event["jobs"]} == {("jobs.item", "items")}


def test_people_are_told_in_the_same_order(shop: Shop) -> None:
    file = shop.file({"id": 7, "items": [{"n": 1}]})
    code, said = shop.said("/steps", file)
    heads = [line for line in said.splitlines() if line and not line.startswith(" ")]

    assert code == 0
    assert heads[0] == "POST /steps: 30 bytes of application/json"
    assert heads[1] == "Data"
    assert heads[2] == "1. keep id, items: as it was"
    assert heads[3].startswith("2. split items")
    assert heads[4].startswith("3. rename")
    assert heads[5:] == ["Job jobs.item in queue items", "1 job would be handed over. Nothing was."]


def test_data_is_shown_in_as_few_lines_as_it_fits_into(shop: Shop) -> None:
    """An order of some items would not fit onto a screen otherwise."""
    items = [{"sku": f"A{number}", "price": {"currency": "EUR", "amount": 12}} for number in range(3)]
    _, said = shop.said("/fan", shop.file({"type": "order", "items": items, "none": []}))
    lines = said.splitlines()
    start = lines.index("Data")

    assert lines[start + 1 : start + 10] == [
        "   {",
        '     "type": "order",',
        '     "items": [',
        *(f"       {json.dumps(item)}{',' if item is not items[-1] else ''}" for item in items),
        "     ],",
        '     "none": []',
        "   }",
    ]


def test_long_data_that_a_job_gets_as_it_stands_above_is_not_shown_again(shop: Shop) -> None:
    _, said = shop.said("/fan", shop.file({"type": "order", "text": ["x" * 90, "y" * 90]}))

    assert said.count("x" * 90) == 1
    assert "\nJob jobs.order in queue orders: as above\nJob jobs.all in queue default: as above\n" in said


def test_short_data_is_one_line(shop: Shop) -> None:
    _, said = shop.said("/fan", shop.file({"type": "x"}))

    assert '\nData\n   {"type": "x"}\n' in said


def test_a_delivery_is_shown_by_where_it_goes_and_what_is_sent(shop: Shop) -> None:
    """And not by what its job carries; nor with what may be secret in its URL."""
    _, said = shop.said("/fan", shop.file({"type": "gone"}))
    _, raw = shop.said("/fan", shop.file({"type": "raw"}))

    assert 'Delivery to shop.example (https://shop.example/…) in queue default\n   {"type": "gone"}\n' in said
    assert "Delivery to raw.example (https://raw.example/) in queue default: the body as it came, 15 bytes" in raw
    assert "modules" not in said
    assert "t0ken" not in said


def test_no_redis_and_no_spool_is_touched(shop: Shop) -> None:
    """The relay's Redis is a port where nobody listens, and a socket would be an error here."""
    with mock.patch("socket.socket", side_effect=AssertionError("a socket was opened")):
        code, _ = shop.told("/fan", shop.file({"type": "order"}))

    assert code == 0
    assert not (shop.directory / "spool.db").exists()


@pytest.mark.parametrize(
    ("kind", "jobs"),
    [
        ("order", [("jobs.order", "orders"), ("jobs.all", "default")]),
        ("other", [("jobs.all", "default")]),
        ("gone", [("jobs.all", "default"), ("trafficrelay.deliver.deliver", "default")]),
    ],
)
def test_a_fan_out_shows_the_jobs_whose_conditions_hold(shop: Shop, kind: str, jobs: list[tuple[str, str]]) -> None:
    told = shop.told("/fan", shop.file({"type": kind}))[1]
    found = told["events"][0]["jobs"]

    assert [(job["function"], job["queue"]) for job in found] == jobs
    assert "t0ken" not in json.dumps(found)


def test_each_item_of_a_split_body_is_shown(shop: Shop) -> None:
    code, told = shop.told("/many", shop.file([{"id": 1, "x": 0}, {"id": 2}]))

    assert code == 0
    assert [event["jobs"][0]["argument"] for event in told["events"]] == [{"id": 1}, {"id": 2}]


def test_one_refused_item_is_code_1_and_says_that_none_is_accepted(shop: Shop) -> None:
    file = shop.file([{"id": 1}, {"x": 2}])
    code, said = shop.said("/many", file)
    told = shop.told("/many", file)[1]

    assert code == 1
    assert "Item 2 of 2" in said
    assert "With one item refused none is accepted." in said
    assert "would be handed over" not in said
    assert [(event["state"], event["status"]) for event in told["events"]] == [("ok", None), ("refused", 422)]
    assert told["events"][1]["steps"][0]["state"] == "refused"
    assert told["accepted"] is False


def test_what_is_dropped_is_said_with_the_step_that_dropped_it(shop: Shop) -> None:
    code, said = shop.said("/hooks/acme/7", shop.file({}), "--header", "X-Event: ping")

    assert code == 0
    assert "1. hooks.push: dropped" in said
    assert "0 jobs would be handed over. Nothing was." in said


def test_what_is_refused_is_said_with_its_status(shop: Shop) -> None:
    code, said = shop.said("/hooks/acme/7?refuse=1", shop.file({}))

    assert code == 1
    assert "1. hooks.push: refused" in said
    assert "Refused: 422, no such shop" in said


def test_what_fails_is_said_with_the_line_and_what_becomes_of_the_event(shop: Shop) -> None:
    code, said = shop.said("/hooks/acme/7", shop.file({}))

    assert code == 1
    assert "1. hooks.push: failed" in said
    assert "Failed: KeyError: 'missing' (" in said
    assert "hooks.py, line " in said
    assert "kept as a dead letter" in said
    assert "Traceback" not in said


def test_a_forgotten_return_fails_as_it_would(shop: Shop) -> None:
    code, said = shop.said("/nothing", shop.file({}))

    assert code == 1
    assert "gave back None" in said
    assert "Its sender would get a 500." in said


def test_a_transform_runs_once(shop: Shop) -> None:
    """What it shows after the step is what the job gets, also where each run gives something else."""
    (event,) = shop.told("/random", shop.file({}))[1]["events"]

    assert event["steps"][0]["after"] == [event["jobs"][0]["argument"]]


def test_what_a_transform_prints_is_not_in_the_document(shop: Shop) -> None:
    shop.told("/hooks/acme/7", shop.file({"missing": 1}))

    assert shop.captured.err == "a transform prints\n"


def test_a_rule_takes_made_up_wildcards_and_a_path_its_own(shop: Shop) -> None:
    file = shop.file({"missing": 1})

    assert shop.told("/hooks/<shop>/<number:int>", file)[1]["params"] == {"shop": "example", "number": 1}
    assert shop.told("/hooks/Gr%C3%BCn/-4", file)[1]["params"] == {"shop": "Grün", "number": -4}


@pytest.mark.parametrize(
    ("route", "options", "sentence"),
    [
        ("/hoks/a/7", (), "hooks:relay has no route /hoks/a/7."),
        ("/step", (), "hooks:relay has no route /step. Did you mean /steps?"),
        ("/steps", ("--method", "PUT"), "/steps does not take PUT; it takes POST."),
        ("/hooks/a/7", ("--method", "GET"), "/hooks/a/7 does not take GET; it takes POST."),
    ],
)
def test_a_route_that_there_is_not_is_code_2(shop: Shop, route: str, options: tuple[str, ...], sentence: str) -> None:
    code, _ = shop.said(route, shop.file({}), *options)

    assert code == 2
    assert shop.captured.err.startswith(f"trafficrelay: {sentence}")


def test_a_file_that_there_is_not_is_code_2(shop: Shop) -> None:
    code, _ = shop.said("/steps", "nowhere.json")

    assert code == 2
    assert shop.captured.err == "trafficrelay: The file nowhere.json cannot be read: No such file or directory.\n"


def test_a_header_that_is_none_is_code_2(shop: Shop) -> None:
    with pytest.raises(SystemExit) as end:
        shop.said("/steps", shop.file({}), "--header", "X-Event")

    assert end.value.code == 2
    assert "'X-Event' is no header; write 'Name: value'" in shop.capsys.readouterr().err


def test_a_content_type_that_is_none_is_code_2(shop: Shop) -> None:
    with pytest.raises(SystemExit) as ended:
        shop.said("/steps", shop.file({}), "--content-type", "form")

    assert ended.value.code == 2
    assert "'form' is no media type, such as application/json" in shop.capsys.readouterr().err


def test_a_body_over_the_limit_is_refused(shop: Shop) -> None:
    code, told = shop.told("/small", shop.file('"123456"'))

    assert code == 1
    assert told["refusal"]["status"] == 413
    assert told["method"] == "PUT"


def test_a_body_that_cannot_be_read_is_refused(shop: Shop) -> None:
    code, said = shop.said("/steps", shop.file("{"))

    assert code == 1
    assert said.splitlines()[1].startswith("Refused: 400, ")


@pytest.mark.parametrize(
    ("name", "content", "options", "data"),
    [
        ("body.json", "[1]", (), [1]),
        ("body", ' {"a": 1}', (), {"a": 1}),
        ("body.txt", "[1]", (), "[1]"),
        ("body", "a=1", ("--content-type", "application/x-www-form-urlencoded"), {"a": "1"}),
        ("body", "a=1", ("--header", "Content-Type: application/x-www-form-urlencoded"), {"a": "1"}),
        ("body", b"\xff\x00", ("--content-type", "application/octet-stream"), {"base64": "/wA="}),
    ],
)
def test_what_a_body_is_is_said_or_told_by_its_name(
    shop: Shop, name: str, content: bytes | str, options: tuple[str, ...], data: object
) -> None:
    assert shop.told("/random", shop.file(content, name), *options)[1]["events"][0]["data"] == data


def test_the_body_comes_from_stdin_too(shop: Shop) -> None:
    with mock.patch("sys.stdin", io.TextIOWrapper(io.BytesIO(b'{"type": "order"}'))):
        code, told = shop.told("/fan", "-", "--method", "put")

    assert code == 0
    assert told["method"] == "PUT"
    assert told["events"][0]["data"] == {"type": "order"}


BODY = b'{"missing": "here"}'


def request_of(path: str, body: bytes = BODY, **headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: shop.example", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, f"Content-Length: {len(body)}", "", ""]).encode() + body


@pytest.mark.parametrize("route", ["/hooks/acme/7", "/hooks/<shop>/<number:int>"])
def test_a_saved_request_is_sent_whole(shop: Shop, route: str) -> None:
    signed = github(SECRET).sign(BODY, datetime.now(UTC))
    # An editor ends a file with a line break.
    file = shop.file(request_of("/hooks/acme/7?a=b", **signed) + b"\n", "request.http")
    code, told = shop.told(route, file, "--verify")

    assert code == 0
    assert told["verified"] is True
    assert told["events"][0]["jobs"][0]["argument"] == {"shop": "acme", "number": 7, "said": "here"}


def test_a_wrong_signature_is_refused_only_with_verify(shop: Shop) -> None:
    file = shop.file(request_of("/hooks/acme/7", **{"X-Hub-Signature-256": "sha256=0"}), "request.http")
    code, told = shop.told("/hooks/acme/7", file, "--verify")

    assert code == 1
    assert told["refusal"] == {"status": 401, "why": "The signature does not match."}
    assert told["verified"] is False
    assert shop.told("/hooks/acme/7", file)[0] == 0
    assert "was not verified (github); --verify does that" in shop.said("/hooks/acme/7", file)[1]


def test_a_verifier_that_fails_is_told_with_the_line(shop: Shop) -> None:
    code, said = shop.said("/broken", shop.file({}), "--verify")

    assert code == 1
    assert "Refused: 500, The verifier failed: KeyError: 'nosuch' (" in said
    assert "hooks.py, line " in said


def test_a_saved_request_may_lie_under_a_prefix_that_the_host_has(shop: Shop) -> None:
    file = shop.file(request_of("/relay/steps", b'{"items": []}'), "request.http")

    assert shop.told("/steps", file)[0] == 0


@pytest.mark.parametrize(
    ("raw", "body"),
    [
        (b"POST / HTTP/1.1\r\nA: 1\r\n\r\nbody", b"body"),
        (b"POST / HTTP/1.1\nA: 1\n\nbody\n", b"body\n"),
        (b"POST / HTTP/1.1\nContent-Length: 4\n\nbody\n", b"body"),
        (b"POST / HTTP/1.1\r\n\r\nbody", b"body"),
        (b"GET / HTTP/1.1\r\nA: 1\r\n", b""),
        (b"POST / HTTP/2\nA: 1\n\nbody", b"body"),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2;x=y\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n", b"body"),
    ],
)
def test_the_body_of_a_saved_request_is_found(raw: bytes, body: bytes) -> None:
    found = saved_request(raw)

    assert found is not None
    assert found.body == body


def test_a_saved_request_is_read_into_its_parts() -> None:
    found = saved_request(b"PUT https://shop.example/a%20b?c=d HTTP/1.1\r\nX-A: 1\r\nx-a:2 \r\n\r\n")

    assert found is not None
    assert (found.method, found.path, found.query, found.headers) == ("PUT", "/a b", "c=d", {"x-a": "1, 2"})


@pytest.mark.parametrize("raw", [b"", b"{}", b"POST", b"POST /", b"POST / FTP/1\n", b"[POST / HTTP/1.1]\n"])
def test_what_does_not_begin_as_a_request_is_a_body(raw: bytes) -> None:
    assert saved_request(raw) is None


@pytest.mark.parametrize(
    ("raw", "sentence"),
    [
        (b"POST http://[ HTTP/1.1\n\n", "holds no path"),
        (b"POST / HTTP/1.1\n{}\n", "Line 2 of the saved request is no header"),
        (b"POST / HTTP/1.1\nContent-Length: 5\n\nbody", "has 4 bytes of a body, and its Content-Length says 5"),
        (b"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\nbody", "chunks cannot be read"),
        (b"POST / HTTP/1.1\nTransfer-Encoding: chunked\n\n5\r\nbody", "chunks cannot be read"),
    ],
)
def test_a_saved_request_that_is_broken_is_told(raw: bytes, sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        saved_request(raw)


def test_a_header_in_utf_8_is_one_line() -> None:
    found = saved_request("POST / HTTP/1.1\r\nX-Name: Ågård\r\n\r\nbody".encode())

    assert found is not None
    assert found.headers["x-name"].encode("latin-1").decode() == "Ågård"
    assert found.body == b"body"


@given(st.binary(max_size=200), st.sampled_from([b"", b"\r\n", b"A: 1\n\n", b"Transfer-Encoding: chunked\n\n"]))
def test_whatever_is_saved_is_read_or_told(rest: bytes, header: bytes) -> None:
    with contextlib.suppress(DeclarationError):
        assert saved_request(b"POST / HTTP/1.1\n" + header + rest) is not None


@given(st.binary(max_size=200), st.sampled_from([b"\r\n", b"\n"]))
def test_a_body_of_a_known_length_is_found_whatever_it_holds(body: bytes, end: bytes) -> None:
    lines = [b"POST /a HTTP/1.1", b"Content-Length: %d" % len(body), b"", body]
    found = saved_request(end.join(lines) + end)

    assert found is not None
    assert found.body == body
