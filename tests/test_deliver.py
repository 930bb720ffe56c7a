"""Deliveries, from a route to a real HTTP server, in real workers."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import re
import socket
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import SimpleWorker
from rq.job import Job as RQJob
from webtest import TestApp

from tests.delivery_support import LOOPBACK, Deliveries
from tests.handovers import dump
from tests.receiver import Answer, Received, Receiver, receiving
from tests.support import make_event
from tests.waiting import wait_until
from trafficrelay import Deliver
from trafficrelay.delivery.circuit import Circuit
from trafficrelay.delivery.destination import CloudEvents
from trafficrelay.event import now
from trafficrelay.verify import (
    basic,
    bearer,
    github,
    hmac_signature,
    hubspot,
    square,
    standard_webhooks,
    trello,
    twilio,
)

pytestmark = pytest.mark.rq

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as receiver:
        yield receiver


@pytest.fixture(params=[None, "json"], ids=["pickle", "json"])
def both(request: pytest.FixtureRequest, redis_url: str, client: redis.Redis) -> Iterator[Deliveries]:
    """Deliveries with each of RQ's serializers."""
    deliveries = Deliveries(redis_url, client, request.param)
    yield deliveries
    deliveries.close()


@pytest.fixture
def deliveries(redis_url: str, client: redis.Redis) -> Iterator[Deliveries]:
    deliveries = Deliveries(redis_url, client)
    yield deliveries
    deliveries.close()


def to(receiver: Receiver, path: str = "/hook", **options: Any) -> Deliver:
    return Deliver(receiver.url + path, allow=LOOPBACK, **options)


