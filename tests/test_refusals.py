"""Every refusal, over WSGI, alone and mounted in a Bottle host: what it says, and that it leaves nothing in Redis."""

from __future__ import annotations

import gzip
import hashlib
import hmac
import io
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from wsgiref.validate import validator

import bottle
import pytest
import redis
import webtest

from tests.support import jobs_in, make_relay, make_route, raising
from trafficrelay import DROP, Event, MemoryOutbox, OutboxError, Rejected, Relay, Reply, Unverified
from trafficrelay.verify import bearer, github, hmac_signature, standard_webhooks

SECRET = "hush-hush-secret"
CARD = "4111-1111-payload"
BODY = json.dumps({"card": CARD}).encode()
LIMIT = 200


class Http:
    """A relay as its senders reach it: wsgiref's validator and webtest's lint look at every request and answer."""

    def __init__(self, relay: Relay, *, mounted: bool) -> None:
        self.prefix = "/relay" if mounted else ""
        self.host = relay.app
        if mounted:
            self.host = bottle.Bottle()
            # What escapes the relay would otherwise be hidden by a page of Bottle's.
            self.host.catchall = False
            self.host.route("/", "GET", lambda: "the host's own")
            self.host.mount("/relay/", relay.app)
            self.host.route("/own/<name>", "GET", lambda name: f"the host's {name}")
        self.app = webtest.TestApp(validator(self.host))

    def send(
        self,
        path: str,
        method: str = "POST",
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        **environ: Any,
    ) -> webtest.TestResponse:
        """Send a request, with whatever `environ` says (`None` removes a key)."""
        request = webtest.TestRequest.blank(self.prefix + path, method=method, headers=headers or {}, body=body)
        if "Content-Type" not in (headers or {}):
            request.environ.pop("CONTENT_TYPE", None)
        for name, value in environ.items():
            if value is None:
                request.environ.pop(name, None)
            else:
                request.environ[name.replace("__", ".")] = value
        return self.app.do_request(request, expect_errors=True)


@pytest.fixture(params=["alone", "mounted"])
def serve(request: pytest.FixtureRequest) -> Callable[[Relay], Http]:
    return lambda relay: Http(relay, mounted=request.param == "mounted")


class Stream:
    """A `wsgi.input` that gives a piece and then does what `end` does."""

    def __init__(self, piece: bytes, end: Callable[..., bytes]) -> None:
        self.piece, self.end = piece, end

    def read(self, size: int) -> bytes:
        piece, self.piece = self.piece, b""
        return piece or self.end()

    def seek(self, at: int) -> None:
        """WebOb winds back what it sends; there is nothing to wind back here."""

    def readline(self, size: int = -1) -> bytes:
        raise AssertionError("the relay reads no lines")

    readlines = __iter__ = readline


def transform(event: Event) -> Any:
    if "x-reject" in event.headers:
        raise Rejected(int(event.headers["x-reject"]), "The shop does not want it.")
    if "x-boom" in event.headers:
        raise RuntimeError(f"{SECRET} {event.data}")
    return event.data


def orders(source: Any, **options: Any) -> Relay:
    """A relay with the routes that the refusals are about."""
    relay = Relay(source) if isinstance(source, str) else Relay(outbox=source)
    common: dict[str, Any] = {
        "verify": hmac_signature(SECRET, header="X-Signature"),
        "job": "tests.jobs.echo",
        "queue": "orders",
        "dedupe": "header:X-Delivery",
        "max_body": LIMIT,
        "on_error": "refuse",
        "transform": transform,
    }
    for rule in ("/orders/<number:int>", "/prices/<price:float>", "/shops/<shop>", "/files/<path:path>"):
        relay.add(make_route(rule=rule, **(common | options)))
    return relay


