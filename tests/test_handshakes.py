"""Challenges: each vector of tests/vectors with an `answer` is sent to a real relay, and answered as it says."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlsplit

import bottle
import pytest
import webtest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import make_event, make_relay
from tests.test_verify_vectors import VECTORS, body_of, event_of, made, vectors_of
from trafficrelay import MemoryOutbox, Route, verify
from trafficrelay.errors import Malformed, Refusal
from trafficrelay.intake import Intake
from trafficrelay.reply import Reply
from trafficrelay.testing import RelayClient as Client
from trafficrelay.testing.saved import SavedRequest
from trafficrelay.verify import CATALOGUE
from trafficrelay.verify.confirms import CONFIRM
from trafficrelay.verify.handshake_kinds import Echo
from trafficrelay.verify.handshakes import meet

SECRET = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81"


def handshakes() -> list[Any]:
    """Each provider's vectors that are challenges, and those of no provider, whose files begin with _."""
    return [
        pytest.param(path.stem, vector, id=f"{path.stem} {number}")
        for path in sorted(VECTORS.glob("*.json"))
        if path.stem in CATALOGUE or path.stem.startswith("_")
        for number, vector in enumerate(vectors_of(path.stem), 1)
        if "answer" in vector
    ]


def client_for(name: str, vector: dict[str, Any], path: str) -> Client:
    """A client of a relay whose one route is for a vector."""
    check = made(CATALOGUE[name], vector) if name in CATALOGUE else None
    return Client(make_relay(Route(path, verify=check, job="tests.jobs.echo"))[0])


def send(client: Client, request: dict[str, Any], vector: dict[str, Any]) -> Any:
    """Send a vector's request."""
    url = urlsplit(request["url"])
    target = (url.path or "/") + (f"?{url.query}" if url.query else "")
    headers = {"Host": url.netloc, **request["headers"]}
    with client.at(datetime.fromisoformat(vector["at"])):
        return client.send(SavedRequest(request["method"], target, headers, body_of({"request": request})))


@pytest.mark.parametrize(("name", "vector"), handshakes())
def test_a_providers_challenge_is_answered_as_its_provider_says(name: str, vector: dict[str, Any]) -> None:
    """A provider's challenge is answered as its provider says, and nothing of it is queued."""
    client = client_for(name, vector, urlsplit(vector["request"]["url"]).path or "/")
    wanted = vector["answer"]

    answer = send(client, vector["request"], vector)

    assert answer.status == wanted["status"]
    assert {key: answer.headers[key].partition(";")[0] for key in wanted.get("headers", {})} == wanted.get(
        "headers", {}
    )
    if "json" in answer.headers.get("content-type", "") and wanted["status"] < 400:
        assert answer.json == json.loads(wanted["body"])
    elif "body" in wanted:
        assert answer.text == wanted["body"]
    assert [job.function for job in answer.queued] in ([], [CONFIRM])
    assert not answer.spooled
    assert answer.dead_letter is None


def signed_handshakes() -> list[Any]:
    """Those that their provider signs, and that have to be answered."""
    found = []
    for pair in handshakes():
        name, vector = pair.values
        if name in CATALOGUE and vector["answer"]["status"] < 400:
            check, event = made(CATALOGUE[name], vector), event_of(vector)
            if meet(check.handshakes, event, check, signed=True):
                found.append(pair)
    return found


@pytest.mark.parametrize(("name", "vector"), signed_handshakes())
def test_a_challenge_that_is_signed_is_refused_without_its_signature(name: str, vector: dict[str, Any]) -> None:
    """A challenge that is signed is refused when its signature is gone or its body was changed."""
    client = client_for(name, vector, urlsplit(vector["request"]["url"]).path or "/")
    request = vector["request"]
    proofs = client.relay.routes[0].secret_headers
    bare = {key: value for key, value in request["headers"].items() if key.lower() not in proofs}
    changed = (
        request["body"].replace("e", "f", 1)
        if "Signature" not in request["body"]
        else request["body"].replace('Signature" : "', 'Signature" : "A')
    )

    forged = [{**request, "headers": bare}, {**request, "body": changed}]
    answers = [send(client, one, vector) for one in forged if one != request]

    assert answers
    assert all(answer.status == 401 for answer in answers)
    client.assert_nothing_queued()


