"""Asking later what became of an event: `status=True`."""

from __future__ import annotations

import http.client
import logging
import re
import signal
import socket
import sys
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import bottle
import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from rq.registry import FailedJobRegistry
from webtest import TestApp
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from tests.redis_proxy import RedisProxy
from tests.servers import own_valkey
from tests.standalone_support import Run, get
from tests.waiting import wait_until
from trafficrelay import DROP, EMPTY, MemoryOutbox, Relay, Reply, Route, Spool, To
from trafficrelay.dead_letter import read_event
from trafficrelay.outbox.handover import JobState
from trafficrelay.status import overall
from trafficrelay.worker import RelayWorker

pytestmark = pytest.mark.rq


def relay_of(source: Any, *routes: Route, **options: Any) -> Relay:
    relay = Relay(outbox=source) if isinstance(source, MemoryOutbox) else Relay(source, **options)
    for route in routes:
        relay.add(route)
    return relay


def a_route(**options: Any) -> Route:
    return Route("/in", **({"verify": None, "job": "tests.jobs.echo", "queue": "hooks", "status": True} | options))


def work(client: redis.Redis, worker: Any = SimpleWorker, queues: tuple[str, ...] = ("hooks",), **options: Any) -> None:
    worker([Queue(name, connection=client, **options) for name in queues], connection=client, **options).work(
        burst=True, logging_level=logging.WARNING
    )


@pytest.mark.parametrize("serializer", [None, "json"])
def test_an_event_is_followed_from_its_queue_to_its_result(
    redis_url: str, client: redis.Redis, serializer: str | None
) -> None:
    """The address comes with the answer; who has it sees the state, and what the job gave back."""
    with closing(relay_of(redis_url, a_route(), serializer=serializer)) as relay:
        app = TestApp(relay.app)
        accepted = app.post_json("/in", {"n": 1}, status=202)
        where = accepted.headers["Location"]
        waiting = app.get(where)
        work(client, serializer=serializer)
        done = app.get(where)

    id_ = accepted.json["id"]
    assert waiting.json == {"id": id_, "state": "queued", "jobs": [{"id": f"{id_}-1", "state": "queued"}]}
    result = {"id": f"{id_}-1", "state": "finished", "result": {"n": 1}}
    assert done.json == {"id": id_, "state": "finished", "jobs": [result]}
    assert done.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("worker", [SimpleWorker, RelayWorker])
def test_a_failed_job_says_so_and_not_why(redis_url: str, client: redis.Redis, worker: Any) -> None:
    """Its traceback is the operator's business."""
    with closing(relay_of(redis_url, a_route(job="tests.jobs.fail"))) as relay:
        app = TestApp(relay.app)
        where = app.post_json("/in", {"n": 1}, status=202).headers["Location"]
        work(client, worker)
        told = app.get(where)

    assert told.json["state"] == "failed"
    assert "Traceback" not in told.text
    assert "result" not in told.json["jobs"][0]


def test_a_job_that_runs_says_so(redis_url: str, client: redis.Redis) -> None:
    """While it does."""
    with closing(relay_of(redis_url, a_route())) as relay:
        app = TestApp(relay.app)
        accepted = app.post_json("/in", {"n": 1}, status=202)
        job = RQJob.fetch(accepted.json["jobs"][0], connection=client)
        job.set_status("started")  # type: ignore[arg-type]

        assert app.get(accepted.headers["Location"]).json["state"] == "running"


def test_a_dead_letter_is_told_as_failed(redis_url: str) -> None:
    """The sender was answered as ever; who asks learns that somebody has to mend something."""

    def broken(event: Any) -> Any:
        raise ValueError

    with closing(relay_of(redis_url, a_route(transform=broken))) as relay:
        app = TestApp(relay.app)
        told = app.get(app.post_json("/in", {}, status=202).headers["Location"])

    assert told.json["state"] == "failed"


