"""Destinations as they are declared, and the pure parts of a delivery: schedule, outcome, envelope, what is kept."""

from __future__ import annotations

import json
import random
import statistics
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from tests.support import NOON, make_event, make_relay
from trafficrelay import Backoff, Deliver, Relay, Route
from trafficrelay.checkup import of_routes
from trafficrelay.delivery import outcome
from trafficrelay.delivery.destination import CloudEvents, chosen, destinations
from trafficrelay.delivery.envelope import Origin, envelope
from trafficrelay.delivery.kept import kept
from trafficrelay.delivery.order import Order
from trafficrelay.delivery.progress import KEY, Progress
from trafficrelay.delivery.schedule import DEFAULT, LEAST_PATIENCE, schedule
from trafficrelay.delivery.transport import Response
from trafficrelay.errors import ConnectionFailed, DeclarationError, DeliveryError
from trafficrelay.intake import Intake
from trafficrelay.outbox.handover import Handover, Job
from trafficrelay.outbox.memory import MemoryOutbox
from trafficrelay.search import Search, condition
from trafficrelay.target import JobOptions
from trafficrelay.verify import (
    adyen,
    asana,
    basic,
    bearer,
    discord,
    mailgun,
    mandrill,
    microsoft_graph,
    square,
    standard_webhooks,
)

URL = "https://shop.example/hook"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


# Declaring


def route(deliver: Any, **options: Any) -> Any:
    return Route("/a", verify=None, deliver=deliver, **options)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"url": "ftp://shop.example/"}, "https://"),
        ({"url": "shop.example/hook"}, "https://"),
        ({"url": 7}, "URL"),
        ({"url": "https://"}, "host"),
        ({"url": "https://ann:s3cret@shop.example/"}, "user or a password"),
        ({"url": "http://127.0.0.1/"}, "allow="),
        ({"url": "http://localhost/"}, "allow="),
        ({"url": "http://[::1]/"}, "allow="),
        ({"url": "http://169.254.169.254/latest"}, "allow="),
        ({"url": "http://2130706433/"}, "127.0.0.1"),
        ({"method": "GET"}, "POST, PUT, PATCH"),
        ({"method": "post"}, "POST, PUT, PATCH"),
        ({"headers": [("X-A", "b")]}, "mapping"),
        ({"headers": {"X A": "b"}}, "no name of a header"),
        ({"headers": {"X-A": "s3cret\r\nX-B: c"}}, "one line"),
        ({"headers": {"X-A": ""}}, "environment"),
        ({"headers": {"X-A": None}}, "environment"),
        ({"headers": {"Host": "b"}}, "leave it out"),
        ({"headers": {"Content-Length": "7"}}, "leave it out"),
        ({"headers": {"X-A": "b", "x-a": "c"}}, "twice"),
        ({"body": "json"}, '"data", "raw"'),
        ({"body": None}, '"data", "raw"'),
        ({"sign": "secret"}, "standard_webhooks"),
        ({"sign": standard_webhooks}, "standard_webhooks"),
        ({"sign": bearer(lambda event: "s3cret")}, "one of its own"),
        ({"sign": square("key", public_url=lambda event: "s3cret")}, "one of its own"),
        ({"sign": asana()}, "one of its own"),
        ({"sign": adyen("5e" * 32)}, "sign=adyen(…) puts its signature into the body"),
        ({"sign": mailgun("key")}, "into the body"),
        ({"sign": microsoft_graph("key")}, "into the body"),
        ({"sign": discord("5e" * 32)}, "sign=discord(…) has a public key, which verifies"),
        ({"connect_timeout": 0}, "connect_timeout"),
        ({"read_timeout": "5s"}, "read_timeout"),
        ({"read_timeout": True}, "read_timeout"),
        ({"schedule": 8}, "list of the waits"),
        ({"schedule": "1h"}, "list of the waits"),
        ({"schedule": [-1]}, "schedule"),
        ({"schedule": [10, "x"]}, "a wait of schedule is a time of 0 s or more in whole seconds"),
        ({"allow": "127.0.0.1"}, "list"),
        ({"allow": [7]}, "list"),
        ({"allow": ["no name"]}, "networks"),
        ({"name": "a b"}, "name"),
    ],
)
def test_a_wrong_declaration_is_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    """Which shows no secret."""
    with pytest.raises(DeclarationError) as raised:
        Deliver(**({"url": URL} | wrong))

    assert sentence in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("retry", "Say schedule=, the waits between its tries"),
        ("retries", "Say schedule=, the waits between its tries"),
        ("tries", "Say schedule=, the waits between its tries"),
        ("header", "Did you mean headers?"),
        ("read_time", "Did you mean read_timeout?"),
        ("queue", "There are allow, body, connect_timeout, headers, method, name, read_timeout, schedule, sign, url."),
        ("label", "There are "),
    ],
)
def test_an_unknown_option_is_refused_with_a_hint(option: str, hint: str) -> None:
    with pytest.raises(DeclarationError) as raised:
        Deliver(URL, **{option: 3})  # type: ignore[arg-type]

    assert str(raised.value).startswith(f"Deliver has no option {option}. {hint}")
    assert raised.value.option == option