@dataclass(frozen=True)
class Delivery:
    """A delivery; as it stands a good one."""

    path: str = "/orders/7"
    method: str = "POST"
    body: bytes = BODY
    headers: dict[str, str] = field(default_factory=dict)
    environ: dict[str, Any] = field(default_factory=dict)
    key: str = SECRET

    def send(self, http: Http) -> webtest.TestResponse:
        usual = {
            "Content-Type": "application/json",
            "X-Delivery": "d-1",
            "X-Signature": hmac.new(self.key.encode(), self.body, hashlib.sha256).hexdigest(),
        }
        headers = {name: value for name, value in (usual | self.headers).items() if value}
        return http.send(self.path, self.method, self.body, headers, **self.environ)


GOOD = Delivery()
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "CONTENT_LENGTH": None}

REFUSED = {
    "malformed JSON": (400, Delivery(body=BODY[:-1])),
    "JSON that is nested too deep": (400, Delivery(body=b"[" * LIMIT)),
    "text that is not UTF-8": (400, Delivery(body=b"\xff", headers={"Content-Type": "text/plain"})),
    "truncated body": (400, Delivery(environ={"CONTENT_LENGTH": str(len(BODY) + 10)})),
    "connection that breaks": (
        400,
        Delivery(environ={"wsgi__input": Stream(BODY[:5], raising(ConnectionResetError()))}),
    ),
    "both lengths": (400, Delivery(headers={"Transfer-Encoding": "chunked"})),
    "bad number": (400, Delivery(path="/prices/1.2.3")),
    "number without an end": (400, Delivery(path="/orders/" + "9" * 5000)),
    "too many fields in the query": (400, Delivery(path="/orders/7?" + "a&" * 1001)),
    "unsigned": (401, Delivery(headers={"X-Signature": ""})),
    "wrongly signed": (401, Delivery(key="other")),
    "signature that is not ASCII": (401, Delivery(headers={"X-Signature": "\xe9"})),
    "unknown path": (404, Delivery(path="/nothing/here")),
    "path that the filter does not take": (404, Delivery(path="/orders/seven")),
    "root": (404, Delivery(path="/")),
    "not UTF-8 in the path": (404, Delivery(path="/nothing/%FF")),
    "the relay's own paths": (404, Delivery(path="/-/admin")),
    "wrong method": (405, Delivery(method="PUT")),
    "time-out": (408, Delivery(environ={"wsgi__input": Stream(BODY[:5], raising(TimeoutError()))})),
    "unreadable chunks": (411, Delivery(environ=CHUNKED)),
    "declared too large": (413, Delivery(body=b"1" * (LIMIT + 1))),
    "actually too large": (413, Delivery(body=b"1" * (LIMIT + 1), environ={**CHUNKED, "wsgi__input_terminated": True})),
    "compressed in a way that is not known": (415, Delivery(headers={"Content-Encoding": "compress"})),
    "no gzip": (400, Delivery(headers={"Content-Encoding": "gzip"})),
    "cut short within gzip": (400, Delivery(body=gzip.compress(BODY)[:-6], headers={"Content-Encoding": "gzip"})),
    "inflated too large": (413, Delivery(body=gzip.compress(b"1" * (LIMIT + 1)), headers={"Content-Encoding": "gzip"})),
    "multipart without a part": (400, Delivery(headers={"Content-Type": "multipart/form-data; boundary=x"})),
    "multipart that is no form": (415, Delivery(headers={"Content-Type": "multipart/mixed; boundary=x"})),
    "unknown charset": (415, Delivery(headers={"Content-Type": "text/plain; charset=klingon"})),
    "charset that is no text": (415, Delivery(headers={"Content-Type": "text/plain; charset=zlib"})),
    "rejected": (422, Delivery(headers={"X-Reject": "422"})),
    "rejected with 403": (403, Delivery(headers={"X-Reject": "403"})),
    "rejected with 599": (599, Delivery(headers={"X-Reject": "599"})),
    "failed": (500, Delivery(headers={"X-Boom": "1"})),
}


def assert_problem(answer: webtest.TestResponse, status: int) -> None:
    """It is a problem document that shows neither a traceback nor a secret nor the payload."""
    assert answer.status_int == status
    assert answer.content_type == "application/problem+json"
    document = answer.json
    assert set(document) == {"type", "title", "status", "detail"}
    assert document["status"] == status
    assert document["type"] == "about:blank"
    assert document["title"]
    assert document["detail"].endswith(".")
    shown = f"{answer.headers} {answer.text}"
    for hidden in (SECRET, CARD, "Traceback", "RuntimeError", 'File "'):
        assert hidden not in shown