def test_every_challenge_of_the_catalogue_has_a_vector() -> None:
    """Every challenge of the catalogue has a vector."""
    tested = {value.values[0] for value in handshakes()}

    assert [name for name, row in CATALOGUE.items() if row.handshakes and name not in tested] == []


# On methods that the route does not take


def meta(**options: Any) -> Client:
    check = verify.meta(secret="app", **options)
    return Client(make_relay(Route("/meta", verify=check, job="tests.jobs.echo"))[0])


def test_a_get_that_is_no_challenge_is_not_allowed() -> None:
    """A GET that is no challenge is a 405 that names the methods of the route alone."""
    answer = meta(verify_token="mine").get("/meta?hub.mode=unsubscribe")

    assert answer.status == 405
    assert answer.headers["allow"] == "POST"


def test_options_and_head_know_nothing_of_challenges() -> None:
    """OPTIONS and HEAD name the methods of the route alone."""
    client = meta(verify_token="mine")

    options, head = client.request("OPTIONS", "/meta"), client.request("HEAD", "/meta?hub.mode=subscribe")

    assert (options.status, options.headers["allow"]) == (204, "POST")
    assert (head.status, head.headers["allow"]) == (200, "POST")


def test_a_route_that_somebody_declared_for_get_has_its_requests() -> None:
    """What is declared for a method comes before the challenges of another route."""
    check = verify.meta(secret="app", verify_token="mine")
    relay, outbox = make_relay(
        Route("/meta", verify=check, job="tests.jobs.echo"),
        Route("/<any>", verify=None, job="tests.jobs.echo", methods=["GET"]),
    )

    answer = Client(relay).get("/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=mine")

    assert answer.status == 202
    assert outbox.jobs == []


def test_a_challenge_comes_through_a_mount() -> None:
    """A challenge comes through a host that mounts the relay, and what is none is a 405 there too."""
    relay, _ = make_relay(
        Route("/meta/<app>", verify=verify.meta(secret="app", verify_token="mine"), job="tests.jobs.echo")
    )
    host = bottle.Bottle()
    host.mount("/relay/", relay.app)
    app = webtest.TestApp(host)

    answer = app.get("/relay/meta/a?hub.mode=subscribe&hub.challenge=7&hub.verify_token=mine", status=200)
    none = app.get("/relay/meta/a", status=405)

    assert answer.body == b"7"
    assert none.headers["Allow"] == "POST"


def test_a_challenge_knows_its_wildcards() -> None:
    """A challenge comes through a rule with wildcards, and its secret is looked up by them."""
    check = verify.x(secret=lambda event: {"a": "one", "b": "two"}[str(event.params["app"])])
    client = Client(make_relay(Route("/x/<app>", verify=check, job="tests.jobs.echo"))[0])

    answers = {app: client.get(f"/x/{app}?crc_token=MDAx") for app in "abc"}

    assert [answer.status for answer in answers.values()] == [200, 200, 401]
    assert answers["a"].json != answers["b"].json


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("hub.challenge=1&hub.verify_token=mine", 200),
        ("hub.challenge=1&hub.verify_token=yours", 401),
        ("hub.challenge=1&hub.verify_token=min%C3%A9", 401),
        ("hub.challenge=1&hub.verify_token=mine&hub.verify_token=mine", 401),
        ("hub.challenge=1", 401),
        ("hub.verify_token=mine", 400),
        ("hub.challenge=&hub.verify_token=mine", 400),
        ("hub.challenge=%3Cscript%3E&hub.verify_token=mine", 400),
        ("hub.challenge=1&hub.challenge=2&hub.verify_token=mine", 400),
        (f"hub.challenge={'1' * 5000}&hub.verify_token=mine", 400),
        ("hub.challenge=%C3%A9&hub.verify_token=mine", 400),
        ("hub.challenge=1%0D%0ASet-Cookie:x&hub.verify_token=mine", 400),
    ],
)
def test_a_challenge_with_a_fault_is_refused(query: str, status: int) -> None:
    """A challenge whose token or text is not as it should be is refused with a problem."""
    answer = meta(verify_token="mine").get(f"/meta?hub.mode=subscribe&{query}")

    assert answer.status == status
    assert answer.headers["content-type"].partition(";")[0] == (
        "text/plain" if status == 200 else "application/problem+json"
    )


