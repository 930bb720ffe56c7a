"""The addresses that deliveries do not connect to, and what each is kept for.

A table of our own, because `ipaddress.is_global` answers differently from one patch release of Python to the next, and
wrongly for this purpose. On 3.11.7 it calls global (measured): multicast (224.0.0.1, ff02::1), 192.0.0.192 (which
3.11.2 does not), 6to4 relays (192.88.99.1), IPv4-compatible (::7f00:1), translated (::ffff:0:7f00:1), NAT64
(64:ff9b::7f00:1; 64:ff9b:1::/48 too), 6to4 (2002:7f00:1::), site-local (fec0::1), 3fff::/20, 5f00::/16,
100:0:0:1::/64 and all that was never allocated (4000::1). Sources: IANA's IPv4 and IPv6 Special-Purpose Address
Registries; beyond them each row says whose it is.

What cannot be known from an address: a NAT64 prefix that a network chose for itself (RFC 6052, 2.2).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_IPV4: Final = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("0.0.0.0/8", "this host"),  # Linux connects 0.0.0.0 to loopback
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "shared by a carrier's customers"),  # has Alibaba Cloud's metadata, 100.100.100.200
        ("127.0.0.0/8", "loopback"),
        # Public by the registries; within Azure's machines it is the host, which hands out certificates and settings.
        ("168.63.129.16/32", "Azure's own host"),
        ("169.254.0.0/16", "link-local, also cloud metadata"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "kept for protocols"),  # has Oracle Cloud's metadata, 192.0.0.192
        ("192.0.2.0/24", "documentation"),
        ("192.88.99.0/24", "6to4 relay"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "benchmarking"),
        ("198.51.100.0/24", "documentation"),
        ("203.0.113.0/24", "documentation"),
        ("224.0.0.0/4", "multicast"),
        ("255.255.255.255/32", "broadcast"),
        ("240.0.0.0/4", "reserved"),
    )
)

_IPV6: Final = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        # Those that hold an IPv4 address are refused whatever it is: nobody has to write, or to be led to, such a one.
        ("2001::/23", "kept for protocols, also Teredo"),
        ("2001:db8::/32", "documentation"),
        ("2002::/16", "6to4"),
        ("3fff::/20", "documentation"),
        # The rest only says why an address outside of 2000::/3 is refused.
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("::ffff:0:0/96", "IPv4-mapped"),
        ("::/96", "IPv4-compatible"),
        ("64:ff9b::/96", "NAT64"),
        ("64:ff9b:1::/48", "NAT64"),
        ("fc00::/7", "private"),  # has AWS' and Google's metadata, fd00:ec2::254 and fd20:ce::254
        ("fe80::/10", "link-local"),
        ("fec0::/10", "site-local"),
        ("ff00::/8", "multicast"),
    )
)

_ALLOCATED: Final = IPv6Network("2000::/3")
"""All that IANA gives out of IPv6's global unicast (RFC 4291, 2.4; IANA's IPv6 address space)."""


def kept_for(address: Address) -> str:
    """Return what an address is kept for, `""` where it is a public one like any other."""
    if isinstance(address, IPv4Address):
        return next((kind for network, kind in _IPV4 if address in network), "")
    outside = "" if address in _ALLOCATED else "not allocated"
    return next((kind for network, kind in _IPV6 if address in network), outside)
