"""Several secrets at once: which count, until when, what they are called, and which one a sender has."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from webtest import TestApp

from tests.support import NOON, accept, make_event
from trafficrelay import DeclarationError, Event, Relay, Unverified, current_event
from trafficrelay.testing import relay_client
from trafficrelay.verify import Key, basic, bearer, github, hmac_signature, meta, standard_webhooks
from trafficrelay.verify import secrets as secrets_module
from trafficrelay.verify.secrets import Secrets

BODY = b'{"order": 1}'
LAST_DAY = date(2999, 12, 31)
END = datetime(3000, 1, 1, tzinfo=UTC)
MOMENT = timedelta(microseconds=1)


def sent_with(secret: str, at: datetime = NOON) -> Event:
    """A push that is signed with one secret."""
    return make_event(headers=github(secret).sign(BODY), body=BODY, data=None, received_at=at, route="/github")


def refused(verifier: Any, event: Event) -> Unverified:
    with pytest.raises(Unverified) as caught:
        verifier.check(event)
    return caught.value


def at_time(monkeypatch: pytest.MonkeyPatch, moment: datetime) -> None:
    monkeypatch.setattr(secrets_module, "current_time", lambda: moment)


# Until when


@pytest.mark.parametrize(
    ("until", "end"),
    [
        (LAST_DAY, END),
        ("2999-12-31", END),
        ("29991231", END),
        (datetime(2999, 12, 31, 12), datetime(2999, 12, 31, 12, tzinfo=UTC)),
        ("2999-12-31T12:00", datetime(2999, 12, 31, 12, tzinfo=UTC)),
        ("2999-12-31 12:00:00", datetime(2999, 12, 31, 12, tzinfo=UTC)),
        ("2999-12-31T12:00Z", datetime(2999, 12, 31, 12, tzinfo=UTC)),
        ("2999-12-31T12:00+02:00", datetime(2999, 12, 31, 10, tzinfo=UTC)),
        (datetime(2999, 12, 31, 12, tzinfo=timezone(timedelta(hours=-5))), datetime(2999, 12, 31, 17, tzinfo=UTC)),
    ],
)
def test_a_secret_counts_until_its_moment_and_a_day_to_its_end(until: Any, end: datetime) -> None:
    """What has no zone is in UTC."""
    verifier = github([Key("old", until=until), "new"])

    assert verifier.check(sent_with("old", end - MOMENT)).key == "1"
    assert refused(verifier, sent_with("old", end)).cause == "mismatch"
    assert verifier.check(sent_with("new", end)).key == "2"


def test_the_same_key_may_be_given_to_several_verifiers() -> None:
    """Its date is read once, and means the same wherever it is given."""
    key = Key("old", until="2999-12-31")

    assert key.until == Key("old", until=key.until).until == END
    assert github([key]).check(sent_with("old", END - MOMENT)).key == ""


def test_the_last_day_that_there_is_has_no_end() -> None:
    assert Key("x", until=date.max).until is None


@pytest.mark.parametrize("until", ["", "soon", "2999-13-01", "2999-12-32T00:00", 20991231, 1.5, True, object()])
def test_what_is_no_date_is_refused_when_declared(until: Any) -> None:
    with pytest.raises(DeclarationError, match="until is a da") as caught:
        Key("s3cret", until=until)

    assert "s3cret" not in str(caught.value)


def test_when_an_event_arrived_decides_and_not_when_it_is_looked_at() -> None:
    """An event that waited in a queue of the server is of the time at which it came."""
    verifier = github([Key("old", until="2026-03-01"), Key("new", until="2999-12-31")])

    assert verifier.check(sent_with("old", NOON)).key == "1"


@pytest.mark.parametrize(
    "keys", [Key("old", until="2020-12-31"), [Key("old", until="2020-12-31"), Key("older", until=date(2019, 1, 1))]]
)
def test_a_route_none_of_whose_secrets_counts_any_more_is_refused_when_declared(keys: Any) -> None:
    """Not at its first event: nobody could send to it."""
    with pytest.raises(
        DeclarationError, match=r"^github: no secret counts any more; the last one did until 2021-01-01"
    ):
        github(keys)


def test_one_that_counts_is_enough() -> None:
    verifier = github([Key("old", until="2020-12-31"), "new"])

    assert refused(verifier, sent_with("old"))
    assert verifier.check(sent_with("new")).key == "2"


def test_when_the_last_secret_ends_nothing_is_verified_any_more() -> None:
    verifier = github([Key("old", until="2999-12-31")])

    assert refused(verifier, sent_with("old", END)).status == 401


# Names


def test_of_several_secrets_each_has_its_name_or_its_number_from_one() -> None:
    """The number is its place in the list, whether or not those before it still count."""
    verifier = github(["a", Key("b", name="second"), Key("c", until="2020-12-31"), b"d"])

    assert [held.name for held in verifier.secrets.all] == ["1", "second", "3", "4"]
    assert [verifier.check(sent_with(secret)).key for secret in ("a", "b", "d")] == ["1", "second", "4"]


def test_the_only_secret_has_no_number_but_may_have_a_name() -> None:
    assert github("a").check(sent_with("a")).key == ""
    assert github(["a"]).check(sent_with("a")).key == ""
    assert github(Key("a", name="2026")).check(sent_with("a")).key == "2026"


@pytest.mark.parametrize(
    "keys",
    [
        [Key("a", name="x"), Key("b", name="x")],
        ["a", Key("b", name="1")],
        [Key("a", name="2"), "b"],
    ],
)
def test_two_secrets_of_one_name_are_refused(keys: list[Any]) -> None:
    """The numbers of those without one among them."""
    with pytest.raises(DeclarationError, match=r"^github: two keys are called [x12]\.$"):
        github(keys)


@pytest.mark.parametrize("name", ["two words", "é", "-x", ".x", "a\n", "x" * 65, 'a"b', "{a}", 7, None])
def test_a_name_is_fit_for_logs_and_metrics(name: Any) -> None:
    with pytest.raises(DeclarationError, match="name has up to 64 letters"):
        Key("s3cret", name=name)


@pytest.mark.parametrize("secret", [None, 7, ["a"], {"a": "b"}, object()])
def test_a_key_holds_a_string_or_bytes(secret: Any) -> None:
    with pytest.raises(DeclarationError, match=r"^Key takes a string or bytes, not "):
        Key(secret)


@pytest.mark.parametrize("empty", ["", b""])
def test_an_empty_secret_among_several_is_refused(empty: Any) -> None:
    """Anybody could sign with it."""
    with pytest.raises(DeclarationError, match="empty secret"):
        github(["a", Key(empty, until="2999-12-31")])


def test_when_two_secrets_are_the_same_the_first_is_named() -> None:
    assert github([Key("a", name="new"), Key("a", name="old")]).check(sent_with("a")).key == "new"


# Tenants


def test_a_function_of_the_event_may_give_keys_with_names_and_dates() -> None:
    keys: dict[str, Any] = {
        "acme": [Key("new", name="new"), Key("old", name="old", until="2026-03-01")],
        "late": Key("old", until="2020-12-31"),
        "plain": "old",
        "none": None,
    }
    verifier = github(lambda event: keys[event.params["shop"]])

    def sent(shop: str, at: datetime = NOON) -> Event:
        event = sent_with("old", at)
        return make_event(headers=dict(event.headers), body=BODY, data=None, received_at=at, params={"shop": shop})

    assert verifier.check(sent("acme")).key == "old"
    assert verifier.check(sent("plain")).key == ""
    assert refused(verifier, sent("acme", NOON + timedelta(hours=12))).cause == "mismatch"
    # A tenant that nobody knows, and one whose secrets have all ended: the sender cannot tell them apart.
    answers = {refused(verifier, sent(shop)).detail for shop in ("late", "none", "nobody")}
    assert answers == {"The signature does not match."}
    assert refused(verifier, sent("nobody")).cause == "unknown"


# Other verifiers


@pytest.mark.parametrize("make", [bearer, github, lambda secret: basic("ada", secret)])
def test_verifiers_of_every_kind_tell_which_secret_matched(make: Any) -> None:
    verifier = make([Key("new", name="new"), Key("old", name="old", until="2999-12-31")])

    def sent(secret: str) -> Event:
        return make_event(headers=make(secret).sign(BODY), body=BODY, data=None)

    assert [verifier.check(sent(secret)).key for secret in ("new", "old")] == ["new", "old"]
    assert verifier(sent("old")) is True


def test_a_secret_that_is_decoded_is_told_by_its_name_too() -> None:
    new, old = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_b3RoZXJrZXlvdGhlcmtleQ=="
    verifier = standard_webhooks([Key(new, name="new"), Key(old, name="old")])
    event = make_event(headers=standard_webhooks(old).sign(BODY, NOON), body=BODY, data=None)

    assert verifier.check(event).key == "old"


def test_other_secrets_of_a_provider_rotate_as_well() -> None:
    tokens = meta("s", verify_token=[Key("old", until="2026-02-28"), "new"]).more["verify_token"]

    assert [held.key for held in tokens.of(make_event())] == [b"new"]


# Signing


def test_the_first_secret_that_counts_signs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A delivery is signed with the new secret as soon as the old one has ended."""
    verifier = github([Key("old", until="2999-12-31"), Key("new", name="new")])
    at_time(monkeypatch, END - MOMENT)
    before = verifier.sign(BODY)
    at_time(monkeypatch, END)
    after = verifier.sign(BODY)

    assert before == github("old").sign(BODY)
    assert after == github("new").sign(BODY)