def test_an_event_in_the_spool_is_told_as_spooled(redis_url: str, tmp_path: Path) -> None:
    """It is kept, and not in Redis yet."""
    with RedisProxy(redis_url) as proxy:
        relay = relay_of(proxy.url, a_route(), spool=Spool(tmp_path / "spool.db"))
        with closing(relay):
            app = TestApp(relay.app)
            app.post_json("/in", {}, status=202)  # by which it knows the secret
            proxy.refuse()
            where = app.post_json("/in", {}, status=202).headers["Location"]
            spooled = app.get(where).json["state"]
            proxy.admit()
            wait_until(lambda: app.get(where, status="*").json.get("state") == "queued")

    assert spooled == "spooled"


def test_an_event_that_is_accepted_before_redis_was_ever_there_has_no_address(redis_url: str, tmp_path: Path) -> None:
    """The secret is in Redis; the answer is the usual one without it."""
    with RedisProxy(redis_url) as proxy:
        proxy.refuse()
        with closing(relay_of(proxy.url, a_route(), spool=Spool(tmp_path / "spool.db"))) as relay:
            accepted = TestApp(relay.app).post_json("/in", {}, status=202)

    assert "Location" not in accepted.headers


def test_while_redis_is_away_asking_is_answered_503(redis_url: str) -> None:
    """And not that nothing is known."""
    with RedisProxy(redis_url) as proxy, closing(relay_of(proxy.url, a_route())) as relay:
        app = TestApp(relay.app)
        where = app.post_json("/in", {}, status=202).headers["Location"]
        proxy.refuse()
        answer = app.get(where, status=503)

    assert int(answer.headers["Retry-After"]) > 0


def test_a_repeated_event_has_the_address_of_the_first(redis_url: str) -> None:
    """Answered like the first."""
    with closing(relay_of(redis_url, a_route(dedupe="data:id"))) as relay:
        app = TestApp(relay.app)
        first, again = (app.post_json("/in", {"id": 1}, status=202) for _ in range(2))

    assert first.headers["Location"] == again.headers["Location"]


def test_all_processes_give_and_take_the_same_addresses(redis_url: str) -> None:
    """Two relays on one Redis stand for two processes of one."""
    with closing(relay_of(redis_url, a_route())) as one, closing(relay_of(redis_url, a_route())) as two:
        where = TestApp(one.app).post_json("/in", {}, status=202).headers["Location"]

        assert TestApp(two.app).get(where).json["state"] == "queued"


def test_addresses_that_were_not_given_out_are_404(redis_url: str) -> None:
    """Without the token, with another event's, with more jobs than it has, and of what never was: all look alike."""
    with closing(relay_of(redis_url, a_route())) as relay:
        app = TestApp(relay.app)
        one, two = (urlsplit(app.post_json("/in", {}, status=202).headers["Location"]) for _ in range(2))
        token = one.query.rpartition("=")[2]
        tried = [
            one.path,
            f"{one.path}?jobs=1",
            f"{one.path}?jobs=1&token=",
            f"{one.path}?jobs=1&token={token[:-1]}",
            f"{one.path}?jobs=1&token={token}&token={token}",
            f"{one.path}?jobs=1&token=%C3%A9",
            f"{one.path}?jobs=2&token={token}",
            f"{one.path}?jobs=%D9%A1&token={token}",
            f"{one.path}?jobs={'9' * 5000}&token={token}",
            f"{one.path}?{two.query}",
            f"/-/events/{'0' * 32}?jobs=1&token={token}",
            f"/-/events/..%2f?jobs=1&token={token}",
        ]
        answers = {(answer.status_int, answer.text) for path in tried for answer in [app.get(path, status="*")]}

    assert len(answers) == 2, "of what is no event's id there is no page at all"
    assert {status for status, _ in answers} == {404}


