"""Which places deliveries go to. A canary listens where each forbidden URL leads, and is to see nothing."""

# ruff: noqa: RUF001 - letters that look like others are what is tried here

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
from collections.abc import Iterator
from ipaddress import ip_address
from typing import Any

import pytest

from trafficrelay.delivery.guard import Guard
from trafficrelay.delivery.sockets import Limits, dial
from trafficrelay.delivery.special import kept_for
from trafficrelay.delivery.transport import Request, Response, Transport
from trafficrelay.errors import AddressForbidden, ConnectionFailed, DeclarationError

FORBIDDEN_HOSTS = """
127.0.0.1 127.0.0.1. 127.0.0.2 127.127.127.127 127.255.255.254
127.1 127.0.1 127.1. 127.0.0.0x1 127.0x0.0.1 127.0.0.01 127.000.000.001
2130706433 2130706433. 0x7f000001 0X7F000001 0x7F.1 0x7f.0.0.1 0x7f.0x0.0x0.0x1 0x7f.0.1
017700000001 0177.0.0.1 0177.1 0177.0x0.1 00000177.0.0.1
0 0.0.0.0 0.0 00 0x0 0.0.0.1 0.1.2.3
10.0.0.1 10.1 0xa000001 012.0.0.1 10.255.255.255 172.16.0.1 172.31.255.255 0xac100001 2886729729
192.168.0.1 192.168.1 0300.0250.0.1 3232235521
169.254.169.254 169.254.169.254. 2852039166 0xa9fea9fe 0xa9.0xfe.0xa9.0xfe 0251.0376.0251.0376 169.16689662
169.254.43518 169.254.0.23
100.64.0.1 100.100.100.200 100.127.255.255 1684300232 168.63.129.16 0xa83f8110 192.0.0.192 192.0.0.1 192.0.0.170
192.0.2.1 192.88.99.1 198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1
224.0.0.1 239.255.255.250 240.0.0.1 255.255.255.255 4294967295 0xffffffff
localhost localhost. LOCALHOST LocalHost localhost.localhost a.localhost a.b.LOCALHOST.
[::1] [0:0:0:0:0:0:0:1] [0000:0000:0000:0000:0000:0000:0000:0001] [::0001] [0::1] [::0.0.0.1]
[::] [0:0:0:0:0:0:0:0] [::0] [::0.0.0.0]
[::ffff:127.0.0.1] [::FFFF:127.0.0.1] [::ffff:7f00:1] [::FFFF:7F00:1] [0:0:0:0:0:ffff:7f00:0001] [::ffff:0:0]
[::ffff:10.0.0.1] [::ffff:169.254.169.254] [::ffff:a9fe:a9fe] [::ffff:8.8.8.8]
[::127.0.0.1] [::7f00:1] [::a9fe:a9fe] [::ffff:0:127.0.0.1] [::ffff:0:7f00:1]
[64:ff9b::127.0.0.1] [64:ff9b::7f00:1] [64:ff9b::a9fe:a9fe] [64:FF9B::808:808] [64:ff9b:1::7f00:1]
[2002:7f00:1::] [2002:7f00:0001::1] [2002:a9fe:a9fe::] [2002:0a00:0001::]
[2001::1] [2001:0:7f00:1::] [2001:0:a9fe:a9fe:0:0:80ff:fffe] [2001:1::1] [2001:2::1] [2001:10::1] [2001:20::1]
[fd00:ec2::254] [FD00:0EC2:0:0:0:0:0:0254] [fd20:ce::254] [fc00::1] [fdff:ffff::1] [fe80::1] [FE80::a9fe:a9fe] [febf::1]
[fec0::1] [ff02::1] [ff0e::1] [100::1] [100:0:0:1::1] [2001:db8::1] [3fff::1] [5f00::1] [4000::1] [::2] [e000::1]
"""