def test_it_can_be_copied_with_other_options() -> None:
    one = replace(Deliver(URL, name="orders"), method="PUT")

    assert (one.url, one.name, one.method) == (URL, "orders", "PUT")


@pytest.mark.parametrize("wrong", [{"type": ""}, {"type": "a\nb"}, {"source": "a b"}, {"source": ""}, {"binary": 1}])
def test_wrong_cloudevents_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(DeclarationError, match="CloudEvents"):
        CloudEvents(**wrong)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"deliver": []}, "empty list"),
        ({"deliver": 7}, "a int"),
        ({"deliver": [URL, None]}, "a list"),
        ({"deliver": "http://10.0.0.1/"}, "allow="),
        ({"deliver": [URL, URL]}, "called shop.example. Give each a name"),
        ({"deliver": URL, "job": "a.b"}, "one of them"),
        ({"deliver": URL, "retry": 3}, "schedule="),
        ({"deliver": URL, "timeout": 60}, "longer timeout="),
        ({"deliver": Deliver(URL, read_timeout=100)}, "longer timeout="),
        ({}, 'or deliver="https://'),
    ],
)
def test_a_route_says_either_a_job_or_where_to_deliver(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DeclarationError, match=sentence):
        Route("/a", verify=None, **options)


def test_a_route_takes_a_url_a_deliver_or_a_list() -> None:
    one, many = route(URL), route([URL, Deliver("http://shop.example:8080/x?y", name="b"), "https://b.example"])
    slow = route(Deliver(URL, read_timeout=100), timeout="10m")

    assert [found.name for found in one.destinations] == ["shop.example"]
    assert [found.name for found in many.destinations] == ["shop.example", "b", "b.example"]
    assert [found.label for found in many.destinations] == [
        "https://shop.example/…",
        "http://shop.example:8080/…",
        "https://b.example/",
    ]
    assert [found.title for found in many.destinations] == [
        "https://shop.example/…",
        "b (http://shop.example:8080/…)",
        "https://b.example/",
    ]
    assert one.targets[0].job_of == many.targets[0].job_of == slow.targets[0].job_of == "trafficrelay.deliver.deliver"


def test_a_relay_declares_it_with_the_decorator_too() -> None:
    relay = Relay(outbox=MemoryOutbox())
    relay.route("/a", verify=None, deliver=URL)(lambda event: event.data)

    assert relay.routes[0].destinations[0].url == URL


def test_its_repr_shows_neither_url_nor_headers_nor_keys() -> None:
    shown = repr(
        route(
            Deliver("https://shop.example/p4th?t0ken", headers={"X-Key": "h3ader"}, sign=basic("ann", "passw0rd")),
        ).destinations
    )

    assert "shop.example" in shown
    assert [secret for secret in ("p4th", "t0ken", "h3ader", "passw0rd") if secret in shown] == []