def test_what_redis_has_forgotten_is_404(redis_url: str, client: redis.Redis) -> None:
    """RQ keeps a finished job for `result_ttl`, 500 s unless the route says otherwise."""
    with closing(relay_of(redis_url, a_route(result_ttl=0))) as relay:
        app = TestApp(relay.app)
        where = app.post_json("/in", {}, status=202).headers["Location"]
        work(client)

        assert app.get(where, status=404).json["detail"].startswith("Nothing is known")


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
def test_only_get_asks(redis_url: str, method: str) -> None:
    """Everything else is a 405."""
    with closing(relay_of(redis_url, a_route())) as relay:
        app = TestApp(relay.app)
        where = app.post_json("/in", {}, status=202).headers["Location"]

        assert app.request(where, method=method, status=405).headers["Allow"] == "GET"


def test_a_relay_without_such_a_route_tells_nothing() -> None:
    """Closed by default: neither an address nor a page."""
    app = TestApp(relay_of(MemoryOutbox(), a_route(status=False)).app)

    assert "Location" not in app.post_json("/in", {}, status=202).headers
    assert app.get("/-/events/" + "0" * 32, status=404)


def test_only_routes_that_say_so_give_addresses() -> None:
    """Beside one that does."""
    other = Route("/other", verify=None, job="tests.jobs.echo")
    app = TestApp(relay_of(MemoryOutbox(), a_route(), other).app)

    assert "Location" in app.post_json("/in", {}, status=202).headers
    assert "Location" not in app.post_json("/other", {}, status=202).headers


@pytest.mark.parametrize("reply", [EMPTY, "pixel", lambda event: Reply(200, body="thanks")])
def test_the_address_comes_with_a_reply_of_the_routes_own_too(reply: Any) -> None:
    """It is a header."""
    app = TestApp(relay_of(MemoryOutbox(), a_route(reply=reply)).app)

    assert app.get(app.post_json("/in", {}).headers["Location"]).json["state"] == "queued"


def test_a_dropped_event_has_no_address() -> None:
    """Nothing becomes of it."""
    app = TestApp(relay_of(MemoryOutbox(), a_route(transform=lambda event: DROP)).app)

    assert "Location" not in app.post_json("/in", {}, status=202).headers


def test_each_event_of_a_split_request_has_its_own_address(redis_url: str) -> None:
    """In the answer's body, since there is one Location a response."""
    with closing(relay_of(redis_url, a_route(split=True))) as relay:
        app = TestApp(relay.app)
        answer = app.post_json("/in", [1, 2], status=202)
        told = [app.get(event["status"]).json["id"] for event in answer.json["events"]]

    assert told == [event["id"] for event in answer.json["events"]]
    assert "Location" not in answer.headers


def test_an_event_of_many_jobs_is_as_the_worst_of_them(redis_url: str, client: redis.Redis) -> None:
    """With every job by itself; a hundred are asked for in two round trips."""

    def hundred(event: Any) -> Any:
        yield from range(100)

    to = [To("tests.jobs.echo"), To("tests.jobs.fail", when="@ == `7`", queue="other")]
    route = Route("/in", verify=None, to=to, transform=hundred, queue="hooks", status=True)
    with closing(relay_of(redis_url, route)) as relay:
        app = TestApp(relay.app)
        where = app.post_json("/in", {}, status=202).headers["Location"]
        queued = app.get(where).json
        work(client, queues=("hooks", "other"))
        done = app.get(where).json

    assert (queued["state"], len(queued["jobs"])) == ("queued", 101)
    assert done["state"] == "failed"
    assert [job["state"] for job in done["jobs"]] == ["finished"] * 100 + ["failed"]