def test_without_a_verify_token_every_challenge_is_refused() -> None:
    """Without a verify_token= every challenge is refused."""
    assert meta().get("/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=").status == 401


def test_one_of_several_verify_tokens_will_do() -> None:
    """One of several verify tokens will do."""
    client = meta(verify_token=["old", "new"])

    assert client.get("/meta?hub.mode=subscribe&hub.challenge=1&hub.verify_token=old").text == "1"


@pytest.mark.parametrize("row", [one for one in CATALOGUE.values() if one.handshakes], ids=lambda row: row.name)
def test_what_is_echoed_is_never_html(row: Any) -> None:
    """What a challenge may hold has no angle brackets, no control characters and an end."""
    patterns = [pattern for one in row.handshakes if (pattern := getattr(one, "characters", None))]

    for pattern in patterns:
        assert not [
            letter
            for letter in map(chr, range(0x250))
            if re.search(r"[<>\x00-\x1f\x7f-\uffff]", letter) and pattern.fullmatch(letter * 8)
        ]
        assert not pattern.fullmatch("a" * 10_000)
        assert not pattern.fullmatch("1" * 10_000)


def test_what_is_echoed_is_sent_as_plain_text_that_is_not_sniffed() -> None:
    """What is echoed is sent as text/plain and not sniffed, whatever it is."""
    check = verify.microsoft_graph(secret="state")
    client = Client(make_relay(Route("/graph", verify=check, job="tests.jobs.echo"))[0])
    text = "Validation: it's \"quoted\" & 100% {'fine'}"

    answer = client.post("/graph?validationToken=" + quote(text), b"")

    assert answer.text == text
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["x-content-type-options"] == "nosniff"


# An oracle


def test_what_a_challenge_signs_for_anybody_is_no_event() -> None:
    """The answer of an unsigned challenge is a signature, and a body that it fits is refused."""
    client = Client(make_relay(Route("/x", verify=verify.x(secret="consumer"), job="tests.jobs.echo"))[0])
    forged = "MDAx"
    signature = client.get(f"/x?crc_token={forged}").json["response_token"]

    headers = {"x-twitter-webhooks-signature": signature}
    for kind in ("text/plain", "application/json"):
        assert client.post("/x", forged, content_type=kind, headers=headers).status == 401
    client.assert_nothing_queued()


@pytest.mark.parametrize("body", ['{"a":1}', "[1]", '"a"', "a b", "%7B%7D{"])
def test_a_challenge_that_could_be_an_event_is_not_signed(body: str) -> None:
    """A challenge that could be an event is not signed."""
    client = Client(make_relay(Route("/x", verify=verify.x(secret="consumer"), job="tests.jobs.echo"))[0])

    assert client.get(f"/x?crc_token={quote(body)}").status == 400


# Secrets that a challenge brings


def asana(rule: str = "/asana", **options: Any) -> Client:
    return Client(make_relay(Route(rule, verify=verify.asana(**options), job="tests.jobs.echo"))[0])


def bring(client: Client, secret: str, path: str = "/asana") -> Any:
    return client.post(path, b"{}", headers={"X-Hook-Secret": secret}, content_type="application/json")


def signed(
    client: Client, secret: str, path: str = "/asana", body: bytes = b'{"events": [{"action": "added"}]}'
) -> Any:
    headers = verify.asana(secret=secret).sign(body)
    return client.post(path, body, headers=headers, content_type="application/json")


