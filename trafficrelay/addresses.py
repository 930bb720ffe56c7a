"""Whose address counts: the client's, where a trusted proxy says it; and how much of it.

`X-Forwarded-For` is a list that each proxy appends to what it was sent. Its left end is whatever the client wrote; only
what trusted proxies appended, at the right end, says anything. So it is read from the right, and the first address that
is no trusted proxy's is the client's (MDN, X-Forwarded-For, "Selecting an IP address": for rates only addresses added
by a trusted proxy may be used; RFC 7239, 8.1: the list cannot be relied on).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from socket import AF_INET, AF_INET6, inet_ntop, inet_pton
from typing import Any, Final

from .errors import DeclarationError

UNIX: Final = "unix"
"""Names whoever connects through a Unix socket, in `trusted_proxies`."""

_UNIX_PEERS: Final = frozenset({"", "localhost"})
"""What servers say is at the other end of a Unix socket: granian, gunicorn and cheroot `""`, a2wsgi nothing, waitress
`"localhost"` (measured). No connection over TCP has either."""

_UNIX_ENTRY: Final = "unix:"
"""What nginx calls the same in the lists that it writes."""

_MAPPED: Final = bytes(10) + b"\xff\xff"
"""How an IPv4 address begins that is written as an IPv6 one, `::ffff:192.0.2.7` (RFC 4291, 2.5.5.2)."""

_LONGEST: Final = 100
"""Characters that an entry may have: an IPv6 address with its zone, brackets and port, and room for spaces."""

_MOST_HOPS: Final = 32

_Networks = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class TrustedProxies:
    """The proxies that are believed when they say whom they speak for. Made by `of`; nobody unless somebody is named.

    Attributes:
        unix: whether whoever connects through a Unix socket is one.
        ipv4: the trusted networks, each its address and its mask.
        ipv6: the same of IPv6.
    """

    unix: bool = False
    ipv4: _Networks = ()
    ipv6: _Networks = ()

    @classmethod
    def of(cls, proxies: Iterable[str] | None) -> TrustedProxies:
        """Read `trusted_proxies=`: addresses, networks and `"unix"`, such as `["10.0.0.0/8", "192.0.2.7", "unix"]`.

        Raises:
            DeclarationError: an item is none of these, or is everybody's address.
        """
        if proxies is None:
            return cls()
        if not isinstance(proxies, Iterable):
            raise DeclarationError(
                f'trusted_proxies is a list such as ["10.0.0.0/8", "unix"], not {proxies!r}.', option="trusted_proxies"
            )
        items = [proxies] if isinstance(proxies, str) else list(proxies)
        networks = [_network(item) for item in items if item != UNIX]
        return cls(
            unix=UNIX in items,
            ipv4=tuple(_numbers(network) for network in networks if network.version == 4),
            ipv6=tuple(_numbers(network) for network in networks if network.version == 6),
        )

    def client(self, remote_addr: str, forwarded_for: str | None) -> str:
        """Give the address of the client. Takes bounded time, whatever the header holds, and raises nothing.

        Args:
            remote_addr: the other end of the connection; `""` (and waitress' `"localhost"`) for a Unix socket.
            forwarded_for: the request's X-Forwarded-For, several of them joined by commas in their order.

        Returns:
            `remote_addr`, unless it is a trusted proxy's. Then the first address from the right of `forwarded_for` that
            is not; where something else comes before it, the last address up to there. Never anything but an address
            or `remote_addr`.
        """
        if not (self.ipv4 or self.unix or self.ipv6):
            return remote_addr
        if not forwarded_for or not self._trusts_peer(remote_addr):
            return remote_addr
        found, end = remote_addr, len(forwarded_for)
        for _ in range(_MOST_HOPS):
            comma = forwarded_for.rfind(",", max(0, end - _LONGEST), end)
            if comma < 0 and end > _LONGEST:
                break  # this entry is too long to be an address
            entry = forwarded_for[comma + 1 : end].strip(" \t")
            packed = _packed(entry)
            if packed is not None:
                found = inet_ntop(AF_INET if len(packed) == 4 else AF_INET6, packed)
                if not self._trusts(packed):
                    break
            elif not (self.unix and entry == _UNIX_ENTRY):
                # An empty entry stops too: a proxy that did not know its client's address may have written it.
                break
            if comma < 0:
                break
            end = comma
        return found

    def trusts(self, remote_addr: str) -> bool:
        """Say whether the other end of a connection is a trusted proxy."""
        return bool(self.ipv4 or self.unix or self.ipv6) and self._trusts_peer(remote_addr)

    def _trusts_peer(self, remote_addr: str) -> bool:
        if remote_addr in _UNIX_PEERS:
            return self.unix
        packed = _packed(remote_addr)
        return packed is not None and self._trusts(packed)

    def _trusts(self, packed: bytes) -> bool:
        number = int.from_bytes(packed, "big")
        # No any(): a generator costs more than the few networks there are.
        for network, mask in self.ipv4 if len(packed) == 4 else self.ipv6:  # noqa: SIM110
            if number & mask == network:
                return True
        return False


def address_key(address: str) -> str:
    """Give what of an address counts for a rate: IPv4 as it is, of IPv6 the /64.

    A sender has a whole /64, 2**64 addresses, to choose from for each request (RFC 7421). An IPv4 address
    that is written as an IPv6 one is the IPv4 address. What is no address is its own key, up to a length.
    """
    if ":" not in address:
        return address[:_LONGEST]
    packed = _packed(address)
    if packed is None:
        return address[:_LONGEST]
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed)
    return packed[:8].hex(":", 2) + "::/64"


def address_block(address: str) -> str:
    """Give the block that an address lies in: the /24 of IPv4, the /48 of IPv6.

    Who holds many addresses holds them in blocks; a /48 is the most that one site is usually given (RFC 6177). What is
    no address is its own block, up to a length.
    """
    packed = _packed(address)
    if packed is None:
        return address[:_LONGEST]
    if len(packed) == 4:
        return inet_ntop(AF_INET, packed[:3] + bytes(1)) + "/24"
    return packed[:6].hex(":", 2) + "::/48"


def _packed(text: str) -> bytes | None:
    """Read an address: 4 or 16 bytes, of an IPv4 address in IPv6 clothes 4; `None` if it is none.

    With a port it is `192.0.2.7:443` or `[2001:db8::7]:443`. The `ipaddress` module takes some 2 µs for what takes
    `inet_pton` 0.1 µs (measured), and this runs in every request.
    """
    try:
        if ":" not in text:
            return inet_pton(AF_INET, text)
        host, port = _split(text)
        if port and not _is_port(port):
            return None
        if ":" not in host:
            return inet_pton(AF_INET, host)
        if "%" in host:
            host = host[: host.index("%")]  # the zone of a link-local address
        packed = inet_pton(AF_INET6, host)
    except (OSError, ValueError):  # no address; a NUL or a surrogate
        return None
    return packed[12:] if packed.startswith(_MAPPED) else packed


def _split(text: str) -> tuple[str, str]:
    """Part an address that has a colon from its port, which keeps its own; what is wrong with it stays in the host."""
    if text[0] == "[":
        host, bracket, port = text[1:].partition("]")
        return (host, port) if bracket and ":" in host else (text, "")
    colon = text.index(":")
    if text.rindex(":") == colon:
        return text[:colon], text[colon:]
    return text, ""


def _is_port(text: str) -> bool:
    return text[0] == ":" and len(text) <= 6 and text[1:].isascii() and text[1:].isdigit()


def _network(item: Any) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    """Read one trusted network.

    Raises:
        DeclarationError: it is none, or everybody's.
    """
    try:
        if not isinstance(item, str):
            raise TypeError("is no string")
        network = ipaddress.ip_network(item, strict=False)
        address = ipaddress.ip_interface(item).ip
    except (TypeError, ValueError) as error:
        raise DeclarationError(
            f'trusted_proxies has addresses such as "192.0.2.7", networks such as "10.0.0.0/8", and "unix"; '
            f"{item!r} is none of these.",
            option="trusted_proxies",
        ) from error
    if address != network.network_address:
        raise DeclarationError(
            f'{item!r} in trusted_proxies is an address and a network in one. Say "{network}" or "{address}".',
            option="trusted_proxies",
        )
    if network.prefixlen == 0:
        raise DeclarationError(
            f"{item!r} in trusted_proxies trusts everybody, so that each client would choose its own address. "
            "Name the networks that your proxies are in.",
            option="trusted_proxies",
        )
    mapped = network.network_address.ipv4_mapped if isinstance(network, ipaddress.IPv6Network) else None
    if mapped is not None and network.prefixlen > 96:
        return ipaddress.IPv4Network((mapped, network.prefixlen - 96))
    return network


def _numbers(network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> tuple[int, int]:
    return int(network.network_address), int(network.netmask)