def test_what_has_no_secret_any_more_does_not_sign(monkeypatch: pytest.MonkeyPatch) -> None:
    verifier = github([Key("old", until="2999-12-31")])
    at_time(monkeypatch, END)

    with pytest.raises(LookupError, match="github: no secret counts any more"):
        verifier.sign(BODY)


# What is shown


def test_no_repr_shows_a_secret() -> None:
    key = Key("s3cret", until="2999-12-31", name="old")
    verifier = github([key, "s3cret2"])
    shown = repr((key, verifier, verifier.secrets, verifier.secrets.all, Secrets("x", "s3cret")))

    assert "s3cret" not in shown
    assert "old" in shown


def test_a_refusal_does_not_tell_which_secrets_there_are() -> None:
    refusal = refused(github([Key("s3cret", name="nightingale")]), sent_with("other"))

    assert "nightingale" not in f"{refusal}{refusal.detail}{refusal.headers}"


# Its way


def test_the_event_says_which_secret_its_sender_has() -> None:
    """To the transforms and functions of the route, and in what is stored of it."""
    seen: list[str] = []

    def note(event: Event) -> Any:
        seen.append(event.verified_by)
        return event.data

    verify = github([Key("new", name="new"), Key("old", name="old", until="2999-12-31")])
    queue = {"new": "fast", "old": "slow"}
    _, outbox = accept(
        sent_with("old"), verify=verify, transform=note, queue=lambda event: queue[event.verified_by], job="a.b"
    )
    (handover,) = outbox.handovers

    assert seen == ["old"]
    assert [job.queue for job in handover.jobs] == ["slow"]
    assert handover.context["verified_by"] == "old"