@pytest.mark.rq
@pytest.mark.parametrize(("status", "delivery"), REFUSED.values(), ids=REFUSED)
def test_refusal_is_a_problem_that_leaves_nothing_and_the_right_delivery_is_taken_after(
    serve: Callable[[Relay], Http], redis_url: str, client: redis.Redis, status: int, delivery: Delivery
) -> None:
    """A refusal is a problem that leaves nothing and the right delivery is taken after."""
    http = serve(orders(redis_url))

    answer = delivery.send(http)

    assert_problem(answer, status)
    assert client.keys() == []

    again = GOOD.send(http)

    assert again.status_int == 202
    assert jobs_in(client, "orders") == 1
    assert again.json["jobs"] == [f"{again.json['id']}-1"]


@pytest.mark.parametrize(
    ("status", "delivery", "name", "value"),
    [
        (401, Delivery(key="other"), "WWW-Authenticate", "Signature"),
        (405, Delivery(method="GET"), "Allow", "POST"),
        (405, Delivery(method="DELETE"), "Allow", "POST"),
    ],
)
def test_refusal_has_the_header_that_its_status_asks_for(
    serve: Callable[[Relay], Http], status: int, delivery: Delivery, name: str, value: str
) -> None:
    """A refusal has the header that its status asks for."""
    answer = delivery.send(serve(orders(MemoryOutbox())))

    assert_problem(answer, status)
    assert answer.headers[name] == value


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("OPTIONS", 204)])
def test_head_and_options_of_a_route_say_what_it_takes_and_are_no_event(
    serve: Callable[[Relay], Http], method: str, status: int
) -> None:
    """Senders look with HEAD whether an address is there before they keep it."""
    outbox = MemoryOutbox()
    answer = serve(orders(outbox)).send("/orders/7", method)

    assert (answer.status_int, answer.headers["Allow"], answer.body) == (status, "POST", b"")
    assert outbox.handovers == []


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS"])
def test_head_and_options_of_what_is_no_route_are_404(serve: Callable[[Relay], Http], method: str) -> None:
    """They say nothing of a path that no route takes."""
    answer = serve(orders(MemoryOutbox())).send("/elsewhere", method)

    assert answer.status_int == 404
    assert "Allow" not in answer.headers


def test_head_on_a_route_for_get_is_no_event(serve: Callable[[Relay], Http]) -> None:
    """Mail scanners and link checkers send HEAD before they send GET."""
    relay, outbox = make_relay(make_route(rule="/pixel", methods=["GET"], reply="pixel"))

    answer = serve(relay).send("/pixel", "HEAD")

    assert outbox.handovers == []
    assert (answer.status_int, answer.headers["Allow"]) == (200, "GET")


def test_allow_names_all_methods_of_the_path(serve: Callable[[Relay], Http]) -> None:
    """Allow names the methods of all routes that the path leads to."""
    relay, _ = make_relay(
        make_route(rule="/a/<b>", methods=["PUT", "POST"]),
        make_route(rule="/a/<other>", methods=["DELETE"]),
        make_route(rule="/a/<b>/c", methods=["PATCH"]),
    )

    answer = serve(relay).send("/a/x", "GET")

    assert_problem(answer, 405)
    assert answer.headers["Allow"] == "DELETE, POST, PUT"


# The outbox is down