def test_the_only_destination_is_meant_by_any_name_and_of_several_one_by_its_own() -> None:
    """The only one may have moved to another host since."""
    only = destinations(URL)
    several = destinations([URL, "https://b.example"])

    assert chosen(only, "old.example") is only[0]
    assert chosen(several, "b.example") is several[1]
    assert chosen(several, "old.example") is None


def test_importing_and_declaring_loads_neither_urllib3_nor_rq_nor_bottle() -> None:
    code = (
        "import sys; import trafficrelay as t; t.Deliver('https://a.example'); "
        "t.Route('/a', verify=None, deliver='https://a.example'); "
        "print([name for name in ('urllib3', 'rq', 'redis', 'bottle') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "[]\n"


def test_the_job_loads_no_bottle() -> None:
    code = "import sys; import trafficrelay.deliver; print('bottle' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


def test_without_urllib3_the_job_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['urllib3'] = None; sys.modules['urllib3.connection'] = None\n"
        "try:\n    import trafficrelay.deliver\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "DeliveryError" in done.stdout
    assert "pip install 'trafficrelay[deliver]'" in done.stdout


def test_check_calls_it_a_fault_when_urllib3_is_missing_and_says_that_a_scheduler_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    relay, _ = make_relay(route(URL))
    fine = [finding.text for finding in of_routes(relay)]
    monkeypatch.setattr("trafficrelay.checkup.find_spec", lambda name: None)
    missing = [finding for finding in of_routes(relay) if "urllib3" in finding.text]

    assert any("--with-scheduler" in text for text in fine)
    assert not any("urllib3" in text for text in fine)
    assert [(finding.level, finding.about) for finding in missing] == [("fault", "/a")]
    assert "pip install 'trafficrelay[deliver]'" in missing[0].text
    assert "workers" in missing[0].text


# Schedule


def test_the_default_is_eight_tries_in_about_28_hours() -> None:
    """On average; the waits are drawn, and none is over a day."""
    chance = random.Random(7)
    plan = schedule(DEFAULT)
    totals = []
    for _ in range(4000):
        waits = [plan.wait(tries, chance.random) for tries in range(1, 8)]
        totals.append(sum(wait for wait in waits if wait is not None))

    assert plan.tries == 8
    assert plan.wait(8) is None
    assert 27 * 3600 < statistics.mean(totals) < 29 * 3600
    assert max(plan.waits) == 86_400


def test_full_jitter_draws_each_wait_from_a_second_to_its_most() -> None:
    """All as likely, and the most grows from try to try."""
    chance = random.Random(7)
    plan = schedule(DEFAULT)
    for tries, most in enumerate(plan.waits, 1):
        drawn = [plan.wait(tries, chance.random) for _ in range(4000)]
        deciles = statistics.quantiles([wait for wait in drawn if wait is not None], n=10)

        assert all(wait is not None and 1 <= wait <= most for wait in drawn)
        assert all(abs(at - most * n / 10) < max(most * 0.03, 1) for n, at in enumerate(deciles, 1))
    assert all(later >= earlier for earlier, later in pairwise(plan.waits))


def test_a_list_of_waits_is_kept_to() -> None:
    plan = schedule([10, "15m", timedelta(hours=1), 0])

    assert [plan.wait(tries) for tries in range(1, 6)] == [10, 900, 3600, 1, None]
    assert plan.patience == LEAST_PATIENCE


def test_an_empty_list_is_a_single_try() -> None:
    assert (schedule([]).tries, schedule([]).wait(1)) == (1, None)


def test_a_backoff_is_taken_as_it_is() -> None:
    plan = schedule(Backoff(3, first=10, factor=3, longest="1m", jitter=False))

    assert [plan.wait(tries) for tries in range(1, 5)] == [10, 30, 60, None]


def test_a_delivery_may_be_put_off_for_as_long_as_its_schedule_may_last() -> None:
    assert schedule(DEFAULT).patience == sum(schedule(DEFAULT).waits) > LEAST_PATIENCE


# Outcome


def response(status: int, **headers: str) -> Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(status=status, headers=named, body=b"", seconds=0.1)


KINDS: dict[str, list[int]] = {
    "delivered": [200, 201, 202, 204, 206, 226, 299],
    "disabled": [410],
    "retry": [408, 425, 429, 500, 501, 502, 503, 504, 505, 511, 599],
    "failed": [300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 409, 412, 413, 415, 418, 421, 451, 499],
}


@pytest.mark.parametrize(("kind", "status"), [(kind, status) for kind, all_ in KINDS.items() for status in all_])
def test_each_status_has_one_outcome(kind: str, status: int) -> None:
    """Of these, a 5xx alone says that the destination is down."""
    found = outcome.of_response(response(status), NOON)

    assert found.kind == kind
    assert found.down == (500 <= status <= 599)
    assert str(status) in found.said


def test_statuses_that_http_does_not_know_fail() -> None:
    assert {outcome.of_response(response(status), NOON).kind for status in (600, 999)} == {"failed"}


def test_no_answer_is_tried_again_and_counts_as_down() -> None:
    found = outcome.of_failure(ConnectionFailed("the host refuses", sent=False))

    assert (found.kind, found.down, found.status) == ("retry", True, 0)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("86401", 86_400),
        ("9" * 5000, 86_400),
        ("Sun, 01 Mar 2026 12:01:40 GMT", 100),
        ("Sunday, 01-Mar-26 12:01:40 GMT", 100),
        ("Sun Mar  1 12:01:40 2026", 100),
        ("Sun, 01 Mar 2026 11:00:00 GMT", 0),
        ("Sun, 01 Mar 2099 11:00:00 GMT", 86_400),
        ("", 0),
        ("-5", 0),
        ("1.5", 0),
        ("soon", 0),
        ("\u0667", 0),
        ("Sun, 99 Mar 2026 12:01:40 GMT", 0),
        ("Fri, 31 Dec 99999 23:59:59 GMT", 0),
    ],
)
def test_retry_after_is_read_in_every_form_and_bounded(value: str, seconds: int) -> None:
    assert outcome.retry_after(value, NOON) == seconds


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_retry_after_counts_wherever_another_try_is_made(status: int) -> None:
    assert outcome.of_response(response(status, retry_after="7"), NOON).retry_after == 7


