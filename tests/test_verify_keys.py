"""Keys that are fetched: from whom, how often, for how long; and the providers that sign with them."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from trafficrelay import MemoryOutbox
from trafficrelay.delivery.guard import Guard
from trafficrelay.errors import DeclarationError, Unavailable, Unverified
from trafficrelay.event import Event
from trafficrelay.intake import Intake
from trafficrelay.verify import CATALOGUE, GivenKeys, aws_sns, paypal, plaid
from trafficrelay.verify.certificates import CertificateUrls, read_certificate
from trafficrelay.verify.checking import Check
from trafficrelay.verify.fetching import Https
from trafficrelay.verify.keys import Bounds, FetchedKeys, NoSuchKey, NotHad
from trafficrelay.verify.message import Outgoing
from trafficrelay.verify.own.plaid import KeyEndpoint, read_key
from trafficrelay.verify.own.sns import Sns

from .support import NOON, make_event, make_route
from .test_transport import CERTIFICATE, Receiver, Serve, answers, drips, floods, says_nothing
from .test_verify_vectors import event_of, made, vectors_of
from .waiting import wait_until

TOPIC = "arn:aws:sns:eu-west-1:123456789012:orders"
SNS_URL = f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{'0' * 32}.pem"
PAYPAL_URL = "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77"
WEBHOOK = "4JH86294D6297924G"
KID = "6c5516e1-92dc-479e-a8ff-5a51992e0001"


class Clock:
    """Seconds that pass when they are told to."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Published:
    """A source that counts what it is asked, and answers what it is told."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.fails: dict[str, Exception] = {}

    def fetch(self, name: str, secrets: Sequence[bytes]) -> bytes:
        self.asked.append(name)
        if name in self.fails:
            raise self.fails[name]
        return f"key of {name}".encode()


@pytest.fixture
def published() -> Published:
    return Published()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def keys(published: Published, clock: Clock) -> FetchedKeys:
    return FetchedKeys("sample", published, bytes.decode, clock=clock)


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


def pem(key: Any) -> str:
    written: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return written.decode()


def certificate(begins: datetime = NOON - timedelta(days=1), ends: datetime = NOON + timedelta(days=1)) -> str:
    """A certificate of `rsa_key`."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(rsa_key().public_key())
    made = made.serial_number(1).not_valid_before(begins).not_valid_after(ends)
    return made.sign(rsa_key(), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode()


@cache
def signers() -> dict[str, Check]:
    """A verifier of each provider that can sign, too."""
    return {
        "aws_sns": aws_sns(TOPIC, keys=GivenKeys({SNS_URL: pem(rsa_key())})),
        "paypal": paypal(WEBHOOK, tolerance=300, keys=GivenKeys({PAYPAL_URL: pem(rsa_key())})),
        "plaid": plaid("secret", client_id="id", keys=GivenKeys({KID: pem(ec.generate_private_key(ec.SECP256R1()))})),
    }


def received(message: Outgoing, **fields: Any) -> Event:
    return make_event(headers=dict(message.headers), **{"body": message.body, "data": None, **fields})


def changed(message: Outgoing, **fields: Any) -> Event:
    """What arrives with some of a message's fields changed."""
    body = json.loads(message.body) | fields
    return received(
        message, body=json.dumps({name: value for name, value in body.items() if value is not None}).encode()
    )


signing = pytest.mark.parametrize("name", ["aws_sns", "paypal", "plaid"])


# What is kept, and how often it is asked for.


def test_a_key_is_asked_for_once(keys: FetchedKeys, published: Published) -> None:
    """A key is asked for once."""
    assert [keys.get("a"), keys.get("a"), keys.get("b")] == ["key of a", "key of a", "key of b"]
    assert published.asked == ["a", "b"]


def test_a_key_is_asked_for_again_when_it_is_no_longer_fresh(
    keys: FetchedKeys, published: Published, clock: Clock
) -> None:
    """A key is asked for again when it is no longer fresh."""
    keys.get("a")
    clock.now += 3_599
    keys.get("a")
    assert published.asked == ["a"]
    clock.now += 1
    keys.get("a")

    assert published.asked == ["a", "a"]


def test_an_old_key_is_used_for_a_day_where_no_new_one_can_be_had(
    keys: FetchedKeys, published: Published, clock: Clock
) -> None:
    """An old key is used for a day where no new one can be had, and asked for now and then."""
    keys.get("a")
    published.fails["a"] = NotHad("it is away")
    clock.now += 3_600
    assert [keys.get("a"), keys.get("a")] == ["key of a", "key of a"]
    assert published.asked == ["a", "a"]
    clock.now += 30
    assert keys.get("a") == "key of a"
    assert len(published.asked) == 3
    clock.now += 24 * 3_600

    with pytest.raises(Unavailable):
        keys.get("a")
    del published.fails["a"]
    clock.now += 30
    assert keys.get("a") == "key of a"


def test_a_key_that_its_provider_takes_back_is_used_no_more(
    keys: FetchedKeys, published: Published, clock: Clock
) -> None:
    """A key that its provider takes back is used no more."""
    keys.get("a")
    published.fails["a"] = NoSuchKey()
    clock.now += 3_600

    with pytest.raises(Unverified):
        keys.get("a")


def test_that_there_is_no_such_key_is_believed_for_a_while(
    keys: FetchedKeys, published: Published, clock: Clock
) -> None:
    """That there is no such key is believed for a while, and is a 401."""
    published.fails["a"] = NoSuchKey()
    for _ in range(3):
        with pytest.raises(Unverified):
            keys.get("a")
    assert published.asked == ["a"]
    clock.now += 300
    del published.fails["a"]

    assert keys.get("a") == "key of a"


@pytest.mark.parametrize("error", [NotHad("it is away"), ValueError("it is none")])
def test_a_key_that_cannot_be_had_is_a_503_and_is_asked_for_again_later(
    keys: FetchedKeys, published: Published, clock: Clock, error: Exception
) -> None:
    """A key that cannot be had is a 503, and is asked for again later."""
    published.fails["a"] = error
    for _ in range(3):
        with pytest.raises(Unavailable) as refused:
            keys.get("a")
    assert published.asked == ["a"]
    assert (refused.value.status, refused.value.cause, refused.value.headers["Retry-After"]) == (503, "keys", "30")
    clock.now += 30
    del published.fails["a"]

    assert keys.get("a") == "key of a"


def test_whoever_names_many_unknown_keys_has_ten_a_minute_asked_for(
    keys: FetchedKeys, published: Published, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever names many unknown keys has ten a minute asked for, and is told of in one line."""
    keys.get("known")
    for number in range(500):
        published.fails[str(number)] = NoSuchKey()
        with pytest.raises((Unverified, Unavailable)):
            keys.get(str(number))
    assert len(published.asked) == 10
    assert sum("too many unknown keys" in line for line in caplog.messages) == 1
    clock.now += 60
    for number in range(500, 1_000):
        published.fails[str(number)] = NoSuchKey()
        with pytest.raises((Unverified, Unavailable)):
            keys.get(str(number))

    assert len(published.asked) == 20


def test_a_known_key_is_neither_pushed_out_nor_kept_from_being_asked_for_again(
    published: Published, clock: Clock
) -> None:
    """A known key is neither pushed out nor kept from being asked for again, whatever others name."""
    keys = FetchedKeys("sample", published, bytes.decode, bounds=Bounds(most=4), clock=clock)
    keys.get("known")
    keys.proved("known")
    for minute in range(5):
        for number in range(20):
            with contextlib.suppress(Unavailable):
                keys.get(f"{minute} {number}")
        clock.now += 60
    assert keys.get("known") == "key of known"
    assert published.asked.count("known") == 1
    clock.now += 3_600
    for number in range(20):
        with contextlib.suppress(Unavailable):
            keys.get(f"more {number}")
    with pytest.raises(Unavailable):
        keys.get("one more")

    assert keys.get("known") == "key of known"
    assert published.asked.count("known") == 2
    assert len(keys._kept) <= 4


def test_a_key_stays_known_when_it_was_asked_for_again(published: Published, clock: Clock) -> None:
    """A key stays known when it was asked for again."""
    keys = FetchedKeys("sample", published, bytes.decode, bounds=Bounds(most=2), clock=clock)
    keys.get("known")
    keys.proved("known")
    clock.now += 3_600
    keys.get("known")
    for name in "abc":
        keys.get(name)
    keys.get("known")

    assert published.asked.count("known") == 2


def test_what_was_refused_is_remembered_within_bounds(published: Published, clock: Clock) -> None:
    """What was refused is remembered within bounds."""
    keys = FetchedKeys("sample", published, bytes.decode, bounds=Bounds(most=4, rate=1_000), clock=clock)
    for number in range(100):
        published.fails[str(number)] = NoSuchKey()
        with pytest.raises(Unverified):
            keys.get(str(number))

    assert len(keys._refused) == 4


class Slow(Published):
    """A source that answers when it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def fetch(self, name: str, secrets: Sequence[bytes]) -> bytes:
        found = super().fetch(name, secrets)
        assert self.go.wait(10)
        return found


@pytest.mark.parametrize("missing", [False, True])
def test_threads_that_need_the_same_key_wait_for_one_request(missing: bool) -> None:
    """Threads that need the same key wait for one request, and have its answer."""
    slow = Slow()
    if missing:
        # Asked in `fetch` before it waits, so that it fails at once: the others find what it noted.
        slow.go.set()
        slow.fails["a"] = NoSuchKey()
    keys = FetchedKeys("sample", slow, bytes.decode)

    def get() -> str:
        try:
            return str(keys.get("a"))
        except Unverified:
            return "refused"

    with ThreadPoolExecutor(8) as pool:
        got = [pool.submit(get) for _ in range(8)]
        wait_until(lambda: slow.asked)
        slow.go.set()
        found = {one.result() for one in got}

    assert found == {"refused" if missing else "key of a"}
    assert slow.asked == ["a"]


def test_a_key_that_is_asked_for_again_holds_up_nobody_else(clock: Clock) -> None:
    """While a key is asked for again, others go on with the one that is there."""
    slow = Slow()
    slow.go.set()
    keys = FetchedKeys("sample", slow, bytes.decode, clock=clock)
    keys.get("a")
    slow.go.clear()
    clock.now += 3_600
    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(keys.get, "a")
        wait_until(lambda: len(slow.asked) == 2)
        assert keys.get("a") == "key of a"
        assert not asking.done()
        slow.go.set()

        assert asking.result() == "key of a"


def test_a_thread_that_is_broken_off_lets_the_next_one_ask(published: Published, keys: FetchedKeys) -> None:
    """A thread that is broken off while it asks leaves the key to the next one."""
    published.fails["a"] = KeyboardInterrupt()  # type: ignore[assignment]
    with pytest.raises(KeyboardInterrupt):
        keys.get("a")
    del published.fails["a"]

    assert keys.get("a") == "key of a"


# How they are fetched: of a real server on loopback, over TLS.


def https(port: int, **options: Any) -> Https:
    pin = re.compile(rf"https://127\.0\.0\.1:{port}/[A-Za-z0-9./-]+")
    trust = {"context": lambda: ssl.create_default_context(cafile=str(CERTIFICATE))}
    return Https(pin, **({"guard": Guard(frozenset({"127.0.0.1"}))} | trust | options))


@contextlib.contextmanager
def serving(serve: Serve, **options: Any) -> Iterator[tuple[Receiver, FetchedKeys, str]]:
    """A server, keys that are fetched of it, and the URL of one."""
    with Receiver(serve, tls=True) as receiver:
        keys = FetchedKeys("sample", CertificateUrls(https(receiver.port, **options)), read_certificate)
        yield receiver, keys, f"https://127.0.0.1:{receiver.port}/a.pem"


def ok(body: bytes, status: str = "200 OK", more: bytes = b"") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n".encode() + more + b"\r\n" + body


def refusal(keys: FetchedKeys, url: str, caplog: pytest.LogCaptureFixture) -> tuple[type[Exception], str]:
    """How a key is refused, and what the log says of it."""
    with pytest.raises((Unverified, Unavailable)) as refused:
        keys.get(url)
    return refused.type, "\n".join(caplog.messages)


def test_a_certificate_is_fetched_of_a_server_once() -> None:
    """A certificate is fetched of a server once, by a GET that says nothing but what it has to."""
    with serving(answers(ok(certificate().encode()))) as (receiver, keys, url):
        found = [keys.get(url) for _ in range(3)]

        assert found[0].pair.public.public_numbers() == rsa_key().public_key().public_numbers()
        assert len(receiver.requests) == 1
        head = receiver.requests[0].decode().lower()
        assert head.startswith("get /a.pem http/1.1\r\n")
        assert "accept-encoding: identity" in head


def test_of_a_chain_the_first_certificate_counts() -> None:
    """Of a chain the first certificate counts: the one that signs."""
    chain = certificate() + next(iter(vectors_of("aws_sns")[0]["keys"].values()))
    found = read_certificate(chain.encode())

    assert found.pair.public.public_numbers() == rsa_key().public_key().public_numbers()


def test_a_host_that_does_not_finish_tls_is_left(caplog: pytest.LogCaptureFixture) -> None:
    """A host that takes the connection and does not begin TLS is left when the time is over."""
    with Receiver(says_nothing) as receiver:
        keys = FetchedKeys("sample", CertificateUrls(https(receiver.port, seconds=0.5)), read_certificate)
        kind, said = refusal(keys, f"https://127.0.0.1:{receiver.port}/a.pem", caplog)

        assert kind is Unavailable
        assert "longer than 0.5 s" in said


def test_two_threads_make_one_request() -> None:
    """Two threads make one request."""
    with serving(answers(ok(certificate().encode()))) as (receiver, keys, url), ThreadPoolExecutor(8) as pool:
        found = list(pool.map(keys.get, [url] * 8))

        assert len({id(one) for one in found}) == 1
        assert len(receiver.requests) == 1


def breaks_off(receiver: Receiver, connection: socket.socket) -> None:
    receiver.read(connection)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx")


UNAVAILABLE: dict[str, tuple[Serve, str]] = {
    "500": (answers(ok(b"", "500 Oh No")), "answered 500"),
    "403": (answers(ok(b"", "403 No")), "answered 403"),
    "redirect": (answers(ok(b"", "302 Found", b"Location: https://127.0.0.1/b.pem\r\n")), "answered 302"),
    "no content": (answers(b"HTTP/1.1 204 No\r\n\r\n"), "answered 204"),
    "garbage": (answers(ok(b"\x00\xffthis is s3cret")), "cannot be read"),
    "garbage in PEM": (
        answers(ok(b"-----BEGIN CERTIFICATE-----\ns3cret\n-----END CERTIFICATE-----\n")),
        "cannot be read",
    ),
    "no HTTP": (answers(b"s3cret\r\n\r\n"), "no HTTP/1.1"),
    "closed": (answers(b""), "closed the connection"),
    "too large": (floods(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 16_384), "too long"),
    "too large, as it says": (
        floods(b"HTTP/1.1 200 OK\r\nContent-Length: 9999999\r\n\r\n", b"x" * 16_384),
        "too long",
    ),
    "too large in chunks": (
        floods(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1000\r\n" + b"x" * 4_096 + b"\r\n"),
        "too long",
    ),
    "endless header": (floods(b"HTTP/1.1 200 OK\r\n", b"X-A: " + b"x" * 8_192 + b"\r\n"), "too long"),
    "broken off": (breaks_off, "broke off"),
    "slow drip": (drips(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"), "longer than 0.5 s"),
    "slow header": (drips(b"HTTP/1.1 200 OK\r\nX-A: "), "longer than 0.5 s"),
    "silent": (says_nothing, "longer than 0.5 s"),
}


@pytest.mark.parametrize("kind", UNAVAILABLE)
def test_a_server_that_does_not_answer_as_it_should_is_a_503(kind: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that does not answer as it should is a 503, and the log says why without what was answered."""
    serve, why = UNAVAILABLE[kind]
    with serving(serve, seconds=0.5 if "0.5 s" in why else 30) as (receiver, keys, url):
        kinds, said = refusal(keys, url, caplog)
        again, _ = refusal(keys, url, caplog)

        assert (kinds, again) == (Unavailable, Unavailable)
        assert receiver.accepted == 1
        assert why in said
        assert "s3cret" not in said


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_a_server_that_has_no_such_key_is_a_401(status: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that says that there is no such key is a 401."""
    with serving(answers(ok(b"", status))) as (receiver, keys, url):
        assert refusal(keys, url, caplog)[0] is Unverified
        assert refusal(keys, url, caplog)[0] is Unverified
        assert len(receiver.requests) == 1


def test_many_unknown_names_are_few_requests(caplog: pytest.LogCaptureFixture) -> None:
    """Many unknown names are few requests to the server."""
    with serving(answers(ok(b"", "404 Not Found"))) as (receiver, keys, url):
        for number in range(200):
            refusal(keys, f"{url.removesuffix('a.pem')}{number}.pem", caplog)

        assert len(receiver.requests) == 10


def test_a_host_that_is_not_pinned_is_not_connected_to() -> None:
    """A host that is not pinned is not connected to, nor another port of the one that is."""
    with Receiver(answers(ok(b"")), tls=True) as receiver:
        asks = https(receiver.port + 1)
        with pytest.raises(NotHad, match="on no host"):
            asks.ask(f"https://127.0.0.1:{receiver.port}/a.pem")

        assert receiver.accepted == 0


def test_addresses_that_are_not_public_are_not_connected_to() -> None:
    """A pinned name that leads to an address which is not public is not connected to."""
    with Receiver(answers(ok(b"")), tls=True) as receiver:
        with pytest.raises(NotHad, match="loopback"):
            https(receiver.port, guard=Guard()).ask(f"https://127.0.0.1:{receiver.port}/a.pem")

        assert receiver.accepted == 0


def test_a_host_whose_certificate_nobody_trusts_is_not_believed() -> None:
    """A host whose certificate nobody trusts is not believed."""
    with Receiver(answers(ok(certificate().encode())), tls=True) as receiver:
        asks = https(receiver.port, context=ssl.create_default_context)
        with pytest.raises(NotHad, match="does not hold"):
            asks.ask(f"https://127.0.0.1:{receiver.port}/a.pem")

        assert receiver.requests == []


def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """Proxies of the environment are not used."""
    with Receiver(answers(ok(b""))) as proxy, serving(answers(ok(certificate().encode()))) as (receiver, keys, url):
        for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HTTP_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        keys.get(url)

        assert (len(receiver.requests), proxy.accepted) == (1, 0)


def test_nothing_is_left_open_after_a_fetch() -> None:
    """Nothing is left open after a fetch."""
    with serving(answers(ok(certificate().encode()))) as (receiver, keys, url):
        keys.get(url)

        assert wait_until(lambda: receiver.ended == 1)


PLAID_KEY = next(iter(vectors_of("plaid")[0]["keys"].values()))
NO_KEY = json.dumps({"error_code": "INVALID_WEBHOOK_VERIFICATION_KEY_ID"}).encode()
NO_ACCOUNT = json.dumps({"error_code": "INVALID_API_KEYS", "error_message": "s3cret"}).encode()


@contextlib.contextmanager
def asking_plaid(*given: bytes) -> Iterator[tuple[Receiver, FetchedKeys]]:
    with Receiver(answers(*given), tls=True) as receiver:
        url = f"https://127.0.0.1:{receiver.port}/get"
        yield receiver, FetchedKeys("plaid", KeyEndpoint(https(receiver.port), url, "my-id"), read_key)


def body_of(request: bytes) -> Any:
    return json.loads(request.partition(b"\r\n\r\n")[2])


def test_plaid_is_asked_for_a_key_by_its_name_with_the_users_secret() -> None:
    """Plaid is asked for a key by its name, with the user's secret; a vector is verified with what it answers."""
    vector = vectors_of("plaid")[0]
    with asking_plaid(ok(json.dumps(PLAID_KEY).encode())) as (receiver, keys):
        check = made(plaid, vector)
        check = replace(check, scheme=replace(check.scheme, keys=keys))

        assert check(event_of(vector)) is True
        assert receiver.requests[0].startswith(b"POST /get HTTP/1.1\r\n")
        assert body_of(receiver.requests[0]) == {"client_id": "my-id", "secret": "plaid-secret", "key_id": KID}


def test_plaid_is_asked_with_the_next_secret_where_it_does_not_take_one() -> None:
    """Plaid is asked with the next secret where it does not take one."""
    with asking_plaid(ok(NO_ACCOUNT, "400 No"), ok(json.dumps(PLAID_KEY).encode())) as (receiver, keys):
        keys.get(KID, [b"old", b"new"])

        assert [body_of(one)["secret"] for one in receiver.requests] == ["old", "new"]


def test_a_key_that_plaid_does_not_know_is_a_401_and_an_account_that_it_does_not_know_a_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A key that Plaid does not know is a 401; an account that it does not know is a 503, and said in the log."""
    with asking_plaid(ok(NO_KEY, "400 No")) as (_, keys), pytest.raises(Unverified):
        keys.get(KID, [b"s3cret"])
    with asking_plaid(ok(NO_ACCOUNT, "400 No")) as (_, keys), pytest.raises(Unavailable):
        keys.get(KID, [b"s3cret"])

    assert "Plaid answered 400 INVALID_API_KEYS" in caplog.text
    assert "s3cret" not in caplog.text


# The providers.


class Elsewhere:
    """Certificates of a server on loopback, whatever host a pinned URL names."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._urls = CertificateUrls(https(port))
        self.asked: list[str] = []

    def fetch(self, name: str, secrets: Sequence[bytes]) -> bytes:
        self.asked.append(name)
        return self._urls.fetch(f"https://127.0.0.1:{self._port}/{name.rpartition('/')[2]}", secrets)


@pytest.mark.parametrize(
    ("name", "vector"), [(name, one) for name in ("aws_sns", "paypal") for one in vectors_of(name)]
)
def test_a_vector_is_verified_with_a_certificate_that_is_fetched(name: str, vector: dict[str, Any]) -> None:
    """A vector is verified with a certificate that is fetched of the URL that it names."""
    [(url, document)] = vector["keys"].items()
    with Receiver(answers(ok(document.encode())), tls=True) as receiver:
        source = Elsewhere(receiver.port)
        check = made(CATALOGUE[name], vector)
        check = replace(check, scheme=replace(check.scheme, keys=FetchedKeys(name, source, read_certificate)))

        assert check(event_of(vector)) is True
        assert check(event_of(vector)) is True
        assert source.asked == [url]


def test_each_verifier_has_keys_of_its_own() -> None:
    """Each verifier has keys of its own, and a row of the catalogue has none."""
    first, second = aws_sns(TOPIC), aws_sns(TOPIC)
    assert isinstance(first.scheme, Sns)
    assert isinstance(second.scheme, Sns)

    assert first.scheme.keys is not second.scheme.keys
    assert isinstance(aws_sns.scheme, Sns)
    assert aws_sns.scheme.keys is None


class Counted:
    """Keys that note which of them were called proven."""

    def __init__(self, keys: Any) -> None:
        self._keys = keys
        self.noted: list[str] = []

    def get(self, name: str, secrets: Sequence[bytes] = ()) -> Any:
        return self._keys.get(name, secrets)

    def proved(self, name: str) -> None:
        self.noted.append(name)

    def signing(self) -> tuple[str, Any]:
        found: tuple[str, Any] = self._keys.signing()
        return found


@signing
def test_a_key_is_known_when_it_has_verified_a_request(name: str) -> None:
    """A key is known when it has verified a request, and not because a request names it."""
    check = signers()[name]
    scheme: Any = check.scheme
    keys = Counted(scheme.keys)
    check = replace(check, scheme=replace(scheme, keys=keys))
    message = check.signed(Outgoing(b'{"id": 1}'), NOON)
    bad = replace(message, body=message.body.replace(b"1", b"2"))
    with pytest.raises(Unverified):
        check(received(bad))
    assert keys.noted == []
    check(received(message))

    assert keys.noted == [scheme.keys.signing()[0]]


@signing
def test_checking_may_wait(name: str) -> None:
    """Checking may wait for a key, which a server has to know."""
    assert signers()[name].blocks is True


@signing
@given(body=st.binary(max_size=200))
def test_what_a_private_key_signs_is_verified(name: str, body: bytes) -> None:
    """With a private key that is given in tests, what is signed is verified."""
    check = signers()[name]

    assert check(received(check.signed(Outgoing(body), NOON))) is True


@signing
def test_what_is_published_does_not_sign(name: str) -> None:
    """With keys that are fetched nothing can be signed, and it is said how it could."""
    made = {"aws_sns": aws_sns(TOPIC), "paypal": paypal(WEBHOOK), "plaid": plaid("secret", client_id="id")}
    with pytest.raises(LookupError, match="keys=GivenKeys"):
        made[name].signed(Outgoing(b"{}"), NOON)


@pytest.mark.parametrize("off", [timedelta(hours=2), timedelta(hours=-2)])
@signing
def test_a_request_of_another_time_is_refused(name: str, off: timedelta) -> None:
    """A request of another time is refused."""
    check = signers()[name]
    message = check.signed(Outgoing(b"{}"), NOON)
    with pytest.raises(Unverified) as refused:
        check(received(message, received_at=NOON + off))

    assert refused.value.cause == "stale"


def test_a_retry_of_sns_is_taken_an_hour_later() -> None:
    """A retry of SNS comes up to an hour later, with the time of the first try."""
    check = signers()["aws_sns"]

    assert check(received(check.signed(Outgoing(b"x"), NOON), received_at=NOON + timedelta(hours=1))) is True


def test_a_message_of_another_topic_is_refused_before_its_certificate_is_fetched(published: Published) -> None:
    """A message of another topic is refused, whoever signed it, and its certificate is not fetched."""
    message = signers()["aws_sns"].signed(Outgoing(b"x"), NOON)
    check = aws_sns(TOPIC + "-other")
    check = replace(check, scheme=Sns(FetchedKeys("aws_sns", published, read_certificate)))
    with pytest.raises(Unverified) as refused:
        check(received(message))

    assert refused.value.cause == "mismatch"
    assert published.asked == []


@pytest.mark.parametrize("name", ["aws_sns", "paypal"])
def test_a_certificate_counts_between_its_dates(name: str) -> None:
    """A certificate counts between its dates."""
    check = signers()[name]
    message = check.signed(Outgoing(b"x"), NOON)

    def with_dates(begins: int, ends: int) -> Check:
        made = certificate(NOON + timedelta(hours=begins), NOON + timedelta(hours=ends))
        if name == "paypal":
            return paypal(WEBHOOK, keys=GivenKeys({PAYPAL_URL: made}))
        return aws_sns(TOPIC, keys=GivenKeys({SNS_URL: made}))

    assert with_dates(-1, 1)(received(message)) is True
    for dates in ((-2, -1), (1, 2)):
        with pytest.raises(Unverified):
            with_dates(*dates)(received(message))


@pytest.mark.parametrize("type_", ["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"])
@pytest.mark.parametrize("version", ["1", "2"])
def test_each_type_of_message_is_signed_in_its_own_way(type_: str, version: str) -> None:
    """Each signed field of each type of message counts, in both versions."""
    chosen = next(
        one
        for one in vectors_of("aws_sns")
        if json.loads(one["request"]["body"])["Type"] == type_
        and (type_ != "Notification" or json.loads(one["request"]["body"])["SignatureVersion"] == version)
    )
    check, event = made(aws_sns, chosen), event_of(chosen)
    fields = json.loads(event.body)
    assert check(event) is True

    for name in set(fields) - {"UnsubscribeURL"}:
        with pytest.raises(Unverified):
            check(replace(event, body=json.dumps(fields | {name: f"{fields[name]}x"}).encode()))


def test_what_a_subject_says_cannot_pose_as_other_fields() -> None:
    """What a message or a subject says cannot pose as other fields."""
    check = signers()["aws_sns"]
    whole = check.signed(Outgoing(b'{"Type": "Notification", "Message": "m", "Subject": "s"}'), NOON)
    split = f"m\nMessageId\n{json.loads(whole.body)['MessageId']}\nSubject\ns"

    assert check(received(whole)) is True
    for fields in ({"Subject": None}, {"Message": split, "Subject": None}, {"Subject": ""}):
        with pytest.raises(Unverified):
            check(changed(whole, **fields))


TRICKS = [
    "https://sns.eu-west-1.amazonaws.com@evil.example/SimpleNotificationService-{}.pem",
    "https://evil.example/https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://evil.example#sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://evil.example\\@sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "http://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "HTTPS://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://SNS.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com./SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com:443/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com:8443/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com.evil.example/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com.cn/SimpleNotificationService-{}.pem",
    "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://sns.evil.example/.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com%2eevil.example/SimpleNotificationService-{}.pem",
    "https://sns%2eeu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem?x",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem#x",
    "https://sns.eu-west-1.amazonaws.com/?Action=Publish&x=SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com/../SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem\n",
    " https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "https://sns.eu-west-1.amazonaws\u3002com/SimpleNotificationService-{}.pem",
    "https://sns.eu-\uff57est-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "//sns.eu-west-1.amazonaws.com/SimpleNotificationService-{}.pem",
    "file:///SimpleNotificationService-{}.pem",
    "",
]


def trap(check: Check, published: Published) -> Check:
    """The same verifier with keys that are fetched, which `published` counts."""
    scheme: Any = check.scheme
    return replace(check, scheme=replace(scheme, keys=FetchedKeys("sample", published, read_certificate)))


@pytest.mark.parametrize("url", TRICKS)
def test_a_url_that_only_looks_like_that_of_sns_is_not_fetched(url: str, published: Published) -> None:
    """A URL that only looks like that of SNS, or is of another region, is refused and not fetched."""
    check = signers()["aws_sns"]
    message = changed(check.signed(Outgoing(b"x"), NOON), SigningCertURL=url.format("0" * 32))
    with pytest.raises(Unverified) as refused:
        trap(check, published)(message)

    assert refused.value.cause == "malformed"
    assert published.asked == []


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (
            "https://sns.eu-west-1.amazonaws.com/test.pem",
            "The path of the message's SigningCertURL is none of SNS'.",
        ),
        (SNS_URL.replace("eu-west-1", "us-east-1"), "The message's SigningCertURL is none of its topic's region."),
        ("https://evil.example/test.pem", "The message's SigningCertURL is none of its topic's region."),
    ],
)
def test_what_is_wrong_with_the_url_of_sns_is_said(url: str, sentence: str) -> None:
    """It is said whether it is the path of the URL that is wrong, or where it leads."""
    check = signers()["aws_sns"]
    with pytest.raises(Unverified) as refused:
        check(changed(check.signed(Outgoing(b"x"), NOON), SigningCertURL=url))

    assert refused.value.detail == sentence


@pytest.mark.parametrize(
    "url",
    [
        "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
        "https://api.paypal.com./v1/notifications/certs/CERT-1",
        "https://api.paypal.com:444/v1/notifications/certs/CERT-1",
        "https://API.paypal.com/v1/notifications/certs/CERT-1",
        "https://apiXpaypal.com/v1/notifications/certs/CERT-1",
        "https://evil.paypal.com/v1/notifications/certs/CERT-1",
        "http://api.paypal.com/v1/notifications/certs/CERT-1",
        "https://api.paypal.com/v1/notifications/certs/CERT-1/../../../x",
        "https://api.paypal.com/v1/notifications/certs/CERT-1?x",
        "https://api.paypal.com/v1/notifications/certs/CERT-%2e",
        "https://api.paypal.com/v1/notifications/certs/CERT-é",
        "https://api.paypal.com/v1/oauth2/token",
    ],
)
def test_a_url_that_only_looks_like_that_of_paypal_is_not_fetched(url: str, published: Published) -> None:
    """A URL that only looks like that of PayPal is refused and not fetched."""
    check = signers()["paypal"]
    message = check.signed(Outgoing(b"{}"), NOON).adding({"PAYPAL-CERT-URL": url})
    with pytest.raises(Unverified) as refused:
        trap(check, published)(received(message))

    assert refused.value.cause == "malformed"
    assert published.asked == []


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
    max_leaves=5,
)


@given(data=st.data())
def test_a_field_of_sns_that_is_anything_else_is_refused(data: st.DataObject) -> None:
    """A signed field of SNS that is missing or anything else is a 401."""
    check = signers()["aws_sns"]
    message = check.signed(Outgoing(b'{"Type": "Notification", "Message": "m", "Subject": "s"}'), NOON)
    fields = json.loads(message.body)
    name = data.draw(st.sampled_from(sorted(fields)))
    value = data.draw(JSON | st.just(None))
    if value == fields[name]:
        return
    with pytest.raises(Unverified):
        check(changed(message, **{name: value}))


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'"x"', b"{}", b"\xff", b"[" * 100_000, b'{"Type": ["Notification"]}', b'{"Type": {}}'],
)
@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json", ""])
def test_a_body_that_is_no_message_of_sns_is_refused(body: bytes, content_type: str) -> None:
    """A body that is no message of SNS is a 401."""
    with pytest.raises(Unverified) as refused:
        signers()["aws_sns"](make_event(headers={"Content-Type": content_type}, body=body, data=None))

    assert refused.value.cause == "malformed"


HEADER = st.text(st.characters(max_codepoint=255), max_size=60) | st.sampled_from(
    ["", "|", "SHA1withRSA", "sha256withrsa", "0", "-1", "1e30", "9" * 400, "2026-03-01T12:00:00", "A" * 9_000, "="]
)


@given(data=st.data())
def test_a_header_of_paypal_that_is_anything_else_is_refused(data: st.DataObject) -> None:
    """A header of PayPal that is missing or anything else is a 401."""
    check = signers()["paypal"]
    headers = dict(check.signed(Outgoing(b"{}"), NOON).headers)
    name = data.draw(st.sampled_from(sorted(headers)))
    value = data.draw(st.none() | HEADER)
    sent = {key: one for key, one in (headers | {name: value}).items() if one is not None}
    with pytest.raises(Unverified):
        check(make_event(headers=sent, body=b"{}", data=None))


@pytest.mark.parametrize("part", ["body", "id", "time", "webhook"])
def test_each_part_that_paypal_signs_counts(part: str) -> None:
    """Each part that PayPal signs counts."""
    check = signers()["paypal"]
    message = check.signed(Outgoing(b'{"id": "WH-1"}'), NOON)
    other = {
        "body": replace(message, body=b'{"id": "WH-2"}'),
        "id": message.adding({"PAYPAL-TRANSMISSION-ID": "another"}),
        "time": message.adding({"PAYPAL-TRANSMISSION-TIME": "2026-03-01T12:00:01Z"}),
        "webhook": message,
    }[part]
    asked = check.with_secret("another") if part == "webhook" else check
    with pytest.raises(Unverified) as refused:
        asked(received(other))

    assert refused.value.cause == "mismatch"


def test_which_webhook_of_several_it_is_is_known() -> None:
    """Of several webhooks or topics it is known which one it is."""
    check = signers()["paypal"]
    event = received(check.signed(Outgoing(b"{}"), NOON))

    assert check.with_secret(["another", WEBHOOK]).check(event).key == "2"
    assert (
        signers()["aws_sns"]
        .with_secret([f"{TOPIC}-a", TOPIC])
        .check(received(signers()["aws_sns"].signed(Outgoing(b"x"), NOON)))
        .key
        == "2"
    )


@signing
def test_a_sender_without_a_known_secret_is_refused_and_nothing_is_fetched(name: str, published: Published) -> None:
    """Where the function that looks secrets up knows none, nothing is fetched."""
    check = signers()[name]
    message = check.signed(Outgoing(b"{}"), NOON)
    with pytest.raises(Unverified) as refused:
        trap(check.with_secret(lambda event: None), published)(received(message))

    assert refused.value.cause == "unknown"
    assert published.asked == []


def test_a_route_answers_503_where_keys_cannot_be_had(published: Published) -> None:
    """A route answers 503 with Retry-After where keys cannot be had, and keeps nothing."""
    check = signers()["aws_sns"]
    event = received(check.signed(Outgoing(b"x"), NOON))
    published.fails[SNS_URL] = NotHad("it is away")
    outbox = MemoryOutbox()
    with pytest.raises(Unavailable) as refused:
        Intake(outbox).accept(make_route(verify=trap(check, published)), event)

    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "30"})