def dead_url() -> str:
    """The URL of a Redis that nobody runs."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return f"redis://:{SECRET}@127.0.0.1:{unused.getsockname()[1]}/0"


def test_redis_that_is_down_is_503_and_says_when_to_come_back(serve: Callable[[Relay], Http]) -> None:
    """A Redis that is down is a 503 that says when to come back."""
    answer = GOOD.send(serve(orders(dead_url())))

    assert_problem(answer, 503)
    assert int(answer.headers["Retry-After"]) > 0


@pytest.mark.rq
@pytest.mark.parametrize("on_error", ["keep", "refuse"])
def test_delivery_that_redis_could_not_take_is_taken_when_it_can(
    serve: Callable[[Relay], Http], redis_url: str, client: redis.Redis, on_error: str
) -> None:
    """A delivery that Redis could not take left no mark, and is taken when Redis can."""
    http = serve(orders(redis_url, on_error=on_error))
    client.set("rq:queue:orders", "somebody else's")

    answer = GOOD.send(http)

    assert_problem(answer, 503)
    assert client.keys() == [b"rq:queue:orders"]

    client.delete("rq:queue:orders")

    assert GOOD.send(http).status_int == 202
    assert jobs_in(client, "orders") == 1


class BrokenOutbox(MemoryOutbox):
    """Raises what is no `OutboxError`."""

    def accept(self, handover: Any) -> Any:
        raise RuntimeError(SECRET)

    def check(self) -> None:
        raise RuntimeError(SECRET)


def test_bug_in_the_outbox_is_a_problem_too(serve: Callable[[Relay], Http]) -> None:
    """A bug in the outbox is a problem too."""
    http = serve(orders(BrokenOutbox()))

    assert_problem(GOOD.send(http), 500)
    assert_problem(http.send("/-/ready", "GET"), 500)


# Bugs in the user's functions never reach the server

BOOM = [RuntimeError(f"{SECRET} {CARD}"), RecursionError(), MemoryError(), SystemExit(SECRET)]
boom = pytest.mark.parametrize("error", BOOM, ids=lambda error: type(error).__name__)


@boom
@pytest.mark.parametrize("where", ["verifier", "secret"])
def test_bug_in_a_verifier_or_secret_function_closes_the_route(
    serve: Callable[[Relay], Http], where: str, error: BaseException
) -> None:
    """A bug in a verifier or secret function closes the route."""
    outbox = MemoryOutbox()
    verifier = raising(error) if where == "verifier" else hmac_signature(raising(error), header="X-Signature")
    http = serve(orders(outbox, verify=verifier, on_error="keep"))

    answer = GOOD.send(http)

    assert_problem(answer, 500)
    assert outbox.handovers == []


@boom
@pytest.mark.parametrize("option", ["transform", "dedupe", "queue"])
def test_bug_in_a_function_of_the_event_keeps_it_as_a_dead_letter(
    serve: Callable[[Relay], Http], option: str, error: BaseException
) -> None:
    """A bug in a function of the event keeps it as a dead letter."""
    outbox = MemoryOutbox()
    http = serve(orders(outbox, on_error="keep", **{option: raising(error)}))

    answer = GOOD.send(http)

    assert (answer.status_int, answer.json["jobs"]) == (202, [])
    assert len(outbox.dead_letters) == 1


@boom
def test_bug_in_a_reply_function_is_answered_202(serve: Callable[[Relay], Http], error: BaseException) -> None:
    """A bug in a reply function is answered 202."""
    outbox = MemoryOutbox()
    http = serve(orders(outbox, reply=raising(error)))

    answer = GOOD.send(http)

    assert answer.status_int == 202
    assert answer.json["jobs"] == [job_of(outbox)]


def job_of(outbox: MemoryOutbox) -> str:
    (handover,) = outbox.handovers
    return f"{handover.id}-1"


@pytest.mark.parametrize(
    "refusal",
    [
        lambda: Rejected(422, "a\ud800b"),
        lambda: Rejected(422, object()),  # type: ignore[arg-type]
        lambda: Rejected(422, "no", headers={"X-A": "a\r\nX-B: b"}),
        lambda: Rejected(422, "no", headers={"X-A": 5}),  # type: ignore[dict-item]
        lambda: Unverified("no", challenge="a\nb"),
    ],
)
def test_refusal_that_cannot_be_sent_is_a_problem_all_the_same(
    serve: Callable[[Relay], Http], refusal: Callable[[], Exception]
) -> None:
    """A refusal that cannot be sent is a problem all the same."""
    outbox = MemoryOutbox()

    def refuse(event: Event) -> Any:
        raise refusal()

    answer = GOOD.send(serve(orders(outbox, transform=refuse)))

    assert answer.content_type == "application/problem+json"
    assert answer.status_int >= 400
    assert outbox.handovers == []
    assert "X-B" not in answer.headers


@pytest.mark.rq
@pytest.mark.parametrize("depth", [100, 300, 500, 700, 900, 990])
def test_nested_json_is_either_taken_or_malformed(
    serve: Callable[[Relay], Http], redis_url: str, client: redis.Redis, depth: int
) -> None:
    """What the reader takes the writer of RQ's payloads has to take as well."""
    http = serve(orders(redis_url, max_body=10_000, on_error="keep"))

    answer = Delivery(body=b"[" * depth + b"]" * depth).send(http)

    assert answer.status_int in (202, 400)
    assert bool(client.keys()) is (answer.status_int == 202)