# Envelope


ORIGIN = Origin("0123456789abcdef0123456789abcdef-1", NOON, {"shop": "acme"})


def order(**options: Any) -> Order:
    return Order(**({"modules": ("m",), "route": "/hooks/<shop>", "method": "POST", "to": "shop.example"} | options))


def test_headers_of_the_users_take_the_place_of_ours_and_a_signature_that_of_both() -> None:
    class Signer:
        def sign(self, body: bytes, now: datetime) -> dict[str, str]:
            return {"X-SIGN": "signed"}

    sent = envelope(
        Deliver(URL, headers={"content-type": "text/x-shop", "x-sign": "mine"}, sign=Signer()),
        order(data=1),
        ORIGIN,
        NOON,
    )

    assert sent.headers == {"webhook-id": ORIGIN.id, "content-type": "text/x-shop", "X-SIGN": "signed"}


def test_a_signer_of_the_users_is_given_what_it_takes() -> None:
    class Signer:
        def sign(self, body: bytes, now: datetime, *, url: str, method: str, message_id: str) -> dict[str, str]:
            return {"X-Sign": f"{method} {url} {message_id}"}

    sent = envelope(Deliver(URL, sign=Signer(), method="PUT"), order(data=1), ORIGIN, NOON)

    assert sent.headers["X-Sign"] == f"PUT {URL} {ORIGIN.id}"