def a_dead_url() -> str:
    """A URL on which nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}/hook"


# What an answer does


def test_a_2xx_ends_it_and_its_answer_is_the_jobs_result(both: Deliveries, receiver: Receiver) -> None:
    both.declare(to(receiver))
    receiver.answer(Answer(201, {"X-Request-Id": "r7", "Set-Cookie": "session=s3ssion"}, b"created"))
    result = both.result(both.run())

    assert (result["status"], result["body"], result["tries"]) == (201, "created", 1)
    assert result["headers"]["x-request-id"] == "r7"
    assert "set-cookie" not in result["headers"]
    assert result["seconds"] >= 0
    assert len(receiver.requests) == 1


def test_the_first_kb_of_an_answer_is_kept_and_its_headers_are_bounded(
    deliveries: Deliveries, receiver: Receiver
) -> None:
    deliveries.declare(to(receiver))
    receiver.answer(Answer(200, {f"X-{n}": "v" * 2000 for n in range(25)}, b"x" * 5000))
    result = deliveries.result(deliveries.run())

    assert result["body"] == "x" * 1024
    assert len(json.dumps(result["headers"])) < 6000


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 300, 302, 307, 308])
def test_other_4xx_and_redirects_fail_at_once(deliveries: Deliveries, receiver: Receiver, status: int) -> None:
    """A redirect is not followed."""
    deliveries.declare(to(receiver))
    receiver.answer(Answer(status, {"Location": f"{receiver.url}/elsewhere"}, b"because"))
    id_ = deliveries.run()

    assert deliveries.failed == [id_]
    assert f"answered {status}" in deliveries.error(id_)
    assert [request.path for request in receiver.requests] == ["/hook"]
    assert deliveries.progress(id_)["last"]["body"] == "because"
    assert deliveries.progress(id_)["tries"] == 1


@pytest.mark.parametrize("status", [408, 425, 429, 500, 501, 502, 503, 504])
def test_5xx_408_425_and_429_are_tried_again(both: Deliveries, receiver: Receiver, status: int) -> None:
    both.declare(to(receiver, schedule=[600]))
    receiver.answer(status, 200)
    id_ = both.run()
    wait = both.wait(id_)
    both.later()

    assert 590 < wait < 602
    assert both.result(id_)["tries"] == 2
    assert len(receiver.requests) == 2


def test_what_came_of_the_last_try_stands_in_the_jobs_meta(both: Deliveries, receiver: Receiver) -> None:
    both.declare(to(receiver))
    receiver.answer(Answer(500, {"X-A": "b"}, b"oops"))
    progress = both.progress(both.run())

    assert (progress["tries"], progress["put_offs"], progress["over"]) == (1, 0, False)
    assert progress["last"]["said"] == "answered 500 Internal Server Error"
    assert (progress["last"]["status"], progress["last"]["body"]) == (500, "oops")
    assert progress["last"]["headers"]["x-a"] == "b"


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("form", ["seconds", "date"])
def test_retry_after_is_obeyed(deliveries: Deliveries, receiver: Receiver, status: int, form: str) -> None:
    deliveries.declare(to(receiver, schedule=[1]))
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    receiver.answer(Answer(status, {"Retry-After": "1000" if form == "seconds" else date}))

    assert 990 < deliveries.wait(deliveries.run()) < 1003


def test_the_try_that_a_retry_after_was_said_to_does_not_come_before_the_hold_is_over(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    """It would be put off, by seconds: RQ's times are whole seconds, rounded down, and the hold's are not."""
    destination = to(receiver, schedule=[1])
    deliveries.declare(destination)
    receiver.answer(Answer(429, {"Retry-After": "3"}))
    id_ = deliveries.run()
    comes: Any = client.zscore(deliveries.scheduled_registry.key, id_)
    held_until: Any = client.hget(f"trafficrelay:1:circuit:{destination.key}", "until")

    assert int(held_until) <= comes * 1000 < int(held_until) + 2000


def test_a_retry_after_never_brings_the_next_try_forward_and_is_cut_to_a_day(
    deliveries: Deliveries, receiver: Receiver
) -> None:
    deliveries.declare(to(receiver, schedule=[600]))
    receiver.answer(Answer(503, {"Retry-After": "1"}), Answer(503, {"Retry-After": "9" * 9}))
    first = deliveries.wait(deliveries.run())
    deliveries.client.delete(*deliveries.client.keys("*circuit*"))
    second = deliveries.wait(deliveries.run())

    assert 590 < first < 602
    assert 86_390 < second < 86_402


def test_a_destination_that_is_gone_is_disabled_until_it_is_enabled(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    """410: this delivery fails, and further ones without a request; once it is enabled they can be run again."""
    destination = to(receiver)
    deliveries.declare(destination)
    receiver.answer(410, 200)
    first, second = deliveries.run(), deliveries.run()
    errors = [deliveries.error(id_) for id_ in (first, second)]
    requests = len(receiver.requests)
    client.delete(f"trafficrelay:1:circuit:{destination.key}")
    deliveries.requeue(second)
    deliveries.work()

    enabling = f"`trafficrelay deliveries MODULE:RELAY --enable 127.0.0.1:{receiver.port}`"
    assert f"answered 410 Gone: it is disabled. {enabling} enables it;" in errors[0]
    assert "DestinationDisabled" in errors[1]
    assert f"{enabling} enables it; then `trafficrelay replay MODULE:RELAY` runs this delivery again." in errors[1]
    assert requests == 1
    assert deliveries.result(second)["tries"] == 1
    assert client.keys("*circuit*") == []


@pytest.mark.parametrize("fault", ["refuses", "hangs", "closes"])
def test_a_network_fault_is_tried_again(deliveries: Deliveries, receiver: Receiver, fault: str) -> None:
    free = threading.Event()
    if fault == "refuses":
        destination = Deliver(a_dead_url(), allow=LOOPBACK, schedule=[600])
    else:
        destination = to(receiver, schedule=[600], read_timeout=0.2)
        receiver.answer(Answer(before=lambda: free.wait(20)) if fault == "hangs" else Answer(drop=True))
    deliveries.declare(destination)
    id_ = deliveries.run()
    free.set()

    assert 590 < deliveries.wait(id_) < 602
    assert "gave no answer" in deliveries.progress(id_)["last"]["said"]


def test_a_job_that_is_stopped_by_its_time_out_is_tried_again(deliveries: Deliveries, receiver: Receiver) -> None:
    """As by the destination's own time-out, which is longer here."""
    free = threading.Event()
    destination = to(receiver, schedule=[600], read_timeout=0.1, connect_timeout=0.1)
    deliveries.declare(destination, timeout=1)
    object.__setattr__(destination, "read_timeout", 20.0)
    receiver.answer(Answer(before=lambda: free.wait(20)))
    id_ = deliveries.run()
    free.set()

    assert 590 < deliveries.wait(id_) < 602
    assert "time-out" in deliveries.progress(id_)["last"]["said"]