@pytest.mark.rq
@pytest.mark.parametrize(
    "options",
    [
        {"transform": raising(RuntimeError("\ud800"))},
        {"transform": raising(type("Unprintable", (Exception,), {"__str__": raising(RuntimeError())})())},
        {"dedupe": lambda event: "\ud800"},
        {"transform": lambda event: "\ud800"},
        {"transform": lambda event: {"a": float("nan")}},
    ],
)
def test_event_is_kept_whatever_text_the_users_code_makes(
    serve: Callable[[Relay], Http], redis_url: str, client: redis.Redis, options: dict[str, Any]
) -> None:
    """An event is kept whatever text the user's code makes."""
    http = serve(orders(redis_url, **({"on_error": "keep"} | options)))

    answer = GOOD.send(http)

    assert answer.status_int == 202
    assert client.exists(f"rq:job:{answer.json['id']}-0", f"rq:job:{answer.json['id']}-1") == 1


# Health


def test_health_says_that_the_relay_runs_even_without_redis(serve: Callable[[Relay], Http]) -> None:
    """Health says that the relay runs even without Redis."""
    answer = serve(orders(dead_url())).send("/-/health", "GET")

    assert (answer.status_int, answer.json) == (200, {"status": "ok"})


@pytest.mark.rq
def test_ready_says_whether_events_can_be_taken(serve: Callable[[Relay], Http], redis_url: str) -> None:
    """Ready says whether events can be taken."""
    up, down = (serve(orders(url)).send("/-/ready", "GET") for url in (redis_url, dead_url()))

    assert (up.status_int, up.json) == (200, {"status": "ready"})
    assert_problem(down, 503)
    assert int(down.headers["Retry-After"]) > 0


@pytest.mark.parametrize("path", ["/-/health", "/-/ready"])
def test_health_takes_get_alone(serve: Callable[[Relay], Http], path: str) -> None:
    """The health pages take GET and HEAD alone."""
    http = serve(orders(MemoryOutbox()))

    answer = http.send(path, "POST")

    assert_problem(answer, 405)
    assert "GET" in answer.headers["Allow"]
    assert http.send(path, "HEAD").status_int == 200