MALFORMED = [
    # Who is the host? Readers differ.
    "http://good.example@127.0.0.1:{port}/",
    "http://user:secret@127.0.0.1:{port}/",
    "http://127.0.0.1:{port}@good.example/",
    "http://good.example:80@127.0.0.1:{port}/",
    "http://good.example%40127.0.0.1:{port}/",
    "http://127.0.0.1:{port}\\@good.example/",
    "http://good.example\\@127.0.0.1:{port}/",
    "http:\\\\127.0.0.1:{port}\\",
    "http://127.0.0.1:{port}#@good.example/",
    "http://good.example#@127.0.0.1:{port}/",
    "http://good.example;127.0.0.1:{port}/",
    "http://127.0.0.1:{port}:80/",
    "http://127.0.0.1 :{port}/",
    "http://127.0.0.1,good.example:{port}/",
    "http:/127.0.0.1:{port}/",
    "http:127.0.0.1:{port}/",
    "http:///127.0.0.1:{port}/",
    "//127.0.0.1:{port}/",
    "127.0.0.1:{port}/",
    # Other letters, which a reader may fold, strip or decode.
    "http://①②⑦.⓪.⓪.①:{port}/",
    "http://１２７.０.０.１:{port}/",
    "http://127。0。0。1:{port}/",
    "http://127．0．0．1:{port}/",
    "http://127｡0｡0｡1:{port}/",
    "http://١٢٧.0.0.1:{port}/",
    "http://ⓛⓞⓒⓐⓛⓗⓞⓢⓣ:{port}/",
    "http://ｌocalhost:{port}/",
    "http://loca\u017fhost:{port}/",
    "http://local\u00adhost:{port}/",
    "http://localhost\u200b:{port}/",
    "http://％31２７.0.0.1:{port}/",
    "http://good.example／@127.0.0.1:{port}/",
    "http://127.0.0.%31:{port}/",
    "http://%31%32%37.0.0.1:{port}/",
    "http://%6c%6f%63alhost:{port}/",
    "http://localhost%00.good.example:{port}/",
    "http://127.0.0.1%23.good.example:{port}/",
    "http://127.0.0.1\t:{port}/",
    "http://127.0.\n0.1:{port}/",
    "http://127.0.0.1:{port}/\r\nHost: good.example",
    "http://127.0.0.1:{port}/ HTTP/1.1",
    "ht\ttp://127.0.0.1:{port}/",
    " http://127.0.0.1:{port}/",
    "http://127.0.0.1:{port}/\x00",
    "http://127.0.0.1:{port}/\x7f",
    "http://127.0.0.1:{port}/ü",
    # Dots, labels and brackets.
    "http://127.0.0.1..:{port}/",
    "http://127..0.0.1:{port}/",
    "http://.127.0.0.1:{port}/",
    "http://localhost..:{port}/",
    "http://.localhost:{port}/",
    "http://.:{port}/",
    "http://:{port}/",
    "http:///",
    "http://-localhost:{port}/",
    "http://1.2.3:{port}/",
    "http://1.2.3.4.5:{port}/",
    "http://256.0.0.1:{port}/",
    "http://good.example.1:{port}/",
    "http://08.8.8.8:{port}/",
    "http://0127.0.0.1:{port}/",  # 127.0.0.1 to some, 87.0.0.1 to others
    "http://134744072:{port}/",  # public, but nobody writes 8.8.8.8 so
    "http://good.0x:{port}/",
    "http://[127.0.0.1]:{port}/",
    "http://[localhost]:{port}/",
    "http://[::1:{port}/",
    "http://::1:{port}/",
    "http://[::1]]:{port}/",
    "http://[[::1]]:{port}/",
    "http://[::1]good.example:{port}/",
    "http://good.example[::1]:{port}/",
    "http://[::1%25lo]:{port}/",
    "http://[::1%lo]:{port}/",
    "http://[fe80::1%25eth0]:{port}/",
    "http://[::1.]:{port}/",
    "http://[v1.127]:{port}/",
    "http://[::12345]:{port}/",
    "http://" + "a" * 64 + ".example:{port}/",
    "http://" + "a." * 130 + "example:{port}/",
    # Ports and schemes.
    "http://good.example:0/",
    "http://good.example:65536/",
    "http://good.example:99999999/",
    "http://good.example:-1/",
    "http://good.example:+80/",
    "http://good.example:８０/",
    "http://good.example:/",
    "http://good.example:http/",
    "ftp://127.0.0.1:{port}/",
    "file:///etc/passwd",
    "gopher://127.0.0.1:{port}/_GET",
    "unix://127.0.0.1:{port}/",
    "ws://127.0.0.1:{port}/",
    "http+unix://127.0.0.1:{port}/",
    "javascript:alert(1)",
    "https",
    "",
]

