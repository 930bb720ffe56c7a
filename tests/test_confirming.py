"""Subscriptions of AWS SNS are confirmed by a job, which fetches a URL of SNS' and no other."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from webtest import TestApp

from tests.receiver import Answer, Receiver, receiving
from tests.support import make_route
from tests.test_verify_vectors import body_of, made, vectors_of
from trafficrelay import Relay
from trafficrelay.delivery.guard import Guard
from trafficrelay.delivery.transport import Response, Transport
from trafficrelay.errors import AddressForbidden, ConnectionFailed, DeliveryFailed
from trafficrelay.verify import CATALOGUE, confirming
from trafficrelay.verify.confirms import CONFIRM, SUBSCRIBE_URL
from trafficrelay.worker.allowed import Allowed

QUERY = "Action=ConfirmSubscription&TopicArn=arn:aws:sns:eu-west-1:1:orders&Token=23af"
URL = f"https://sns.eu-west-1.amazonaws.com/?{QUERY}"


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


def fetch(receiver: Receiver, url: str = "", transport: Transport | None = None) -> dict[str, Any]:
    """Have a subscription confirmed at a receiver, in SNS' place."""
    transport = transport or Transport(Guard(frozenset({"127.0.0.1"})))
    with contextlib.closing(transport):
        order = {"url": url or f"{receiver.url}/?{QUERY}"}
        return confirming.fetched(order, transport, re.compile(r"http://127\.0\.0\.1:[0-9]+/\?.*"))


def test_a_subscription_is_confirmed_by_a_get(receiver: Receiver) -> None:
    """A subscription is confirmed by one GET of its URL."""
    result = fetch(receiver)

    assert result == {"topic": "arn:aws:sns:eu-west-1:1:orders", "status": 200}
    assert [(one.method, one.path, one.body) for one in receiver.requests] == [("GET", f"/?{QUERY}", b"")]


@pytest.mark.parametrize("status", [301, 302, 307, 400, 403, 404, 500])
def test_an_answer_that_is_no_success_fails_the_job_and_is_not_followed(receiver: Receiver, status: int) -> None:
    """An answer that is no success fails the job; a redirect is not followed. Its token is not told."""
    receiver.answer(Answer(status, {"Location": f"{receiver.url}/elsewhere"}))

    with pytest.raises(DeliveryFailed, match=f"answered {status}") as failed:
        fetch(receiver)

    assert failed.value.status == status
    assert "23af" not in str(failed.value)
    assert len(receiver.requests) == 1


def test_no_answer_fails_the_job_without_the_token(receiver: Receiver) -> None:
    """No answer fails the job, and RQ tries it again. The error does not hold the token."""
    receiver.answer(Answer(drop=True))

    with pytest.raises(ConnectionFailed) as failed:
        fetch(receiver)

    assert "23af" not in str(failed.value)
    assert failed.value.__cause__ is None