@pytest.mark.parametrize("path", ["/-/health", "/-/ready", "/-/admin", "/-/"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_route_for_every_path_does_not_get_what_is_the_relays_own(
    serve: Callable[[Relay], Http], path: str, method: str
) -> None:
    """A route for every path does not get what is under /-/."""
    relay, outbox = make_relay(
        make_route(rule="/<path:path>", methods=["GET", "POST"]), make_route(rule="/<a>/<b>", methods=["GET", "POST"])
    )

    serve(relay).send(path, method)

    assert outbox.handovers == []


# What is accepted


@pytest.mark.parametrize(
    ("reply", "status", "kind", "body"),
    [
        ("empty", 204, None, b""),
        ("pixel", 200, "image/gif", b"GIF89a"),
        (Reply(200, body="thanks"), 200, "text/plain", b"thanks"),
        (Reply(200), 200, None, b""),
        (Reply(303, {"Location": "/thanks"}), 303, None, b""),
        (lambda event: Reply(201, body={"for": event.data["card"]}), 201, "application/json", b'{"for":"4111'),
    ],
)
@pytest.mark.parametrize("again", [False, True])
def test_reply_is_sent_as_the_route_says_for_the_first_and_the_repeated(
    serve: Callable[[Relay], Http], reply: Any, status: int, kind: str | None, body: bytes, again: bool
) -> None:
    """A reply is sent as the route says for the first and the repeated."""
    outbox = MemoryOutbox()
    http = serve(orders(outbox, reply=reply))
    if again:
        GOOD.send(http)

    answer = GOOD.send(http)

    assert answer.status_int == status
    assert answer.body.startswith(body)
    assert bool(answer.body) is bool(body)
    if kind:
        assert answer.content_type == kind
    assert len(outbox.jobs) == 1


def test_reply_function_knows_the_events_id(serve: Callable[[Relay], Http]) -> None:
    """A reply function knows the event's id."""
    outbox = MemoryOutbox()
    http = serve(orders(outbox, reply=lambda event: Reply(200, body=event.id)))

    ids = {GOOD.send(http).text, GOOD.send(http).text, outbox.handovers[0].id}

    assert len(ids) == 1


def test_repeated_delivery_is_answered_like_the_first(serve: Callable[[Relay], Http]) -> None:
    """A repeated delivery is answered like the first."""
    outbox = MemoryOutbox()
    http = serve(orders(outbox))

    first, second = GOOD.send(http), GOOD.send(http)

    assert first.json == second.json
    assert len(outbox.jobs) == 1


@pytest.mark.rq
def test_dropped_event_leaves_nothing(serve: Callable[[Relay], Http], redis_url: str, client: redis.Redis) -> None:
    """A dropped event leaves nothing."""
    answer = GOOD.send(serve(orders(redis_url, transform=lambda event: DROP)))

    assert (answer.status_int, answer.json["jobs"]) == (202, [])
    assert client.keys() == []


@pytest.mark.parametrize(
    ("path", "params"),
    [
        ("/orders/7", {"number": 7}),
        ("/orders/-7", {"number": -7}),
        ("/prices/1.5", {"price": 1.5}),
        ("/prices/2", {"price": 2.0}),
        ("/shops/acme", {"shop": "acme"}),
        ("/shops/caf%C3%A9", {"shop": "café"}),
        ("/shops/%E2%98%83%20x", {"shop": "☃ x"}),
        ("/files/a/b/c.txt", {"path": "a/b/c.txt"}),
        ("/files/%C3%A9/x", {"path": "é/x"}),
    ],
)
def test_wildcards_of_the_path_are_on_the_event(
    serve: Callable[[Relay], Http], path: str, params: dict[str, Any]
) -> None:
    """Wildcards of the path are on the event."""
    outbox = MemoryOutbox()

    answer = Delivery(path=path).send(serve(orders(outbox)))

    assert answer.status_int == 202
    assert outbox.handovers[0].context["params"] == params


def test_rule_that_is_not_ascii_is_found(serve: Callable[[Relay], Http]) -> None:
    """A rule that is not ASCII is found."""
    relay, outbox = make_relay(make_route(rule="/café/<shop>"))

    answer = serve(relay).send("/caf%C3%A9/acme", body=b"x")

    assert answer.status_int == 202
    assert outbox.handovers[0].context["route"] == "/café/<shop>"


def test_event_knows_its_request(serve: Callable[[Relay], Http]) -> None:
    """An event knows its request."""
    seen: list[Event] = []
    relay, _ = make_relay(make_route(rule="/x", methods=["PUT"], transform=lambda event: seen.append(event) or DROP))

    serve(relay).send(
        "/x?a=1&a=2", "PUT", b"a=1", {"Content-Type": "application/x-www-form-urlencoded"}, REMOTE_ADDR="192.0.2.9"
    )

    (event,) = seen
    assert (event.method, event.route, event.remote_addr) == ("PUT", "/x", "192.0.2.9")
    assert (event.query, event.data, event.body) == ({"a": ["1", "2"]}, {"a": "1"}, b"a=1")
    assert (event.headers["content-type"], event.headers["Content-Length"]) == (
        "application/x-www-form-urlencoded",
        "3",
    )


@pytest.mark.parametrize(("method", "taken"), [("GET", True), ("PATCH", True), ("POST", False), ("DELETE", False)])
def test_route_takes_the_methods_that_it_names(serve: Callable[[Relay], Http], method: str, taken: bool) -> None:
    """A route takes the methods that it names."""
    relay, outbox = make_relay(make_route(rule="/x", methods=["get", "PATCH"]))

    answer = serve(relay).send("/x?q=1", method)

    assert answer.status_int == (202 if taken else 405)
    assert [job.data for job in outbox.jobs] == ([{"q": "1"}] if taken else [])


def test_no_more_than_the_limit_is_read_even_of_a_body_that_says_less(serve: Callable[[Relay], Http]) -> None:
    """No more than the limit is read even of a body that says less."""
    outbox = MemoryOutbox()
    stream = io.BytesIO(BODY + b"and the next request")

    answer = Delivery(environ={"wsgi__input": stream, "CONTENT_LENGTH": str(len(BODY))}).send(serve(orders(outbox)))

    assert answer.status_int == 202
    assert outbox.jobs[0].data == {"card": CARD}
    assert stream.read() == b"and the next request"


@pytest.mark.parametrize("verifier", [github("x"), bearer("x"), standard_webhooks("eA=="), lambda event: None])
def test_unsigned_is_401_with_a_challenge_for_every_scheme(serve: Callable[[Relay], Http], verifier: Any) -> None:
    """An unsigned request is 401 with a challenge for every scheme."""
    outbox = MemoryOutbox()

    answer = GOOD.send(serve(orders(outbox, verify=verifier)))

    assert_problem(answer, 401)
    assert answer.headers["WWW-Authenticate"]
    assert outbox.handovers == []


# The host


def test_mounted_relay_leaves_the_host_its_own_routes() -> None:
    """A mounted relay leaves the host its own routes."""
    http = Http(orders(MemoryOutbox()), mounted=True)

    assert http.app.get("/").text == "the host's own"
    assert http.app.get("/own/thing").text == "the host's thing"
    assert http.app.get("/relay/nothing", expect_errors=True).content_type == "application/problem+json"


def test_path_beside_the_mount_is_the_hosts_404() -> None:
    """A path beside the mount is the host's 404."""
    http = Http(orders(MemoryOutbox()), mounted=True)

    answer = http.app.get("/nothing", expect_errors=True)

    assert (answer.status_int, answer.content_type) == (404, "text/html")


def test_outbox_error_is_what_ready_asks_for() -> None:
    """An outbox that says it cannot take events makes the relay unready."""

    class Down(MemoryOutbox):
        def check(self) -> None:
            raise OutboxError(SECRET)

    assert_problem(Http(orders(Down()), mounted=False).send("/-/ready", "GET"), 503)


def reveal(event: Event) -> Any:
    raise ValueError(f"the card is {event.body!r}")


@pytest.mark.parametrize("options", [{"verify": reveal}, {"reply": reveal}, {"transform": reveal}, {"dedupe": reveal}])
def test_what_a_users_error_says_is_in_no_log(
    serve: Callable[[Relay], Http], options: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """The log has the kind of the error and the lines that it came through; its words may be payload."""
    http = serve(orders(MemoryOutbox(), **options))

    Delivery(body=b'"4242"').send(http)

    assert "4242" not in caplog.text
    assert "ValueError" in caplog.text


def test_a_body_of_no_bytes_may_be_all_that_a_route_takes(serve: Callable[[Relay], Http]) -> None:
    """`max_body=0` takes requests without a body and refuses every other one."""
    outbox = MemoryOutbox()
    http = serve(orders(outbox, max_body=0))

    answer = Delivery(body=b"x").send(http)

    assert answer.status_int == 413
    assert outbox.handovers == []