def test_after_the_last_try_it_fails_and_can_be_requeued_for_as_many_again(
    both: Deliveries, receiver: Receiver
) -> None:
    both.declare(to(receiver, schedule=[1, 1]))
    receiver.answer(500, 500, 500, 500, 200)
    id_ = both.run()
    both.later()
    both.later()
    error, progress = both.error(id_), both.progress(id_)
    both.requeue(id_)
    both.work()
    both.later()

    assert "DeliveryFailed" in error
    assert "answered 500 Internal Server Error (try 3 of 3)" in error
    assert (progress["tries"], progress["over"]) == (3, True)
    assert both.result(id_)["tries"] == 2


@pytest.mark.parametrize("name", ["", "orders"])
def test_each_try_that_failed_is_told_in_one_line_with_its_reason_and_when_it_comes_again(
    deliveries: Deliveries, receiver: Receiver, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """A name that is not the host tells destinations of one host apart."""
    deliveries.declare(to(receiver, schedule=[1, 12], name=name))
    receiver.answer(500, Answer(drop=True), 404)
    id_ = deliveries.run()
    deliveries.later()
    deliveries.later()
    host = f"http://127.0.0.1:{receiver.port}"
    where = f"{name} ({host}/…)" if name else f"{host}/…"
    told = [(one.levelname, one.getMessage()) for one in caplog.records if one.name == "trafficrelay.deliver"]
    silence = f"gave no answer ({host} closed the connection before it answered)"

    assert told == [
        ("WARNING", f"delivery {id_} to {where}: answered 500 Internal Server Error (try 1 of 3), again in 1 s"),
        ("WARNING", f"delivery {id_} to {where}: {silence} (try 2 of 3), again in 12 s"),
    ]
    assert f"{where} answered 404 Not Found (try 3 of 3)." in deliveries.error(id_)


def test_rq_counts_the_tries_that_remain_as_the_schedule_does(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """Also after it was put off, and once it is run anew."""
    caplog.set_level(logging.INFO)
    destination = to(receiver, schedule=[1, 1, 1])
    deliveries.declare(destination)
    receiver.answer(500)
    id_ = deliveries.run()
    deliveries.later()
    Circuit(client, destination).up(hold=100.0)
    deliveries.later()
    client.delete(*client.keys("*circuit*"))
    deliveries.later()
    deliveries.later()
    deliveries.requeue(id_)
    deliveries.work()
    said = " ".join(one.getMessage() for one in caplog.records)

    # 500, 500, put off, 500, failed; and 500 again.
    assert re.findall(r"([0-9-]+) remaining", said) == ["2", "1", "1", "0", "2"]
    assert deliveries.progress(id_)["tries"] == 1


def test_a_forbidden_address_fails_at_once_and_opens_no_circuit(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    """Where a name leads is looked at in the worker."""
    destination = to(receiver)
    deliveries.declare(destination)
    [id_] = deliveries.send()
    object.__setattr__(destination, "guard", type(destination.guard)())
    deliveries.work()

    assert "AddressForbidden" in deliveries.error(id_)
    assert deliveries.failed == [id_]
    assert receiver.requests == []
    assert client.keys("*circuit*") == []


def test_a_name_that_leads_to_a_private_address_fails_with_the_destinations_name(
    deliveries: Deliveries, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    resolve = socket.getaddrinfo

    def lie(host: Any, *args: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "shop.example" else host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", lie)
    deliveries.declare(Deliver(f"http://shop.example:{receiver.port}/hook", name="orders"))
    id_ = deliveries.run()

    where = f"orders (http://shop.example:{receiver.port}/…)"
    assert f"AddressForbidden: {where}: shop.example leads to 127.0.0.1 (loopback)" in deliveries.error(id_)
    assert deliveries.progress(id_)["over"] is True
    assert receiver.requests == []


# What is sent


def test_data_is_what_the_transform_returned_as_json(both: Deliveries, receiver: Receiver) -> None:
    both.declare(
        to(receiver, "/in?tenant=7", method="PUT", headers={"X-Shop": "7", "User-Agent": "shop/1"}),
        transform=lambda event: {"seen": event.data["order"], "name": "Zoë"},
    )
    id_ = both.run()
    [request] = receiver.requests

    assert (request.method, request.path) == ("PUT", "/in?tenant=7")
    assert json.loads(request.body) == {"seen": 1, "name": "Zoë"}
    assert request.headers["content-type"] == "application/json"
    assert request.headers["webhook-id"] == id_
    assert (request.headers["x-shop"], request.headers["user-agent"]) == ("7", "shop/1")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"


def test_raw_is_the_events_body_byte_for_byte_with_its_content_type(both: Deliveries, receiver: Receiver) -> None:
    both.declare(to(receiver, body="raw"))
    body = b'{ "order":\t1.0 }'
    both.send(params=body, content_type="application/vnd.shop+json; v=2")
    both.work()
    [request] = receiver.requests

    assert request.body == body
    assert request.headers["content-type"] == "application/vnd.shop+json; v=2"


def test_cloudevents_are_structured_unless_they_are_binary(both: Deliveries, receiver: Receiver) -> None:
    both.declare(
        to(receiver, "/structured", body="cloudevents", name="structured"),
        to(receiver, "/binary", body=CloudEvents(type="shop.order %", source="/shop", binary=True), name="binary"),
        rule="/orders/<shop>",
    )
    before = now()
    ids = both.send(path="/orders/Zo%C3%AB")
    both.work()
    structured, binary = receiver.requests
    whole = json.loads(structured.body)
    came = datetime.fromisoformat(whole.pop("time"))

    assert structured.headers["content-type"] == "application/cloudevents+json"
    assert whole == {
        "specversion": "1.0",
        "id": ids[0],
        "source": "/orders/Zo%C3%AB",
        "type": "trafficrelay.event",
        "datacontenttype": "application/json",
        "data": {"order": 1},
    }
    assert before - timedelta(seconds=5) < came < now()
    assert (binary.body, binary.headers["content-type"]) == (b'{"order":1}', "application/json")
    assert {name: value for name, value in binary.headers.items() if name.startswith("ce-")} == {
        "ce-specversion": "1.0",
        "ce-id": ids[1],
        "ce-source": "/shop",
        "ce-type": "shop.order%20%25",
        "ce-time": came.isoformat().replace("+00:00", "Z"),
    }


@pytest.mark.parametrize(
    "verifier",
    [
        standard_webhooks([WHSEC, "b2xkZXI="]),
        github("It's a secret"),
        hmac_signature("key", header="X-Signature", encoding="base64"),
        bearer("t0ken-t0ken"),
        basic("shop", "passw0rd"),
    ],
    ids=["standard_webhooks", "github", "hmac_signature", "bearer", "basic"],
)
def test_what_is_signed_is_verified_by_the_matching_verifier(
    deliveries: Deliveries, receiver: Receiver, verifier: Any
) -> None:
    deliveries.declare(to(receiver, sign=verifier))
    deliveries.run()
    [request] = receiver.requests
    event = make_event(headers=request.headers, body=request.body, received_at=now())

    assert verifier(event) is True


@pytest.mark.parametrize(
    ("sign", "public_url"),
    [
        (square("key"), None),
        (square("key", public_url="https://shop.example/hook?a=1"), "https://shop.example/hook?a=1"),
        (square("key", public_url="https://shop.example"), "https://shop.example/p%61th?q=%2f"),
        (trello("key"), None),
        (hubspot("key"), None),
        (twilio("key"), None),
    ],
    ids=["square", "public", "origin", "trello", "hubspot", "twilio"],
)
def test_the_url_of_the_destination_is_signed_by_those_who_sign_it(
    deliveries: Deliveries, receiver: Receiver, sign: Any, public_url: str | None
) -> None:
    """Twilio's hash of a JSON body goes into the URL itself."""
    deliveries.declare(Deliver(receiver.url + "/p%61th?q=%2f", sign=sign, method="PUT", allow=["127.0.0.1"]))
    deliveries.run()
    [request] = receiver.requests
    event = make_event(
        headers=request.headers,
        body=request.body,
        received_at=now(),
        method=request.method,
        url=public_url or receiver.url + request.path,
    )

    assert request.path.startswith("/p%61th?q=%2f")
    assert replace(sign, public_url=None)(event) is True


def test_the_message_id_stays_the_same_in_all_tries_and_is_signed(both: Deliveries, receiver: Receiver) -> None:
    verifier = standard_webhooks(WHSEC)
    both.declare(to(receiver, sign=verifier, schedule=[1]))
    receiver.answer(500, 200)
    id_ = both.run()
    both.later()
    events = [make_event(headers=one.headers, body=one.body, received_at=now()) for one in receiver.requests]

    assert [one.headers["webhook-id"] for one in receiver.requests] == [id_, id_]
    assert [verifier(event) for event in events] == [True, True]


def test_each_item_goes_to_each_destination_as_a_job_of_its_own(both: Deliveries, receiver: Receiver) -> None:
    """All in one step; a failing one does not keep the others."""

    def items(event: Any) -> Iterator[int]:
        yield from event.data

    both.declare(
        to(receiver, "/first", name="first"),
        to(receiver, "/second", name="second", schedule=[]),
        to(receiver, "/raw", name="raw", body="raw"),
        transform=items,
    )
    receiver.answer(lambda request: Answer(500 if request.path == "/second" else 200))
    ids = both.send([1, 2])
    both.work()

    assert len(ids) == 5
    assert [(one.path, one.body) for one in receiver.requests] == [
        ("/first", b"1"),
        ("/first", b"2"),
        ("/second", b"1"),
        ("/second", b"2"),
        ("/raw", b"[1, 2]"),
    ]
    assert sorted(both.failed) == sorted(ids[2:4])


def test_a_queued_delivery_goes_where_todays_declaration_says(deliveries: Deliveries, receiver: Receiver) -> None:
    """The job names its destination; address, headers and keys are looked up when it runs."""
    deliveries.declare(Deliver("https://old.example/hook"))
    deliveries.send()
    deliveries.declare(to(receiver, headers={"X-New": "yes"}))
    deliveries.work()

    assert [one.headers["x-new"] for one in receiver.requests] == ["yes"]


def test_a_destination_that_is_not_declared_any_more_fails_with_a_sentence(
    deliveries: Deliveries, receiver: Receiver
) -> None:
    """Of several none is guessed."""
    deliveries.declare(to(receiver, name="a"), to(receiver, name="b"))
    deliveries.send()
    deliveries.declare(to(receiver, name="c"), to(receiver, name="b"))
    deliveries.work()
    [id_] = deliveries.failed

    assert "The route POST /a has no destination a any more." in deliveries.error(id_)
    assert len(receiver.requests) == 1


def test_connections_are_kept_from_job_to_job(deliveries: Deliveries, receiver: Receiver) -> None:
    deliveries.declare(to(receiver))
    for _ in range(3):
        deliveries.send()
    deliveries.work()

    assert len({request.peer for request in receiver.requests}) == 1


# Secrets


SECRETS = {
    "path": "p4th-t0ken-of-the-url",
    "query": "qu3ry-t0ken-of-the-url",
    "header": "h3ader-t0ken",
    "password": "passw0rd-of-the-destination",
}
SIGNING_KEY = base64.b64encode(b"standard-webhooks-s3cret").decode()


def readable(client: redis.Redis) -> str:
    """All that is in Redis, and what is packed in it."""
    found: list[bytes] = []

    def add(value: Any) -> None:
        if isinstance(value, dict | list | tuple | set):
            for one in [*value, *(value.values() if isinstance(value, dict) else ())]:
                add(one)
        elif isinstance(value, bytes) and value:
            found.append(value)
            for unpack in (zlib.decompress, lambda raw: base64.b64decode(raw, validate=True)):
                try:
                    add(unpack(value))
                except (zlib.error, binascii.Error, ValueError):
                    continue

    for key, (_, value, _) in dump(client).items():
        add(key)
        add(value)
    return "\n".join(raw.decode("latin-1") for raw in found)


def echo(request: Received) -> Answer:
    """Answer with all that was sent, as some servers do."""
    shown = json.dumps({"path": request.path, "headers": dict(request.headers)}).encode()
    return Answer(200, {"X-Echo": request.headers["x-key"], "Location": request.path}, shown)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200),
        Answer(404),
        Answer(410),
        Answer(500),
        Answer(302, {"Location": "/elsewhere"}),
        Answer(drop=True),
    ],
    ids=["200", "404", "410", "500", "302", "no answer"],
)
@pytest.mark.parametrize("schedule", [[], [600]], ids=["last try", "tried again"])
def test_no_secret_is_in_redis_logs_or_errors(
    deliveries: Deliveries,
    receiver: Receiver,
    client: redis.Redis,
    caplog: pytest.LogCaptureFixture,
    answer: Answer,
    schedule: list[int],
) -> None:
    caplog.set_level(logging.DEBUG)
    destinations = [
        Deliver(
            f"{receiver.url}/{SECRETS['path']}?key={SECRETS['query']}",
            allow=LOOPBACK,
            headers={"X-Key": SECRETS["header"]},
            sign=sign,
            schedule=schedule,
            name=name,
        )
        for name, sign in (("a", standard_webhooks(SIGNING_KEY)), ("b", basic("shop", SECRETS["password"])))
    ]
    deliveries.declare(*destinations, dedupe="header:X-Delivery")
    receiver.answer(answer)
    deliveries.send(headers={"X-Delivery": "7"})
    deliveries.work()
    shown = readable(client) + caplog.text + repr(destinations)
    secrets = [*SECRETS.values(), SIGNING_KEY, "standard-webhooks-s3cret"]
    secrets += [request.headers["webhook-signature"] for request in receiver.requests[:1]]

    assert len(receiver.requests) == (1 if answer.status == 410 else 2)
    assert "tests.delivery_support" in shown  # as it stands in the packed argument
    assert [secret for secret in secrets if secret in shown] == []


def test_an_answer_that_repeats_what_it_was_sent_is_kept_without_the_secrets(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    deliveries.declare(
        Deliver(
            f"{receiver.url}/{SECRETS['path']}?key={SECRETS['query']}",
            allow=LOOPBACK,
            headers={"X-Key": SECRETS["header"]},
            sign=bearer("t0ken-of-the-destination"),
        )
    )
    receiver.answer(echo)
    id_ = deliveries.run()

    assert deliveries.result(id_)["headers"]["x-echo"] == "***"
    assert '"authorization": "***"' in deliveries.result(id_)["body"]
    assert '"path": "***"' in deliveries.result(id_)["body"]
    assert "location" not in deliveries.result(id_)["headers"]
    assert [one for one in (*SECRETS.values(), "t0ken-of-the-destination") if one in readable(client)] == []


def test_a_signer_that_fails_shows_none_of_its_words(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    class Vault:
        def sign(self, body: bytes, now: datetime) -> dict[str, str]:
            raise RuntimeError("no access with t0ken-of-the-vault")

    deliveries.declare(to(receiver, sign=Vault()))
    id_ = deliveries.run()

    assert "could not be signed: RuntimeError" in deliveries.error(id_)
    assert "t0ken-of-the-vault" not in readable(client)


# Real workers


MODULE = """
from trafficrelay import Deliver, Relay, Route

relay = Relay({redis!r})
relay.add(
    Route("/a", verify=None, queue="hooks", deliver=Deliver({url!r}, allow=["127.0.0.1"], schedule=[1]))
)
"""


@pytest.mark.parametrize("kind", ["rq.worker.Worker", "trafficrelay.worker.RelayWorker"])
def test_a_worker_process_delivers_and_its_scheduler_tries_again(
    redis_url: str, client: redis.Redis, receiver: Receiver, tmp_path: Path, kind: str
) -> None:
    (tmp_path / "shop_hooks.py").write_text(MODULE.format(redis=redis_url, url=f"{receiver.url}/hook"))
    receiver.answer(503, 200)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}
    code = (
        "from webtest import TestApp; from shop_hooks import relay; "
        "print(*TestApp(relay.app).post_json('/a', [7], status=202).json['jobs'])"
    )
    sent = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    [id_] = sent.stdout.split()
    log = tmp_path / "worker.log"
    with log.open("w") as out:
        worker = subprocess.Popen(
            [sys.executable, "-m", "rq.cli", "worker", "--url", redis_url, "-w", kind, "--with-scheduler", "hooks"],
            env=environment,
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        wait_until(lambda: RQJob.fetch(id_, connection=client).is_finished, seconds=30)
        result = RQJob.fetch(id_, connection=client).return_value()
    finally:
        worker.terminate()
        worker.wait(20)

    assert (result["status"], result["tries"]) == (200, 2), log.read_text()
    assert [request.body for request in receiver.requests] == [b"[7]", b"[7]"]


def test_the_example_of_the_docs_delivers_what_its_receiver_shows(
    redis_url: str, client: redis.Redis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it is pasted, but for the port."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = str(sock.getsockname()[1])
    text = (Path(__file__).parents[1] / "docs/deliveries.md").read_text("utf-8").replace("9000", port)
    for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        name = block.partition("\n")[0].removeprefix("# ")
        (tmp_path / name).write_text(block)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("TRAFFICRELAY_REDIS_URL", redis_url)
    from hooks import relay

    with subprocess.Popen([sys.executable, "receiver.py"], stdout=subprocess.PIPE, text=True) as receiver:
        try:
            wait_until(lambda: listens(int(port)))
            [id_] = TestApp(relay.app).post_json("/orders", {"order": 7}, status=202).json["jobs"]
            SimpleWorker(["out"], connection=client).work(burst=True)
            assert receiver.stdout is not None
            shown = receiver.stdout.readline()
        finally:
            receiver.kill()
            relay.close()
            sys.modules.pop("hooks")

    assert shown == f'{id_} {{"paid":7}}\n'


def listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_outside_of_a_worker_the_job_says_that_it_needs_one() -> None:
    from trafficrelay.deliver import deliver
    from trafficrelay.errors import DeliveryError

    with pytest.raises(DeliveryError, match="run by a worker"):
        deliver({"v": 1})


def test_a_delivery_of_an_unknown_format_fails_with_a_sentence(
    deliveries: Deliveries, receiver: Receiver, client: redis.Redis
) -> None:
    deliveries.declare(to(receiver))
    deliveries.queue.enqueue("trafficrelay.deliver.deliver", {"v": 7}, job_id="x")
    deliveries.work()

    assert "format 7; this trafficrelay reads format 1" in deliveries.error("x")
