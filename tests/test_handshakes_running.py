"""Challenges through the standalone server, other servers, a real Valkey, and the commands."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.servers import own_valkey
from tests.standalone_support import Run
from trafficrelay import Relay, Route, verify
from trafficrelay.cli import main
from trafficrelay.errors import OutboxError, OutboxUnavailable
from trafficrelay.outbox.brought import MOST
from trafficrelay.outbox.names import BROUGHT
from trafficrelay.outbox.resilient import ResilientOutbox
from trafficrelay.outbox.rq import RQOutbox

pytestmark = pytest.mark.rq

SECRET = "b537207f20cbfa02357cf448134da559e8bd39d61597dcd5631b8012eae53e81"

HOOKS = """\
from trafficrelay import Relay, verify

relay = Relay()
relay.route("/meta/<app>", verify=verify.meta(secret="app", verify_token="mine"), job="jobs.echo", queue="hooks")(
    lambda event: event.data
)
relay.route("/asana", verify=verify.asana(), job="jobs.echo", queue="hooks")(lambda event: event.data)
"""


def ask(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, Mapping[str, str], bytes]:
    """Send a request, and give the answer's status, headers in lower case, and body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, {name.lower(): value for name, value in response.getheaders()}, response.read()
    finally:
        connection.close()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "hooks.py").write_text(HOOKS)
    (tmp_path / "jobs.py").write_text("def echo(data):\n    return data\n")
    return tmp_path


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"Content-Type": "application/json", **verify.asana(secret=secret).sign(body)}


@pytest.mark.parametrize("server", ["standalone", "wsgi"])
def test_challenges_come_through_servers(directory: Path, redis_url: str, client: redis.Redis, server: str) -> None:
    """A GET on a route for POST, and a secret that is brought, come through the servers as through the app."""
    challenge = "/meta/a?hub.mode=subscribe&hub.challenge=1158201444&hub.verify_token="
    body = b'{"events": [{"action": "added"}]}'

    def check(port: int) -> None:
        status, headers, text = ask(port, "GET", f"{challenge}mine")
        assert (status, text, headers["content-type"]) == (200, b"1158201444", "text/plain")
        assert headers["x-content-type-options"] == "nosniff"
        assert ask(port, "GET", f"{challenge}yours")[0] == 401
        status, headers, _ = ask(port, "GET", "/meta/a")
        assert (status, headers["allow"]) == (405, "POST")
        assert ask(port, "HEAD", f"{challenge}mine")[::2] == (200, b"")

        assert ask(port, "POST", "/asana", body, signed(body))[0] == 401
        status, headers, text = ask(port, "POST", "/asana", b"{}", {"X-Hook-Secret": SECRET})
        assert (status, headers["x-hook-secret"], text) == (200, SECRET, b"")
        assert ask(port, "POST", "/asana", b"{}", {"X-Hook-Secret": "f" * 64})[0] == 401
        assert ask(port, "POST", "/asana", body, signed(body))[0] in (200, 204)
        assert ask(port, "POST", "/asana", body, signed(body, "f" * 64))[0] == 401

    if server == "standalone":
        with Run(directory, "--redis", redis_url, "--no-worker") as run:
            check(run.wait_until_up().port)
    else:
        relay = Relay(redis_url)
        relay.add(Route("/meta/<app>", verify=verify.meta(secret="app", verify_token="mine"), job="jobs.echo"))
        relay.add(Route("/asana", verify=verify.asana(), job="jobs.echo", queue="hooks"))
        with relay.serve(port=0) as served:
            check(served.port)
        relay.close()

    assert client.hgetall(f"{BROUGHT}/asana") == {b"-": SECRET.encode()}
    assert client.llen("rq:queue:hooks") == 1


def test_a_kept_secret_outlives_the_server(directory: Path, redis_url: str) -> None:
    """A kept secret counts after a restart."""
    with Run(directory, "--redis", redis_url, "--no-worker") as run:
        assert ask(run.wait_until_up().port, "POST", "/asana", b"{}", {"X-Hook-Secret": SECRET})[0] == 200
        run.end()
    with Run(directory, "--redis", redis_url, "--no-worker") as run:
        port = run.wait_until_up().port
        assert ask(port, "POST", "/asana", b"[1]", signed(b"[1]"))[0] in (200, 204)
        assert SECRET not in run.log.read_text()


