"""A master, two replicas, and three Sentinels that watch them: processes of the same binary."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from trafficrelay.standalone.valkey import find_binary

from .children import end, free_port, spawn
from .valkeys import Valkey

NAME: Final = "mymaster"

FAILOVER_SECONDS: Final = 40.0

_REPLICAS: Final = 2
_SENTINELS: Final = 3
_CONF: Final = """\
port {port}
bind 127.0.0.1
dir {directory}
sentinel monitor {name} 127.0.0.1 {master} 2
sentinel down-after-milliseconds {name} 2000
sentinel failover-timeout {name} 5000
sentinel parallel-syncs {name} 2
"""


class Sentinels:
    """Servers with a failover; a context manager that starts and ends all of them.

    Args:
        directory: where all of their data is; it is made.
        dice: chooses the ports.
        settings: of each Valkey.

    Attributes:
        url: what a relay is given that asks the Sentinels for the master.
    """

    def __init__(self, directory: Path, dice: random.Random, *, settings: Mapping[str, str]) -> None:
        self._directory = directory
        self._stack = contextlib.ExitStack()
        self._servers = [
            Valkey(directory / f"valkey-{number}", free_port(dice), settings=settings)
            for number in range(1 + _REPLICAS)
        ]
        self._ports = [free_port(dice) for _ in range(_SENTINELS)]
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self._ports)}/{NAME}/0"

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            first, *others = [stack.enter_context(server) for server in self._servers]
            for server in others:
                follow(server, first)
            for port in self._ports:
                self._start_sentinel(port, first, stack)
            self._wait_until_watched()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def master(self) -> Valkey:
        """Ask the Sentinels which server is the master.

        Raises:
            RuntimeError: none of them says.
        """
        for port in self._ports:
            with contextlib.suppress(redis.RedisError), _client(port) as client:
                address: Any = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME)
                return next(server for server in self._servers if server.port == int(address[1]))
        raise RuntimeError("no Sentinel answers")

    def fail_over(self) -> tuple[Valkey, Valkey]:
        """Kill the master, wait until the Sentinels have chosen another one, and give the old one and the new one.

        Raises:
            RuntimeError: they do not.
        """
        old = self.master()
        old.kill()
        deadline = time.monotonic() + FAILOVER_SECONDS
        while time.monotonic() < deadline:
            new = self.master()
            if new is not old and _role(new) == "master":
                return old, new
            time.sleep(0.05)
        raise RuntimeError(f"no failover within {FAILOVER_SECONDS:g} s: see the logs in {self._directory}")

    def wait_until_whole(self) -> None:
        """Wait until all replicas follow the one master.

        Raises:
            RuntimeError: they do not.
        """
        deadline = time.monotonic() + FAILOVER_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(redis.RedisError), self.master().client() as client:
                replicas: Any = client.info("replication")
                states = [replicas.get(f"slave{number}", {}).get("state") for number in range(_REPLICAS)]
                if replicas["role"] == "master" and states == ["online"] * _REPLICAS:
                    return
            time.sleep(0.05)
        raise RuntimeError(f"the replicas do not follow: see the logs in {self._directory}")

    def _start_sentinel(self, port: int, master: Valkey, stack: contextlib.ExitStack) -> None:
        directory = self._directory / f"sentinel-{port}"
        directory.mkdir()
        conf = directory / "sentinel.conf"
        conf.write_text(_CONF.format(port=port, directory=directory, name=NAME, master=master.port))
        command = [str(find_binary()), str(conf), "--sentinel"]
        stack.callback(end, spawn(command, directory, directory.with_suffix(".log")), patience=5)

    def _wait_until_watched(self) -> None:
        """Wait until every Sentinel knows the others and the replicas: a failover needs them."""
        deadline = time.monotonic() + FAILOVER_SECONDS
        while not all(self._knows_all(port) for port in self._ports):
            if time.monotonic() > deadline:
                raise RuntimeError(f"the Sentinels do not find each other: see the logs in {self._directory}")
            time.sleep(0.1)

    def _knows_all(self, port: int) -> bool:
        with contextlib.suppress(redis.RedisError), _client(port) as client:
            flat: Any = client.execute_command("SENTINEL", "MASTERS")
            # A list of names and values by turns; redis-py may have made a mapping of it.
            known = {str(name): str(value) for name, value in _pairs(flat)}
            return int(known["num-slaves"]) >= _REPLICAS and int(known["num-other-sentinels"]) >= _SENTINELS - 1
        return False


def follow(server: Valkey, master: Valkey) -> None:
    """Make a server a replica."""
    with server.client() as client:
        client.execute_command("REPLICAOF", "127.0.0.1", str(master.port))


def _role(server: Valkey) -> str:
    with contextlib.suppress(redis.RedisError), server.client() as client:
        role: Any = client.info("replication")["role"]
        return str(role)
    return "away"


def _client(port: int) -> redis.Redis:
    return redis.Redis(port=port, socket_timeout=3, retry=Retry(NoBackoff(), 0), decode_responses=True)


def _pairs(answer: Any) -> Any:
    if isinstance(answer, dict):
        return answer[NAME].items()
    first = answer[0]
    return first.items() if isinstance(first, dict) else zip(first[::2], first[1::2], strict=True)