def test_a_signer_that_wants_a_form_signs_one() -> None:
    """As it came, with its own type."""
    sent = envelope(
        Deliver(URL, sign=mandrill("key"), body="raw"),
        order(raw=b"b=2&a=1", content_type="application/x-www-form-urlencoded"),
        ORIGIN,
        NOON,
    )
    event = make_event(headers=sent.headers, body=sent.body, url=sent.url)

    assert mandrill("key")(event) is True
    with pytest.raises(DeliveryError, match="could not be signed"):
        envelope(Deliver(URL, sign=mandrill("key")), order(data=1), ORIGIN, NOON)


def test_the_signature_has_the_time_of_the_try_and_the_id_of_the_job() -> None:
    sent = envelope(Deliver(URL, sign=standard_webhooks(WHSEC)), order(data={"n": 1}), ORIGIN, NOON)
    later = envelope(
        Deliver(URL, sign=standard_webhooks(WHSEC)), order(data={"n": 1}), ORIGIN, NOON + timedelta(hours=1)
    )

    assert sent.headers["webhook-id"] == later.headers["webhook-id"] == ORIGIN.id
    assert sent.headers["webhook-timestamp"] == str(int(NOON.timestamp()))
    assert sent.headers["webhook-signature"] != later.headers["webhook-signature"]


def test_sign_of_standard_webhooks_makes_an_id_up_where_none_is_given() -> None:
    verifier = standard_webhooks(WHSEC)
    headers = verifier.sign(b"{}", NOON)

    assert headers["webhook-id"].startswith("msg_")
    assert verifier(make_event(headers=headers, body=b"{}")) is True


def test_the_source_of_a_cloud_event_is_its_path_as_a_uri_reference() -> None:
    whole = envelope(Deliver(URL, body="cloudevents"), order(data=None, route="/a b/<shop>/<n:int>"), ORIGIN, NOON)

    assert json.loads(whole.body)["source"] == "/a%20b/acme/n"


def test_a_content_type_that_a_sender_broke_up_cannot_add_a_header() -> None:
    sent = envelope(Deliver(URL, body="raw"), order(raw=b"", content_type="a/b\r\nX-Evil: 1"), ORIGIN, NOON)

    assert sent.headers["Content-Type"] == "a/bX-Evil: 1"


# Orders and progress


@pytest.mark.parametrize(
    "what", [{"data": {"a": [1, None]}}, {"data": None}, {"raw": b"\xff\x00", "content_type": "a/b"}]
)
def test_an_order_is_read_as_it_was_written(what: dict[str, Any]) -> None:
    written = order(**what).to_dict()

    assert Order.from_dict(json.loads(json.dumps(written))) == order(**what)


@pytest.mark.parametrize(
    "broken", [None, [], {}, {"v": 2}, {"v": 1}, order(data=1).to_dict() | {"body": "=", "data": 1}]
)
def test_a_broken_order_is_refused_with_a_sentence(broken: Any) -> None:
    with pytest.raises(DeliveryError, match=r"format|whole"):
        Order.from_dict(broken)


def test_an_event_becomes_one_job_for_each_destination_and_item_in_one_handover() -> None:
    outbox = MemoryOutbox()
    both = route([URL, Deliver("https://b.example", name="raw", body="raw")], queue="out", failure_ttl="7d")
    Intake(outbox, module="shop.hooks").accept(
        both, make_event(route="/a", body=b"[1, 2]", headers={"Content-Type": "application/json"})
    )
    jobs = outbox.jobs

    assert len(outbox.handovers) == 1
    assert {(job.function, job.queue, job.options.failure_ttl) for job in jobs} == {
        ("trafficrelay.deliver.deliver", "out", 604_800)
    }
    assert [(job.data["to"], job.data.get("data"), job.data.get("body")) for job in jobs] == [
        ("shop.example", [1, 2], None),
        ("raw", None, "WzEsIDJd"),
    ]
    assert jobs[0].data["modules"] == ["shop.hooks", "trafficrelay.transform"]