def test_a_secret_that_was_brought_verifies_what_comes_after() -> None:
    """A secret that a challenge brought verifies what comes after it."""
    client = asana()

    before = signed(client, SECRET)
    brought = bring(client, SECRET)
    after = signed(client, SECRET)

    assert before.status == 401
    assert (brought.status, brought.headers["x-hook-secret"], brought.body) == (200, SECRET, b"")
    assert after.status in (200, 204)
    assert len(after.queued) == 1
    assert signed(client, "another").status == 401


def test_the_same_secret_may_be_brought_again_and_another_one_may_not(caplog: pytest.LogCaptureFixture) -> None:
    """The same secret may be brought again, another one may not; the log says both, and neither secret."""
    client = asana()

    answers = [bring(client, secret) for secret in (SECRET, SECRET, "f" * 64, "f" * 64)]

    assert [answer.status for answer in answers] == [200, 200, 401, 401]
    assert "x-hook-secret" not in answers[2].headers
    assert signed(client, SECRET).status in (200, 204)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == 2
    assert "brought the secret for /asana" in warnings[0]
    assert "redis-cli HGET 'trafficrelay:1:brought:/asana' -" in warnings[0]
    assert "redis-cli HDEL 'trafficrelay:1:brought:/asana' -" in warnings[1]
    assert SECRET not in caplog.text
    assert "f" * 64 not in caplog.text


def test_each_path_of_a_rule_with_wildcards_has_a_secret_of_its_own() -> None:
    """Each path of a rule with wildcards has a secret of its own."""
    client = asana("/asana/<project>")
    bring(client, "1" * 64, "/asana/one")
    bring(client, "2" * 64, "/asana/two")

    assert signed(client, "1" * 64, "/asana/one").status in (200, 204)
    assert signed(client, "2" * 64, "/asana/two").status in (200, 204)
    assert signed(client, "1" * 64, "/asana/two").status == 401
    assert signed(client, "1" * 64, "/asana/three").status == 401


def test_a_secret_that_was_given_is_the_only_one() -> None:
    """Where the user gave a secret, a challenge has to bring that one, and nothing is kept."""
    client = asana(secret=[SECRET, "e" * 64])

    assert [bring(client, secret).status for secret in (SECRET, "e" * 64, "f" * 64)] == [200, 200, 401]
    assert signed(client, SECRET).status in (200, 204)


def test_an_environment_variable_that_is_not_set_does_not_open_the_route() -> None:
    """A secret that is None is an error, and not a secret that is still to come."""
    with pytest.raises(ValueError, match="empty secret"):
        verify.asana(secret=None)  # type: ignore[arg-type]


def test_while_redis_is_away_a_secret_is_neither_kept_nor_looked_up() -> None:
    """While Redis is away a challenge and what comes after it get a 503."""
    client = asana()

    with client.outage():
        assert bring(client, SECRET).status == 503
        assert signed(client, SECRET).status == 503
    assert signed(client, SECRET).status == 401


@pytest.mark.parametrize("secret", ["", "a b", "<b>", "é", "a" * 2000, "a, b"])
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    """A secret that is none is refused."""
    client = asana()

    assert bring(client, secret).status == 400
    assert bring(client, SECRET).status == 200


def test_notions_token_is_kept_and_then_verifies() -> None:
    """Notion's token is kept and then verifies, as the docs' own example does."""
    (challenge,) = [vector for vector in vectors_of("notion") if "answer" in vector]
    events = [vector for vector in vectors_of("notion") if "answer" not in vector]
    client = Client(make_relay(Route("/notion", verify=verify.notion(), job="tests.jobs.echo"))[0])

    answer = client.post("/notion", challenge["request"]["body"], content_type="application/json")

    assert (answer.status, answer.body, answer.challenge) == (200, b"", "verification_token")
    for event in events:
        if event["secret"] == challenge["secret"] and "verification_token" not in event["request"]["body"]:
            headers = event["request"]["headers"]
            assert client.post("/notion", body_of(event), headers=headers).status < 300


