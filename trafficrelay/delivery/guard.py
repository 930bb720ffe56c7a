"""The guard against forged destinations (SSRF): which URLs, and which addresses, deliveries go to.

Two walls. A URL is read by one strict reader, and what was read is what is connected to: no other parser sees the URL,
so none can read another host in it. And each address is looked at after it was resolved, by the numbers, whatever
spelling or name led to it; that one is connected to, without asking the resolver again (DNS rebinding).
"""

from __future__ import annotations

import ipaddress
import re
import socket
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from ..errors import AddressForbidden, ConnectionFailed, DeclarationError
from .special import Address, Network, kept_for

_PORTS: Final = {"http": 80, "https": 443}
_VISIBLE: Final = re.compile(r"[!-~]+")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""How a last label looks that makes a host an IPv4 address in some spelling (WHATWG URL, "ends in a number")."""

_AUTHORITY: Final = re.compile(r"(?P<host>\[[^\[\]]*\]|[^:\[\]]*)(:(?P<port>[0-9]{1,5}))?")
_LONGEST_HOST: Final = 253

_LOOPBACK: Final[tuple[Address, ...]] = (ipaddress.IPv4Address("127.0.0.1"), ipaddress.IPv6Address("::1"))
"""Where `localhost` and all names under it lead (RFC 6761, 6.3)."""


@dataclass(frozen=True, slots=True)
class Place:
    """What a URL says, taken apart.

    Attributes:
        scheme: `"http"` or `"https"`.
        host: in lower case; an IPv6 address without brackets; a name with the dot at its end, if it has one.
        port: also where the URL has none.
        target: path and query, as they go on the wire. May hold secrets.
    """

    scheme: str
    host: str
    port: int
    target: str = field(repr=False)

    def __str__(self) -> str:
        """Return the place without path and query, for logs and errors."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Guard:
    """Lets deliveries go to public addresses, and elsewhere only where that is allowed by name.

    Attributes:
        allowed: what may be delivered to although it is not public. A host (`"internal.example"`, `"localhost"`) allows
            whatever its name resolves to; an address or a network (`"10.1.2.3"`, `"10.0.0.0/8"`) allows its addresses,
            whatever name led to them.

    Raises:
        DeclarationError: an item of `allowed` is neither.
    """

    allowed: frozenset[str] = frozenset()
    _hosts: frozenset[str] = field(init=False, repr=False, compare=False)
    _networks: tuple[Network, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if isinstance(self.allowed, str):
            raise DeclarationError(f"allow takes hosts and networks in a set, not {self.allowed!r}.", option="allow")
        networks = {item: _network(item) for item in self.allowed}
        hosts = frozenset(str(item).lower().removesuffix(".") for item, network in networks.items() if network is None)
        for host in hosts:
            if not _is_name(host) or _ends_in_a_number(host):
                raise DeclarationError(
                    "allow takes hosts, addresses and networks, such as 'internal.example' or '10.0.0.0/8', "
                    f"not {host!r}.",
                    option="allow",
                )
        object.__setattr__(self, "allowed", frozenset(self.allowed))
        object.__setattr__(self, "_hosts", hosts)
        object.__setattr__(self, "_networks", tuple(network for network in networks.values() if network))

    def check_url(self, url: str) -> None:
        """Check a URL as far as that goes without asking a resolver: to be called where it is declared.

        Raises:
            DeclarationError: it is none that deliveries take. The text does not quote it: it may hold secrets.
            AddressForbidden: its host is an address, or `localhost`, that is not allowed.
        """
        self.place(url)

    def place(self, url: str) -> Place:
        """Check a URL like `check_url`, and return what was read.

        Raises:
            DeclarationError, AddressForbidden: as `check_url` does.
        """
        place = _read(url)
        name = place.host.removesuffix(".")
        if name in self._hosts:
            return place
        if (name == "localhost" or name.endswith(".localhost")) and not any(
            self._allows(address) for address in _LOOPBACK
        ):
            _forbid(place.host, "", "loopback")
        address = _address(name)
        if address is not None:
            self._check(place.host, address)
        elif _ends_in_a_number(name):
            self._refuse_number(place.host, name)
        return place

    def resolve(self, host: str, port: int) -> list[tuple[int, Any]]:
        """Ask the resolver once, and return what may be connected to, in its order.

        Forbidden addresses are left out rather than all refused for one of them: what is left out is never connected
        to, and where a network makes NAT64 addresses for every host (DNS64), the host's own is among them and serves.

        Args:
            host: a name or an address, in any spelling that the resolver takes.
            port: where to.

        Returns:
            Address families and socket addresses, as `socket.connect` takes them.

        Raises:
            AddressForbidden: every address is forbidden.
            ConnectionFailed: there is no address. How long the resolver may take is up to the system's settings
                (resolv.conf: `timeout`, `attempts`): a lookup cannot be called off.
        """
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, ValueError) as error:  # ValueError: it cannot even be put into a question
            why = error.strerror if isinstance(error, OSError) else "no name that could be resolved"
            raise ConnectionFailed(f"{host} has no address: {why}.", sent=False) from error
        good: dict[tuple[int, Any], None] = {}
        refused: AddressForbidden | None = None
        for family, _, _, _, sockaddr in found:
            if family not in (socket.AF_INET, socket.AF_INET6):
                continue
            try:
                if host.lower().removesuffix(".") not in self._hosts:
                    self._check(host, ipaddress.ip_address(sockaddr[0]))
                good[family, sockaddr] = None
            except AddressForbidden as error:
                refused = error
        if good:
            return list(good)
        raise refused or ConnectionFailed(f"{host} has no address: the resolver knows none.", sent=False)

    def _allows(self, address: Address) -> bool:
        return any(address in network for network in self._networks)

    def _check(self, host: str, address: Address) -> None:
        if not self._allows(address) and (kind := kept_for(address)):
            _forbid(host, str(address), kind)

    def _refuse_number(self, host: str, name: str) -> NoReturn:
        """Refuse 127.1, 0x7f000001, 0177.0.0.1 and their like: the resolver takes them, nobody has to write them."""
        try:
            address = ipaddress.ip_address(socket.inet_aton(name))
        except OSError:
            pass
        else:
            self._check(host, address)
        raise _no_url("has a host that ends in a number: write an IPv4 address as four decimal numbers")