def test_two_programs_that_deliver_from_one_rule_to_different_places_do_not_share_duplicates() -> None:
    """Their relays may be on one Redis."""
    outbox = MemoryOutbox()
    event = make_event(route="/a", headers={"Content-Type": "application/json"})
    for url in (URL, "https://b.example"):
        Intake(outbox).accept(route(url, dedupe="data:order"), replace(event, id=f"of {url}"))

    assert len(outbox.handovers) == 2


def test_an_event_becomes_no_more_deliveries_than_it_may_become_jobs() -> None:
    """They are written in one step, which holds up Redis."""
    outbox = MemoryOutbox()
    many = route(
        [Deliver(URL, name=str(number)) for number in range(11)], transform=lambda event: (n for n in range(91))
    )
    Intake(outbox).accept(many, make_event(route="/a"))

    assert outbox.jobs == []
    assert "91 items for 11 destinations are more than the 1000 jobs" in outbox.dead_letters[0].traceback


def test_what_is_no_progress_of_ours_begins_anew() -> None:
    past = Progress(5.0, 3, 2, {"status": 500})
    for stored in ({}, {KEY: 7}, {KEY: {"v": 9}}, {KEY: {"v": 1, "since": "x"}}, {KEY: past.to_dict(over=True)}):
        assert Progress.of(stored, 7.0) == Progress(7.0)
    assert Progress.of({KEY: past.to_dict()}, 7.0) == past


def test_what_is_kept_of_an_answer_that_is_no_text_is_json_safe() -> None:
    found = kept(Response(status=200, headers={"x-a": "\xff"}, body=b"\xff\x00" + b"x" * 5000, seconds=1.23456), ())

    assert len(found["body"]) <= 1024
    assert json.loads(json.dumps(found)) == found
    assert found["seconds"] == 1.235


@pytest.mark.parametrize("room", [1, 3, 4, 10, 17, 18, 30])
def test_a_secret_that_is_cut_off_with_the_answer_is_hidden_as_well(room: int) -> None:
    body = b"x" * (1024 - room) + b"s3cret-t0ken-value" + b"y" * 20
    found = kept(Response(status=200, headers={}, body=body[:1024], seconds=0.1), ("s3cret-t0ken-value", "other"))

    assert "s3cr" not in found["body"]


def test_basic_credentials_are_hidden_decoded_too_and_what_is_none_does_no_harm() -> None:
    well = envelope(Deliver(URL, sign=basic("ann", "passw0rd")), order(data=1), ORIGIN, NOON)
    none = envelope(Deliver(URL, headers={"Authorization": "Basic abcde"}), order(data=1), ORIGIN, NOON)

    assert {"passw0rd", "ann:passw0rd", well.headers["Authorization"]} <= set(well.secrets)
    assert "Basic abcde" in none.secrets


@pytest.mark.parametrize("form", ["data", "raw"])
def test_forget_looks_into_what_is_delivered(form: str) -> None:
    search = Search([condition("customer.email=ann@example.com")])
    body = b'{"customer": {"email": "ann@example.com"}}'
    what = {"raw": body, "content_type": "application/json"} if form == "raw" else {"data": json.loads(body)}
    stored = order(**what).to_dict()

    job = Job(function="trafficrelay.deliver.deliver", queue="out", data=stored, options=JobOptions())

    assert search.in_job(job.function, stored)
    assert search.in_handover(Handover(id="x", context={}, jobs=(job,)))
    assert not Search([condition("customer.email=bob@example.com")]).in_job("trafficrelay.deliver.deliver", stored)


def test_the_time_in_utc_is_what_dates_are_held_against() -> None:
    date = "Sun, 01 Mar 2026 13:00:10 +0100"

    assert outcome.retry_after(date, datetime(2026, 3, 1, 12, 0, tzinfo=UTC)) == 10