def test_a_result_that_is_an_object_is_left_out(redis_url: str, client: redis.Redis) -> None:
    """Reading it would make one of its class here; nothing that is in a pickle is run by the web side."""
    with closing(relay_of(redis_url, a_route(job="tests.test_status.give_an_object"))) as relay:
        app = TestApp(relay.app)
        where = app.post_json("/in", {}, status=202).headers["Location"]
        work(client)
        told = app.get(where).json

    assert told["jobs"][0]["state"] == "finished"
    assert "result" not in told["jobs"][0]
    assert Bomb.made == 1, "in the worker alone"


class Bomb:
    made = 0

    def __init__(self) -> None:
        type(self).made += 1

    def __reduce__(self) -> Any:
        return Bomb, ()


def give_an_object(data: Any) -> Any:
    return Bomb()


@pytest.mark.parametrize(
    ("states", "word"),
    [
        (["finished"], "finished"),
        (["finished", "queued"], "queued"),
        (["queued", "running", "finished"], "running"),
        (["running", "failed"], "failed"),
        (["finished", "unknown"], "unknown"),
        (["spooled"], "spooled"),
    ],
)
def test_an_event_is_as_the_job_that_is_worst_off(states: list[str], word: str) -> None:
    """One word for who does not want to read all of them."""
    assert overall([JobState(str(number), state) for number, state in enumerate(states)]) == word


@pytest.mark.parametrize("how", ["merged", "merged under 家", "wsgi", "deep wsgi"])
def test_the_address_has_the_prefix_that_the_relay_is_mounted_under(redis_url: str, how: str) -> None:
    """In a Bottle host, and in any other WSGI host; it can be asked for as it is."""
    with closing(relay_of(redis_url, Route("/in/<shop>", verify=None, job="tests.jobs.echo", status=True))) as relay:
        host: Any = bottle.Bottle()
        if how.startswith("merged"):
            host.mount("/relay/" if how == "merged" else "/家/relay/", relay.app)
        else:
            host = DispatcherMiddleware(host, {"/relay": relay.app})
        if how == "deep wsgi":
            host = DispatcherMiddleware(bottle.Bottle(), {"/dé ep".encode().decode("latin-1"): host})
        app = TestApp(host)
        prefix = {"deep wsgi": "/d%C3%A9%20ep/relay", "merged under 家": "/%E5%AE%B6/relay"}.get(how, "/relay")
        where = app.post_json(f"{prefix}/in/acme", {}, status=202).headers["Location"]

        assert where.startswith(f"{prefix}/-/events/")
        assert app.get(where).json["state"] == "queued"


def test_the_standalone_server_and_its_worker_do_the_same(redis_url: str, tmp_path: Path) -> None:
    """A POST, its address, and the result that the worker left."""
    (tmp_path / "asked.py").write_text(
        "from trafficrelay import Relay, Route\n"
        "relay = Relay()\n"
        'relay.add(Route("/in", verify=None, job="shown.double", queue="hooks", status=True))\n'
    )
    (tmp_path / "shown.py").write_text('def double(data):\n    return data["n"] * 2\n')
    with Run(tmp_path, target="asked:relay") as run:
        run.wait_until_up()
        where = _location(run.port)
        told = wait_until(lambda: (answer := get(run.port, where)[1])["state"] == "finished" and answer, 30)

    assert told["jobs"][0]["result"] == 42