class Forgetful(MemoryOutbox):
    """Counts how often it is asked, and forgets when it is told to."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = 0

    def kept_secret(self, route: str, name: str) -> bytes | None:
        self.asked += 1
        return super().kept_secret(route, name)

    def forget(self) -> None:
        self._brought.clear()


def take(intake: Intake, route: Route, headers: dict[str, str], body: bytes = b"{}") -> Reply | Refusal:
    try:
        event = make_event(route=route.rule, params={}, headers=headers, body=body, data=None)
        return intake.accept(route, event)
    except Refusal as refusal:
        return refusal


def test_a_kept_secret_is_not_asked_for_with_every_event(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kept secret is asked for once in a while; one that was forgotten is noticed when another one signs."""
    outbox, route = Forgetful(), Route("/asana", verify=verify.asana(), job="tests.jobs.echo")
    intake = Intake(outbox)
    clock = [0.0]
    monkeypatch.setattr(intake._brought, "_clock", lambda: clock[0])
    old, new = (verify.asana(secret=one).sign(b"{}") for one in ("a" * 64, "b" * 64))
    take(intake, route, {"X-Hook-Secret": "a" * 64})
    outbox.asked = 0

    first = [take(intake, route, old) for _ in range(5)]
    asked = outbox.asked
    outbox.forget()
    outbox.keep_secret("/asana", "-", b"b" * 64)  # by another process
    refused = take(intake, route, new)
    clock[0] += 2
    taken = take(intake, route, new)

    assert all(isinstance(one, Reply) for one in first)
    assert asked <= 1
    assert isinstance(refused, Refusal)
    assert isinstance(taken, Reply)
    assert isinstance(take(intake, route, old), Refusal)


def test_a_kept_secret_is_shown_nowhere() -> None:
    """A kept secret is in no repr and no event, not even where the header comes with a signature."""
    outbox, route = MemoryOutbox(), Route("/asana", verify=verify.asana(), job="tests.jobs.echo")
    intake = Intake(outbox)
    take(intake, route, {"X-Hook-Secret": SECRET})
    headers = verify.asana(secret=SECRET).sign(b"[1]")
    take(intake, route, {**headers, "X-Hook-Secret": SECRET}, b"[1]")

    (handover,) = outbox.handovers
    assert SECRET not in f"{route!r} {intake._brought._known!r} {handover.context}"


# What is queued


def test_a_subscription_is_confirmed_by_one_job_however_often_it_is_asked() -> None:
    """A subscription is confirmed by one job, however often it is asked."""
    (vector,) = [
        one for one in vectors_of("aws_sns") if json.loads(one["request"]["body"])["Type"] == "SubscriptionConfirmation"
    ]
    client = client_for("aws_sns", vector, "/sns")
    request = {**vector["request"], "url": "https://hooks.example/sns"}

    first, again = send(client, request, vector), send(client, request, vector)

    assert first.challenge == "SubscriptionConfirmation"
    assert first.body == again.body == b""
    assert [job.function for job in first.queued] == [CONFIRM]
    assert first.queued[0].data == {"url": json.loads(vector["request"]["body"])["SubscribeURL"]}
    assert not again.queued
    assert client.run_jobs() == []


def test_a_challenge_is_neither_dropped_nor_an_event_to_a_test_client() -> None:
    """A test client tells a challenge from an event that was dropped."""
    answer = meta(verify_token="t").get("/meta?hub.mode=subscribe&hub.challenge=7&hub.verify_token=t")

    assert (answer.challenge, answer.dropped, answer.id) == ("hub.challenge", False, "")
    assert "as a challenge (hub.challenge)" in answer.said


def test_twitchs_revocation_is_an_event() -> None:
    """Twitch's revocation is an event: somebody has to know of it."""
    (challenge,) = [vector for vector in vectors_of("twitch") if "answer" in vector]
    check = verify.twitch(secret=challenge["secret"])
    client = Client(make_relay(Route("/t", verify=check, job="tests.jobs.echo"))[0])
    kind = {"Twitch-Eventsub-Message-Type": "revocation"}

    answer = client.post("/t", b'{"subscription": {}}', signed=True, headers=kind, content_type="application/json")

    assert len(answer.queued) == 1