# Declaring.


@pytest.mark.parametrize(
    ("declare", "text"),
    [
        (lambda: aws_sns("orders"), "the topic's ARN"),
        (lambda: aws_sns(f"{TOPIC}\nx"), "the topic's ARN"),
        (lambda: aws_sns(TOPIC, keys={SNS_URL: "x"}), "keys takes GivenKeys"),  # type: ignore[arg-type]
        (lambda: aws_sns(TOPIC, keys=GivenKeys({SNS_URL: "x"})), "given as https://sns"),
        *(
            (lambda name=name: aws_sns(TOPIC, keys=GivenKeys({name: pem(rsa_key())})), text)
            for name in ("test", "https://sns.eu-west-1.amazonaws.com/test.pem", "", f"{SNS_URL}\n", 7)
            for text in (f"keys has {name!r}, which is no URL", f"such as {SNS_URL}")
        ),
        *(
            (lambda name=name: paypal(WEBHOOK, keys=GivenKeys({name: pem(rsa_key())})), text)
            for name in ("test", SNS_URL, "https://api.paypal.com/v1/notifications/certs/x")
            for text in (f"keys has {name!r}, which is no URL", "such as https://api.paypal.com/v1/notifications/certs")
        ),
        (lambda: paypal("a|b"), "the webhook's id"),
        (lambda: paypal(WEBHOOK, tolerance=0), "positive number of seconds"),
        (lambda: plaid("secret", client_id=""), "client_id"),
        (lambda: plaid("secret", client_id="x", environment="development"), "environment"),  # type: ignore[arg-type]
        (lambda: plaid("secret", client_id="x", keys=GivenKeys({KID: {"kty": "RSA"}})), "JSON Web Key of P-256"),
        (lambda: plaid("secret", client_id="x", keys=GivenKeys({KID: {"kty": "EC", "crv": "P-256"}})), "coordinate"),
        (lambda: plaid("secret", client_id="x", keys=GivenKeys({KID: "[" * 100_000})), "no JSON"),
        (lambda: plaid("secret", client_id="x", keys=GivenKeys({KID: "[]"})), "JSON Web Key"),
        (lambda: plaid("secret", client_id="x", keys=GivenKeys({KID: 7})), "JSON Web Key"),  # type: ignore[dict-item]
    ],
)
def test_what_is_declared_wrongly_is_said_in_a_sentence(declare: Callable[[], Any], text: str) -> None:
    """What is declared wrongly is said in a sentence."""
    with pytest.raises(DeclarationError, match=re.escape(text)):
        declare()