def test_a_redis_that_hangs_keeps_nobody_but_who_asks_waiting(tmp_path: Path) -> None:
    """The server answers others meanwhile: what asks Redis for a state is not in its event loop."""
    (tmp_path / "asked.py").write_text(
        "from trafficrelay import Relay, Route\n"
        "relay = Relay()\n"
        'relay.add(Route("/in", verify=None, job="shown.double", queue="hooks", status=True))\n'
    )
    with (
        own_valkey(config={"appendonly": "yes"}) as server,
        Run(tmp_path, "--redis", server.connection_url, target="asked:relay") as run,
    ):
        run.wait_until_up()
        where = _location(run.port)
        assert server._process is not None
        server._process.send_signal(signal.SIGSTOP)
        asking = socket.create_connection(("127.0.0.1", run.port), 20)
        asking.sendall(f"GET {where} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        healthy = [get(run.port, "/-/health")[0] for _ in range(3)]
        asking.setblocking(False)
        with pytest.raises(BlockingIOError):  # it has not been told yet
            asking.recv(1)
        asking.settimeout(20)
        answer = asking.recv(12)
        asking.close()
        server._process.send_signal(signal.SIGCONT)

    assert healthy == [200] * 3
    assert answer == b"HTTP/1.1 503"


def _location(port: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("POST", "/in", b'{"n": 21}', {"Content-Type": "application/json"})
    with connection.getresponse() as answer:
        answer.read()
        where = answer.headers["Location"]
    connection.close()
    return where


def test_an_address_is_in_no_log(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    """Its token is a credential."""
    with closing(relay_of(redis_url, a_route())) as relay, caplog.at_level(logging.DEBUG):
        app = TestApp(relay.app)
        where = app.post_json("/in", {}, status=202).headers["Location"]
        app.get(where)
        app.get(where[:-1], status=404)

    token = where.rpartition("=")[2]
    assert re.fullmatch(r"[0-9a-f]{32}", token)
    assert token[:-1] not in caplog.text


@pytest.mark.parametrize("how", ["requeued", "replayed"])
def test_a_dead_letter_that_is_run_again_is_told_as_what_it_became(
    redis_url: str, client: redis.Redis, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own job is done then, and the event's has yet to run."""
    relay = relay_of(redis_url, a_route(transform=_mended))
    monkeypatch.setattr(sys.modules[__name__], "relay", relay, raising=False)
    monkeypatch.setattr(_mended, "broken", True)
    with closing(relay):
        app = TestApp(relay.app)
        where = app.post_json("/in", {"n": 3}, status=202).headers["Location"]
        failed = app.get(where).json["state"]
        monkeypatch.setattr(_mended, "broken", False)
        letter = next(iter(FailedJobRegistry("hooks", connection=client).get_job_ids()))
        if how == "requeued":
            FailedJobRegistry("hooks", connection=client).requeue(letter)
            work(client)
        else:
            event, _ = read_event(RQJob.fetch(letter, connection=client).args[0])
            relay.replay(event)
        later = app.get(where).json
        work(client)
        done = app.get(where).json

    assert failed == "failed"
    assert later["jobs"][0]["id"].endswith("-1")
    assert (done["state"], done["jobs"][0]["result"]) == ("finished", {"n": 3})


class _Mended:
    broken = True
    __module__ = __name__

    def __call__(self, event: Any) -> Any:
        if self.broken:
            raise ValueError
        return event.data


_mended = _Mended()


def test_each_dead_letter_of_a_split_request_has_its_address_too() -> None:
    """Somebody waits for these above all."""

    def half(event: Any) -> Any:
        return 1 / event.data

    app = TestApp(relay_of(MemoryOutbox(), a_route(split=True, transform=half)).app)
    events = app.post_json("/in", [1, 0], status=202).json["events"]

    assert all("status" in event for event in events)


def test_the_answer_says_the_address_in_its_body_too() -> None:
    """Where a header is hard to come by: pages, forms, shell scripts."""
    app = TestApp(relay_of(MemoryOutbox(), a_route()).app)
    answer = app.post_json("/in", {}, status=202)

    assert answer.json["status"] == answer.headers["Location"]


def test_a_page_of_another_origin_may_follow_its_event() -> None:
    """It may read the address, and what is told there: who has the token may."""
    app = TestApp(relay_of(MemoryOutbox(), a_route(cors=["https://shop.example"])).app)
    answer = app.post_json("/in", {}, headers={"Origin": "https://shop.example"}, status=202)

    assert "Location" in answer.headers["Access-Control-Expose-Headers"]
    assert app.get(answer.headers["Location"]).headers["Access-Control-Allow-Origin"] == "*"