# CloudEvents, and HEAD


def test_a_sender_of_cloudevents_is_let_send_at_the_rate_of_the_route() -> None:
    """A sender of CloudEvents is let send, at the rate of the route where that is lower than it asked for."""
    client = Client(
        make_relay(
            Route("/free", verify=None, job="tests.jobs.echo"),
            Route("/slow", verify=None, job="tests.jobs.echo", rate="30/m"),
        )[0]
    )

    def ask(path: str, **headers: str) -> tuple[int, str | None, str | None]:
        asked = {f"WebHook-Request-{name}": value for name, value in headers.items()}
        answer = client.request("OPTIONS", path, headers=asked)
        return answer.status, answer.headers.get("webhook-allowed-origin"), answer.headers.get("webhook-allowed-rate")

    assert ask("/free", Origin="a.example") == (200, "a.example", "*")
    assert ask("/free", Origin="a.example", Rate="120") == (200, "a.example", "120")
    assert ask("/slow", Origin="a.example", Rate="120") == (200, "a.example", "30")
    assert ask("/slow", Origin="a.example", Rate="none") == (200, "a.example", "30")
    assert ask("/free", Rate="120") == (204, None, None)
    assert ask("/free", Origin="<a>") == (204, None, None)
    assert ask("/nowhere", Origin="a.example") == (404, None, None)


@pytest.mark.parametrize("name", ["trello", "mandrill", "intercom"])
def test_a_probe_with_head_finds_the_route(name: str) -> None:
    """A provider that probes a URL with HEAD finds the route, and nothing is queued."""
    check: Any = CATALOGUE[name]
    client = Client(make_relay(Route("/hook", verify=check(secret="s3cret"), job="tests.jobs.echo"))[0])

    answer = client.request("HEAD", "/hook")

    assert (answer.status, answer.body) == (200, b"")
    client.assert_nothing_queued()


# Whatever comes