@pytest.fixture(params=["plain", "resilient"])
def outbox(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Any]:
    made: Any = RQOutbox(redis_url)
    if request.param == "resilient":
        made = ResilientOutbox(made)
    yield made
    made.close()


def test_the_first_secret_is_kept(outbox: Any, client: redis.Redis) -> None:
    """The first secret of a name is kept, without an end, and given to whoever brings another."""
    assert outbox.kept_secret("/a", "-") is None
    assert [outbox.keep_secret("/a", "-", one) for one in (b"1", b"1", b"2")] == [b"1"] * 3
    assert outbox.keep_secret("/a", "b", b"2") == b"2"
    assert (outbox.kept_secret("/a", "-"), outbox.kept_secret("/b", "-")) == (b"1", None)
    assert client.ttl(f"{BROUGHT}/a") == -1


@pytest.mark.parametrize(("appendfsync", "kept"), [("always", True), ("no", False)])
def test_a_secret_counts_as_kept_when_it_is_as_safe_as_events_are(appendfsync: str, *, kept: bool) -> None:
    """With fsync=True a secret counts as kept when it is on the disk, also the second time that it comes."""
    with own_valkey(config={"appendonly": "yes", "appendfsync": appendfsync}) as server:
        outbox = RQOutbox(server.connection_url, fsync=True)
        for _ in range(2):
            if kept:
                assert outbox.keep_secret("/a", "-", b"1") == b"1"
            else:
                with pytest.raises(OutboxUnavailable, match="disk"):
                    outbox.keep_secret("/a", "-", b"1")
        outbox.close()


def test_a_route_keeps_so_many_and_no_more(redis_url: str, client: redis.Redis) -> None:
    """A route keeps so many secrets and no more; those that it has stay."""
    outbox = RQOutbox(redis_url)
    client.hset(f"{BROUGHT}/a", mapping={str(number): b"s" for number in range(MOST)})

    assert outbox.keep_secret("/a", "new", b"1") is None
    assert outbox.keep_secret("/a", "7", b"1") == b"s"
    assert outbox.keep_secret("/b", "new", b"1") == b"1"
    outbox.close()


def test_a_key_that_holds_something_else_is_an_error_without_the_secret(redis_url: str, client: redis.Redis) -> None:
    """A key that holds something else is an error that does not hold the secret, nor does what it came of."""
    outbox = RQOutbox(redis_url)
    client.set(f"{BROUGHT}/a", "x")

    with pytest.raises(OutboxError) as refused:
        outbox.keep_secret("/a", "-", SECRET.encode())

    assert SECRET not in f"{refused.value}{refused.value.__cause__}"
    assert refused.value.__suppress_context__
    outbox.close()


def test_a_redis_that_is_away_is_an_outage() -> None:
    """A Redis that is away is an outage, for keeping and for looking up."""
    outbox = RQOutbox("redis://127.0.0.1:1/0")

    for use in (lambda: outbox.keep_secret("/a", "-", b"1"), lambda: outbox.kept_secret("/a", "-")):
        with pytest.raises(OutboxUnavailable):
            use()


# The commands


def test_try_says_that_a_challenge_is_answered(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`try` says of a saved challenge that it would be answered, and what with."""
    saved = directory / "challenge.http"
    saved.write_bytes(
        b"GET /meta/a?hub.mode=subscribe&hub.challenge=7&hub.verify_token=mine HTTP/1.1\r\nHost: x\r\n\r\n"
    )
    monkeypatch.chdir(directory)
    hooks = "hooks:relay"

    code = main(["try", hooks, "/meta/a", str(saved)])
    said = capsys.readouterr().out
    main(["try", hooks, "/meta/a", str(saved), "--json"])

    assert code == 0
    assert "Answered as a challenge (hub.challenge): 200" in said
    assert json.loads(capsys.readouterr().out)["challenge"] == "hub.challenge"


def test_routes_lists_the_challenges(
    directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`routes` lists the challenges that a route answers by itself."""
    monkeypatch.chdir(directory)
    hooks = "hooks:relay"

    main(["routes", hooks])
    said = capsys.readouterr().out
    main(["routes", hooks, "--json"])
    meta, asana = json.loads(capsys.readouterr().out)["routes"]

    assert "answers a challenge (hub.challenge)" in said
    assert meta["challenges"] == [{"title": "hub.challenge", "method": "GET", "signed": False}]
    assert "X-Hook-Secret" in [one["title"] for one in asana["challenges"]]