def test_of_one_secret_nothing_is_stored() -> None:
    _, outbox = accept(sent_with("only"), verify=github("only"), job="a.b")

    assert "verified_by" not in outbox.handovers[0].context


def test_each_item_of_a_body_that_is_split_says_it() -> None:
    body = b"[1, 2]"
    verify = hmac_signature([Key("new", name="new"), Key("old", name="old")], header="X-S")
    headers = {**hmac_signature("old", header="X-S").sign(body), "content-type": "application/json"}
    _, outbox = accept(make_event(headers=headers, body=body, data=None), verify=verify, split=True, job="a.b")

    assert [handover.context["verified_by"] for handover in outbox.handovers] == ["old", "old"]


def test_what_is_stored_of_an_event_brings_it_back() -> None:
    """A dead letter that is replayed still knows it; one of an older version has none."""
    event = Event.from_dict(make_event(verified_by="old").to_dict())
    older = make_event(verified_by="old").to_dict()
    del older["verified_by"]

    assert event.verified_by == "old"
    assert Event.from_dict(older).verified_by == ""


def test_a_verifier_of_ones_own_tells_of_no_secret() -> None:
    _, outbox = accept(make_event(), verify=lambda event: True, job="a.b")

    assert "verified_by" not in outbox.handovers[0].context


def test_the_test_client_signs_with_a_secret_that_counts() -> None:
    """So that a route's tests go on when the old secret has ended."""
    relay = Relay("redis://localhost:1")
    relay.route("/github", verify=github([Key("old", until="2020-12-31"), "new"]), job="a.b")(lambda event: event.data)

    assert relay_client(relay).post_json("/github", {}, signed=True).status == 202


def say_key(data: Any) -> str:
    """A job: say which secret the sender of its event has."""
    event = current_event()
    assert event is not None
    return event.verified_by


@pytest.mark.rq
@pytest.mark.parametrize(("secret", "name"), [("new", "new"), ("old", "GITHUB_OLD"), ("last", "3")])
def test_a_job_knows_which_secret_the_sender_of_its_event_has(
    redis_url: str, client: redis.Redis, secret: str, name: str
) -> None:
    """In its meta, as `current_event()` gives it."""
    keys = [Key("new", name="new"), Key("old", name="GITHUB_OLD", until="2999-12-31"), "last"]
    with closing(Relay(redis_url)) as relay:
        relay.route("/github", verify=github(keys), job=f"{__name__}.say_key", queue="hooks")(lambda event: event.data)
        headers = {**github(secret).sign(BODY), "Content-Type": "application/json"}
        answer = TestApp(relay.app).post("/github", BODY, headers=headers)
        (id_,) = answer.json["jobs"]
    SimpleWorker([Queue("hooks", connection=client)], connection=client).work(burst=True)
    job = RQJob.fetch(id_, connection=client)

    assert job.meta["trafficrelay"]["verified_by"] == name
    assert job.return_value() == name