@signing
def test_without_cryptography_it_is_said_when_declared(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without cryptography it is said when declared, in one sentence."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    declare: dict[str, Callable[[], Any]] = {
        "aws_sns": lambda: aws_sns(TOPIC),
        "paypal": lambda: paypal(WEBHOOK),
        "plaid": lambda: plaid("secret", client_id="id"),
    }
    with pytest.raises(DeclarationError, match=r"pip install 'trafficrelay\[verify\]'"):
        declare[name]()


def test_the_catalogue_loads_nothing_that_fetches() -> None:
    """Importing the catalogue loads nothing that fetches: most relays need none of it."""
    code = (
        "import sys, trafficrelay.verify\n"
        "print([name for name in ('ssl', 'http.client', 'urllib3', 'cryptography') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "[]"


def test_neither_a_secret_nor_a_key_is_shown(caplog: pytest.LogCaptureFixture) -> None:
    """Neither a secret nor a private key is in what a verifier shows of itself."""
    caplog.set_level(logging.DEBUG)
    for check in signers().values():
        shown = f"{check!r} {check.scheme!r} {check.secrets!r}"

        assert "PRIVATE" not in shown
        assert TOPIC not in shown
    assert "PRIVATE" not in repr(GivenKeys({SNS_URL: pem(rsa_key())}))