def _read(url: str) -> Place:
    """Take a URL apart, and refuse all that two readers could read differently."""
    if not isinstance(url, str) or not _VISIBLE.fullmatch(url):
        raise _no_url("has to be written in visible ASCII: path and query percent-encoded, the host as 'xn--…'")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in _PORTS:
        raise _no_url("has to begin with 'https://' or 'http://'")
    if "\\" in rest or "#" in rest:
        raise _no_url("must not hold a backslash or '#': write %5C and %23")
    end = next((index for index, letter in enumerate(rest) if letter in "/?"), len(rest))
    authority, target = rest[:end], rest[end:]
    if "@" in authority:
        raise _no_url("must not hold a user or a password: say them in a header")
    matched = _AUTHORITY.fullmatch(authority)
    if matched is None or not matched["host"]:
        raise _no_url("needs a host, and may have a port after it, such as 'https://hooks.example:8443/in'")
    port = int(matched["port"]) if matched["port"] else _PORTS[scheme]
    if not 1 <= port <= 65535:
        raise _no_url("has a port that is none: it is a number from 1 to 65535")
    host = matched["host"].lower()
    if host.startswith("["):
        host = host[1:-1]
        if "%" in host or ":" not in host or _address(host) is None:
            raise _no_url("has brackets around something that is no IPv6 address (which must not have a zone)")
    elif not _is_name(host.removesuffix(".")):
        raise _no_url("has a host that is no name: names have letters, digits, '-', '_' and single dots")
    return Place(scheme, host, port, target if target.startswith("/") else f"/{target}")


def _no_url(fault: str) -> DeclarationError:
    return DeclarationError(f"The URL of a delivery {fault}.", option="deliver")


def _forbid(host: str, address: str, kind: str) -> NoReturn:
    leads = f"{host} leads to {address} ({kind})" if address not in ("", host) else f"{host} is not public ({kind})"
    raise AddressForbidden(
        f"{leads}, where deliveries do not go unless the host or its network is allowed by name.",
        host=host,
        address=address,
    )


def _address(host: str) -> Address | None:
    """Return the address that a host is in its one plain spelling, `None` where it is a name or another spelling."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _network(item: object) -> Network | None:
    try:
        return ipaddress.ip_network(item) if isinstance(item, str) else None
    except ValueError:
        return None


def _ends_in_a_number(name: str) -> bool:
    return _NUMBER.fullmatch(name.rpartition(".")[2]) is not None


def _is_name(host: str) -> bool:
    return len(host) <= _LONGEST_HOST and all(_LABEL.fullmatch(label) for label in host.split("."))