_PIECES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.sampled_from(["url_verification", "<b>", SECRET])
)
_VALUES = st.recursive(
    _PIECES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
_WITH_CHALLENGES = [name for name, row in CATALOGUE.items() if row.handshakes]


def _places(row: Any) -> dict[str, set[str]]:
    """Where a row's challenges look."""
    found: dict[str, set[str]] = {"header": set(), "query": set(), "data": set()}
    for one in row.handshakes:
        places = [
            *getattr(one, "when", {}),
            *(getattr(one, name, "") for name in ("challenge", "token", "secret", "url")),
        ]
        for place in filter(None, places):
            kind, _, name = place.partition(":")
            found[kind].add(name)
    return found


def outcome(take: Callable[[], Any]) -> tuple[int, bytes]:
    """Give the status and the body that a request is answered with; 204 for what is no challenge."""
    try:
        answered = take()
    except Refusal as refusal:
        return refusal.status, b""
    reply: Reply = getattr(answered, "reply", answered) or Reply(204)
    return reply.status, reply.body


@given(st.data())
def test_whatever_comes_is_answered_cleanly(data: st.DataObject) -> None:
    """Whatever comes to a route with challenges is an answer or a refusal, never an exception, and never HTML."""
    name = data.draw(st.sampled_from(_WITH_CHALLENGES))
    row = CATALOGUE[name]
    vector = next(one for one in vectors_of(name) if "answer" in one)
    route = Route("/x", verify=made(row, vector), job="tests.jobs.echo")
    places = _places(row)
    said = st.one_of(st.just(None), st.text(max_size=30), st.sampled_from(["subscribe", "1", "sync", SECRET]))
    latin = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
    headers = {one: data.draw(latin) for one in places["header"] if data.draw(st.booleans())}
    query = {one: data.draw(said | st.lists(st.text(max_size=5), max_size=3)) for one in places["query"]}
    fields = {one.partition(".")[0]: data.draw(_VALUES) for one in places["data"] if data.draw(st.booleans())}
    body = data.draw(st.one_of(st.just(json.dumps(fields).encode()), st.binary(max_size=40), st.just(b"webhook_id=1")))
    event = make_event(
        route="/x",
        params={},
        method=data.draw(st.sampled_from(["GET", "POST"])),
        headers={"Content-Type": "application/json", **headers},
        query={key: value for key, value in query.items() if value is not None},
        body=body,
        data=None,
    )
    intake = Intake(MemoryOutbox())

    take = intake.challenged if event.method == "GET" else intake.accept

    status, body = outcome(lambda: take(route, event))

    assert status < 300 or status in (400, 401, 415, 422)
    assert b"<" not in body


@given(st.data())
def test_a_verified_sender_can_say_anything_too(data: st.DataObject) -> None:
    """A challenge of a sender who is verified is answered or refused, whatever it holds."""
    name = data.draw(st.sampled_from(_WITH_CHALLENGES))
    row = CATALOGUE[name]
    vector = next(one for one in vectors_of(name) if "answer" in one)
    check = made(row, vector)
    places = _places(row)
    fields: dict[str, Any] = {}
    for one in row.handshakes:
        for place, wanted in getattr(one, "when", {}).items():
            if place.startswith("data:") and isinstance(wanted, str | int | list):
                fields[place[5:]] = wanted
    fields |= {one.partition(".")[0]: data.draw(_VALUES) for one in places["data"] - set(fields)}
    event = make_event(headers=vector["request"]["headers"], body=json.dumps(fields).encode(), data=None)

    for one in row.handshakes:
        status, body = outcome(lambda one=one: one.answer(event, check))

        assert status < 300 or status in (400, 401)
        assert b"<" not in body


def test_a_challenge_that_is_missing_where_one_is_announced_is_malformed() -> None:
    """A challenge that is announced and is not there is malformed."""
    echo = Echo(title="t", challenge="data:challenge", when={"data:type": "go"}, signed=True)
    check: Any = None

    with pytest.raises(Malformed, match="missing"):
        echo.answer(make_event(body=b'{"type": "go"}'), check)
    with pytest.raises(Malformed, match="none that"):
        echo.answer(make_event(body=b'{"type": "go", "challenge": {"a": 1}}'), check)
    assert echo.answer(make_event(body=b'{"type": "go on", "challenge": "a"}'), check) is None
    assert echo.answer(make_event(body=b'go {"type": "go"'), check) is None


def test_a_route_that_is_full_of_secrets_warns_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    """A route that keeps as many secrets as it may warns of the next one once in a while: anybody may bring more."""

    class Full(MemoryOutbox):
        def keep_secret(self, route: str, name: str, secret: bytes) -> bytes | None:
            return None

    intake, route = Intake(Full()), Route("/asana", verify=verify.asana(), job="tests.jobs.echo")
    with caplog.at_level("WARNING", "trafficrelay"):
        answers = [take(intake, route, {"X-Hook-Secret": f"secret-{number}"}) for number in range(20)]

    assert all(isinstance(one, Refusal) for one in answers)
    assert len(caplog.records) == 1


def test_a_challenge_that_is_refused_is_not_said_to_be_answered(caplog: pytest.LogCaptureFixture) -> None:
    """A challenge that does not verify is not said to be answered, on a method of its own neither."""
    client = Client(make_relay(Route("/okta", verify=verify.okta(secret="right"), job="tests.jobs.echo"))[0])
    challenge = {"X-Okta-Verification-Challenge": "abc"}
    with caplog.at_level("INFO", "trafficrelay"):
        refused = client.get("/okta", headers={**challenge, "Authorization": "wrong"})
        told = caplog.text
        answered = client.get("/okta", headers={**challenge, "Authorization": "right"})

    assert (refused.status, answered.status) == (401, 200)
    assert "was answered" not in told
    assert caplog.text.count("was answered") == 1