def test_a_private_address_is_not_connected_to(receiver: Receiver) -> None:
    """A name that leads to a private address is not connected to."""
    with pytest.raises(AddressForbidden):
        fetch(receiver, transport=Transport(Guard()))

    assert receiver.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "",
        f"http://sns.eu-west-1.amazonaws.com/?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com.evil.example/?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com@evil.example/?{QUERY}",
        f"https://evil.example/?{QUERY}#.amazonaws.com/",
        f"https://sns.eu-west-1.amazonaws.com:8443/?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com./?{QUERY}",
        f"https://SNS.eu-west-1.amazonaws.com/?{QUERY}",
        f"https://sns.eu.west.amazonaws.com/?{QUERY}",
        f"https://s3.eu-west-1.amazonaws.com/?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com/path?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com\\@evil.example/?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com%2eevil.example/?{QUERY}",
        f"https://sns.\u0435u-west-1.amazonaws.com/?{QUERY}",
        f"https://sns.eu-west-1.amazonaws.com/?{QUERY}\n",
        f"https://sns.eu-west-1.amazonaws.com/?{QUERY} ",
        "https://sns.eu-west-1.amazonaws.com/?Action=Publish&TopicArn=a",
        "https://sns.eu-west-1.amazonaws.com/?NoAction=ConfirmSubscription&TopicArn=a",
        "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscriptions",
        f"https://sns.eu-west-1.amazonaws.com/?{QUERY}{'a' * 3000}",
    ],
)
def test_a_url_that_is_not_of_sns_is_never_fetched(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A URL that is not one of SNS' is not fetched, even if it gets into a job."""
    monkeypatch.setattr(confirming.Transport, "send", lambda *_: pytest.fail("it was sent"))

    with pytest.raises(DeliveryFailed, match="nothing was fetched"):
        confirming.confirm({"url": url})


@pytest.mark.parametrize("order", [{}, {"url": 1}, {"url": None}, [], "x", None])
def test_an_order_that_is_none_is_refused(order: Any) -> None:
    """An order that is none is refused."""
    with pytest.raises(DeliveryFailed):
        confirming.confirm(order)


@pytest.mark.parametrize("url", [URL, URL.replace("amazonaws.com", "amazonaws.com.cn")])
def test_urls_of_sns_are_known(url: str) -> None:
    """URLs of SNS, in China too, are known."""
    assert SUBSCRIBE_URL.fullmatch(url)


def relay_for(vector: dict[str, Any], url: str | None = None) -> Relay:
    relay = Relay(url or "redis://localhost:1/0", serializer="json")
    relay.add(make_route(rule="/sns", verify=made(CATALOGUE["aws_sns"], vector), queue="hooks"))
    return relay


def confirmation() -> dict[str, Any]:
    """A confirmation that AWS signed."""
    kinds = {json.loads(one["request"]["body"])["Type"]: one for one in vectors_of("aws_sns")}
    return kinds["SubscriptionConfirmation"]


def test_workers_may_confirm_only_where_a_route_asks_for_it() -> None:
    """A worker with an allow-list runs the job only where a route's provider asks for it."""
    plain = Relay(serializer="json")
    plain.add(make_route())

    assert CONFIRM in Allowed.of(relay_for(confirmation())).functions
    assert CONFIRM not in Allowed.of(plain).functions


@pytest.mark.rq
def test_a_confirmation_that_aws_signed_is_confirmed_by_a_worker(
    redis_url: str, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A confirmation that AWS signed becomes one job in the queue of its route, which a worker runs."""
    vector = confirmation()
    monkeypatch.setattr("trafficrelay.app.now", lambda: datetime.fromisoformat(vector["at"]))
    sent: list[str] = []

    def send(_: Transport, request: Any) -> Response:
        sent.append(request.url)
        return Response(200, {}, b"<ConfirmSubscriptionResponse/>", 0.1)

    monkeypatch.setattr(confirming.Transport, "send", send)
    relay = relay_for(vector, redis_url)
    app = TestApp(relay.app)
    for _ in range(2):
        answer = app.post("/sns", body_of(vector), headers=vector["request"]["headers"], status=200)
        assert answer.body == b""

    queue = Queue("hooks", connection=client, serializer="json")
    (job,) = queue.jobs
    Allowed.of(relay).check(RQJob.fetch(job.id, connection=client, serializer="json"))  # type: ignore[arg-type]
    SimpleWorker([queue], connection=client, serializer="json").work(burst=True)

    assert sent == [json.loads(vector["request"]["body"])["SubscribeURL"]]
    assert job.is_finished
    assert job.retries_left == 5
    relay.close()


def test_a_confirmation_of_another_topic_is_refused() -> None:
    """A confirmation of a topic that was not named is refused, although AWS signed it: anybody's account may."""
    vector = {**confirmation(), "secret": "arn:aws:sns:us-west-2:123456789012:mine"}
    app = TestApp(relay_for(vector).app)

    app.post("/sns", body_of(vector), headers=vector["request"]["headers"], status=401)