LED_TO = """
127.0.0.1 127.8.8.8 0.0.0.0 10.0.0.1 172.16.3.4 192.168.1.1 169.254.169.254 100.64.0.1 100.100.100.200 168.63.129.16
192.0.0.192 198.18.0.1 224.0.0.1 255.255.255.255 ::1 :: ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::127.0.0.1
64:ff9b::7f00:1 64:ff9b:1::a9fe:a9fe 2002:7f00:1:: 2001:0:7f00:1:: fd00:ec2::254 fe80::1 fe80::1%lo fc00::1 ff02::1
"""

PUBLIC = """
8.8.8.8 1.1.1.1 172.15.255.255 172.32.0.1 100.63.255.255 100.128.0.1 168.63.129.17 192.0.1.1 198.20.0.1 223.255.255.255
2606:4700::1111 2001:200::1 2001:4860:4860::8888 2001:db9::1 2003::1 2a00::1 3ffe::1
"""

RESOLVER_TAKES = "127.1 0x7f.1 0177.0.0.1 2130706433 0x7f000001 0 0x0 0.0.0.0 ::1 :: ::ffff:7f00:1 localhost"


class Canary:
    """Listens on loopback, IPv4 and IPv6, on one port; answers 200 and counts who came."""

    def __init__(self) -> None:
        self._sockets = [socket.create_server(("127.0.0.1", 0))]
        self.port = self._sockets[0].getsockname()[1]
        try:
            self._sockets.append(socket.create_server(("::1", self.port), family=socket.AF_INET6))
        except OSError:
            self.close()
            raise
        self.came = 0
        self._threads = [threading.Thread(target=self._listen, args=(each,)) for each in self._sockets]
        for thread in self._threads:
            thread.start()

    def _listen(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                self.came += 1
                with contextlib.suppress(OSError):
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def close(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in getattr(self, "_threads", []):
            thread.join()


def made_canary() -> Canary:
    for _ in range(20):
        with contextlib.suppress(OSError):  # somebody else has the port of IPv6
            return Canary()
    raise AssertionError("no port is free on both 127.0.0.1 and ::1")


@pytest.fixture(scope="module")
def canary() -> Iterator[Canary]:
    made = made_canary()
    yield made
    made.close()


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Where sockets were connected to: nothing at all is to be, also where no canary can listen."""
    seen: list[Any] = []
    plain = socket.socket.connect

    def connect(self: socket.socket, address: Any) -> None:
        seen.append(address)
        plain(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
    return seen


@pytest.fixture
def leads(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[list[str]]]:
    """A resolver: what each host leads to, one list for each time that it is asked, the last one for ever."""
    book: dict[str, list[list[str]]] = {}
    plain = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: Any, **options: Any) -> list[Any]:
        if host not in book:
            return plain(host, port, *args, **options)
        answers = book[host].pop(0) if len(book[host]) > 1 else book[host][0]
        found = []
        for answer in answers:
            if ":" in answer:
                address, _, zone = answer.partition("%")
                scope = socket.if_nametoindex(zone) if zone else 0
                found.append((socket.AF_INET6, socket.SOCK_STREAM, 6, "", (address, port, 0, scope)))
            else:
                found.append((socket.AF_INET, socket.SOCK_STREAM, 6, "", (answer, port)))
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return book


@functools.cache  # reading the system's certificates takes longer than the test; the canary lets none be kept
def transport(*allowed: str) -> Transport:
    return Transport(Guard(frozenset(allowed)))


def send(url: str, *allowed: str) -> Response:
    return transport(*allowed).send(Request("POST", url, {}, b"{}", connect_timeout=5, read_timeout=5))


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS.split())
def test_a_host_that_is_not_public_is_refused_in_each_spelling(
    host: str, canary: Canary, connections: list[Any]
) -> None:
    came = canary.came
    url = f"http://{host}:{canary.port}/hook?token=s3cret"
    with pytest.raises((AddressForbidden, DeclarationError)) as declared:
        Guard().check_url(url)
    with pytest.raises((AddressForbidden, DeclarationError)):
        send(url)

    assert connections == []
    assert canary.came == came
    assert "s3cret" not in str(declared.value)


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS.split())
def test_a_spelling_that_passed_the_declaration_is_refused_by_the_address_it_resolves_to(host: str) -> None:
    with pytest.raises((AddressForbidden, ConnectionFailed)):  # ConnectionFailed: the resolver knows no such spelling
        Guard().resolve(host.strip("[]"), 80)


@pytest.mark.parametrize("host", RESOLVER_TAKES.split())
def test_without_the_guard_the_resolver_would_lead_each_of_these_to_the_canary(host: str, canary: Canary) -> None:
    came = canary.came
    everywhere = Guard(frozenset({"0.0.0.0/0", "::/0"}))
    with dial(everywhere, host, canary.port, Limits(time.monotonic() + 5)) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n")
        connection.recv(100)

    assert canary.came == came + 1


@pytest.mark.parametrize("host", RESOLVER_TAKES.split())
def test_what_the_resolver_takes_for_an_address_is_looked_at_as_that_address(host: str) -> None:
    with pytest.raises(AddressForbidden):
        Guard().resolve(host, 80)


@pytest.mark.parametrize("url", MALFORMED)
def test_a_url_that_can_be_read_in_two_ways_is_refused(url: str, canary: Canary, connections: list[Any]) -> None:
    came = canary.came
    url = url.replace("{port}", str(canary.port))
    with pytest.raises(DeclarationError) as declared:
        Guard().check_url(url)
    with pytest.raises(DeclarationError):
        send(url)

    assert declared.value.option == "deliver"
    assert connections == []
    assert canary.came == came
    assert "secret" not in str(declared.value)
    assert "127" not in str(declared.value)


@pytest.mark.parametrize("address", LED_TO.split())
def test_a_name_that_leads_to_a_forbidden_address_is_refused(
    address: str, canary: Canary, connections: list[Any], leads: dict[str, list[list[str]]]
) -> None:
    came = canary.came
    leads["hooks.example"] = [[address]]
    Guard().check_url("http://hooks.example/")
    with pytest.raises(AddressForbidden) as refused:
        send(f"http://hooks.example:{canary.port}/hook?token=s3cret")

    assert refused.value.host == "hooks.example"
    assert ip_address(refused.value.address) == ip_address(address.partition("%")[0])
    assert connections == []
    assert canary.came == came
    assert "s3cret" not in str(refused.value)


def test_a_host_is_resolved_once_and_connected_to_as_it_was_resolved(
    canary: Canary, connections: list[Any], leads: dict[str, list[list[str]]]
) -> None:
    leads["rebinding.example"] = [["127.0.0.1"], ["169.254.169.254"], ["10.0.0.1"]]

    assert send(f"http://rebinding.example:{canary.port}/", "127.0.0.1").status == 200
    assert connections == [("127.0.0.1", canary.port)]
    with pytest.raises(AddressForbidden, match=r"169\.254\.169\.254"):
        send(f"http://rebinding.example:{canary.port}/", "127.0.0.1")
    assert connections == [("127.0.0.1", canary.port)]


def test_forbidden_addresses_among_others_are_left_out(leads: dict[str, list[list[str]]]) -> None:
    leads["mixed.example"] = [["10.0.0.1", "64:ff9b::808:808", "8.8.8.8", "::1", "2606:4700::1111", "8.8.8.8"]]

    assert [sockaddr[0] for _, sockaddr in Guard().resolve("mixed.example", 443)] == ["8.8.8.8", "2606:4700::1111"]


def test_a_host_without_an_address_is_a_failure_that_another_try_may_mend(leads: dict[str, list[list[str]]]) -> None:
    leads["nowhere.example"] = [[]]
    with pytest.raises(ConnectionFailed, match="no address") as failed:
        Guard().resolve("nowhere.example", 443)
    assert failed.value.sent is False

    with pytest.raises(ConnectionFailed, match="no address"):
        Guard().resolve("a" * 64 + ".example", 443)


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("127.0.0.1", "127.0.0.0/8"),
        ("[::1]", "::1"),
        ("[0:0:0:0:0:0:0:1]", "::1/128"),
        ("[::ffff:127.0.0.1]", "::ffff:127.0.0.1"),
        ("localhost", "localhost"),
        ("LOCALHOST", "LocalHost."),
        ("localhost", "localhost."),
        ("localhost", "127.0.0.0/8"),
        ("internal.example", "internal.example"),
        ("Internal.Example", "INTERNAL.example"),
        ("internal.example", "127.0.0.0/8"),
        ("six.example", "::1"),
        ("six.example", "six.example"),
    ],
)
def test_what_is_allowed_by_name_is_reached(
    host: str, allowed: str, canary: Canary, leads: dict[str, list[list[str]]]
) -> None:
    leads["internal.example"] = [["127.0.0.1"]]
    leads["six.example"] = [["::1"]]
    came = canary.came
    Guard(frozenset({allowed})).check_url(f"http://{host}:{canary.port}/")

    assert send(f"http://{host}:{canary.port}/", allowed).status == 200
    assert canary.came == came + 1


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("127.0.0.1", "localhost"),
        ("127.0.0.1", "10.0.0.0/8"),
        ("127.0.0.1", "internal.example"),
        ("127.0.0.1", "::ffff:127.0.0.1"),
        ("[::ffff:127.0.0.1]", "127.0.0.1"),
        ("[::1]", "127.0.0.0/8"),
        ("[::1]", "localhost"),
        ("127.0.0.2", "127.0.0.1"),
        ("other.localhost", "localhost"),
        ("sub.internal.example", "internal.example"),
        ("internal.example", "other.example"),
        ("internal.example", "10.0.0.0/8"),
    ],
)
def test_what_is_allowed_allows_nothing_else(
    host: str, allowed: str, canary: Canary, connections: list[Any], leads: dict[str, list[list[str]]]
) -> None:
    leads["internal.example"] = leads["sub.internal.example"] = [["127.0.0.1"]]
    with pytest.raises(AddressForbidden):
        send(f"http://{host}:{canary.port}/", allowed)

    assert connections == []


@pytest.mark.parametrize(
    "allowed",
    ["", "10.0.0.1/8", "http://internal.example", "internal.example:80", "[::1]", "*.internal", "127.1", "a b"],
)
def test_what_is_allowed_has_to_be_a_host_an_address_or_a_network(allowed: str) -> None:
    with pytest.raises(DeclarationError) as refused:
        Guard(frozenset({allowed}))
    assert refused.value.option == "allow"

    with pytest.raises(DeclarationError):
        Guard("localhost")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example",
        "https://hooks.example/in?token=a%20b",
        "https://hooks.example?token=1",
        "HTTP://Hooks.Example:8080/in",
        "https://my_service.example./",
        "https://xn--bcher-kva.example/",
        "https://8.8.8.8/",
        "https://[2606:4700:4700::1111]:8443/",
        "https://1.example/",
        "https://127.0.0.1.example/",
    ],
)
def test_public_places_are_taken(url: str) -> None:
    Guard().check_url(url)


def test_a_place_is_what_the_url_says_and_shows_neither_path_nor_query() -> None:
    place = Guard().place("HTTPS://Hooks.Example?token=s3cret")

    assert (place.scheme, place.host, place.port, place.target) == ("https", "hooks.example", 443, "/?token=s3cret")
    assert str(place) == "https://hooks.example:443"
    assert "s3cret" not in repr(place)


@pytest.mark.parametrize("address", PUBLIC.split())
def test_public_addresses_are_kept_for_nothing(address: str) -> None:
    assert kept_for(ip_address(address)) == ""
