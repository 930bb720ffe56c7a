"""Everything that one scenario needs, together: Valkey, the relay, the senders, and the account of it all."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import redis

from .account import Account, Verdict
from .children import Helper, free_port
from .collect import collect, count_jobs, eat, run_small_jobs, take_away
from .disk_faults import DiskFaults
from .ledger import acknowledged, promised, refused
from .relays import SPOOL, RelayOptions, RelayRun
from .sentinels import Sentinels
from .spools import small_disk, waiting
from .valkeys import Valkey

SETTLE_SECONDS: Final = 60.0
"""Within which all is well again after the last fault: everything acknowledged, the spool empty, all jobs in Redis."""

LATE_SECONDS: Final = 10.0
"""How long it is waited for what is missing although the spool is empty."""

_TICK: Final = 0.02

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a scenario needs.

    Attributes:
        valkey: settings of Valkey.
        relay: how the relay is declared.
        url_options: the query of the Redis URL that the relay gets: `socket_timeout=0.5`.
        wire: whether the relay reaches Valkey through the proxy that loses replies.
        sentinel: whether there are replicas and Sentinels.
        faulty_disk: disk faults act on files whose path holds this; `None` for no faults.
        spool_disk: the size in MB of a file system of its own for the spool; 0 for none.
        rate: events a second, all senders together.
    """

    valkey: Mapping[str, str] = field(default_factory=lambda: {"appendfsync": "always"})
    relay: RelayOptions = RelayOptions()  # noqa: RUF009 - frozen
    url_options: str = ""
    wire: bool = False
    sentinel: bool = False
    faulty_disk: str | None = None
    spool_disk: int = 0
    rate: float = 800.0


class Stage:
    """A context manager that starts all of it and ends all of it.

    Args:
        directory: where everything is; it is made.
        seed: what the payloads and the schedule follow.
        name: the scenario's: two scenarios of one seed have schedules of their own.
        setting: what is needed.

    Attributes:
        dice: the schedule's.
        directory: where everything is.
        seed: the seed.
        relay: the relay.
        account: what was found.
        failures: sentences on what did not come right.
        notes: what is worth telling besides, by name; numbers are added up.
        settling: the longest time from the last fault until all was well, in seconds.
        cuts: when Valkey's power was cut, on the monotonic clock.
    """

    def __init__(self, directory: Path, seed: int, name: str, setting: Setting) -> None:
        self.dice = random.Random(f"{seed}:{name}")
        self.directory = directory
        self.seed = seed
        self.account = Account()
        self.failures: list[str] = []
        self.notes: dict[str, int] = {}
        self.settling = 0.0
        self.cuts: list[float] = []
        self.relay: RelayRun
        self._setting = setting
        self._given_up: set[tuple[int, int]] = set()
        self._stack = contextlib.ExitStack()
        self._ledger = directory / "ledger"
        self._valkey: Valkey | None = None
        self._sentinels: Sentinels | None = None
        self._wire: Helper | None = None
        self._disk: DiskFaults | None = None
        self._senders: Helper
        self._url = ""
        self._mouth: redis.Redis
        self._appetite = random.Random()
        self._eat_at = 0.0
        self._environment: Mapping[str, str] = {}
        directory.mkdir(parents=True)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._build(stack)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def _build(self, stack: contextlib.ExitStack) -> None:
        setting, log = self._setting, self.directory / "helpers.log"
        # Not the schedule's: the same seed shall give the same schedule on whatever ports are free.
        ports = random.Random()
        if setting.faulty_disk:
            self._disk = DiskFaults(self.directory / "disk", setting.faulty_disk)
        faulty = self._disk.environment if self._disk else {}
        if setting.sentinel:
            self._sentinels = stack.enter_context(Sentinels(self.directory / "servers", ports, settings=setting.valkey))
            url = self._sentinels.url
        else:
            self._valkey = stack.enter_context(
                Valkey(self.directory / "valkey", free_port(ports), settings=setting.valkey, environment=faulty)
            )
            url = self._valkey.url
            self._mouth = self._valkey.client(timeout=0.3)
            if setting.wire:
                port = free_port(ports)
                options = {"port": port, "server": self._valkey.port}
                self._wire = stack.enter_context(Helper("wire", options, log))
                self._wire.ask("status")
                url = f"redis://127.0.0.1:{port}/0"
        if setting.url_options:
            url += f"?{setting.url_options}"
        port = free_port(ports)
        self._url, self._environment = url, faulty
        spool = None
        if setting.spool_disk:
            spool = stack.enter_context(small_disk(self.directory / "small-disk", setting.spool_disk)) / SPOOL
        self.relay = stack.enter_context(
            RelayRun(self.directory / "relay", url, port, options=setting.relay, spool=spool, environment=faulty)
        )
        self._senders = stack.enter_context(
            Helper("senders", {"port": port, "seed": self.seed, "ledger": self._ledger, "rate": setting.rate}, log)
        )

    @property
    def valkey(self) -> Valkey:
        """The one Valkey."""
        return _there(self._valkey)

    @property
    def sentinels(self) -> Sentinels:
        """The servers with a failover."""
        return _there(self._sentinels)

    @property
    def wire(self) -> Helper:
        """The proxy that loses replies."""
        return _there(self._wire)

    @property
    def disk(self) -> DiskFaults:
        """The disk that fails."""
        return _there(self._disk)

    def another_relay(self, directory: Path) -> RelayRun:
        """Make a second relay on the same Redis, with its spool in another directory; nobody sends to it."""
        return RelayRun(directory, self._url, free_port(), options=self._setting.relay, environment=self._environment)

    def note(self, what: str, count: int = 1) -> None:
        """Count something that is worth telling."""
        self.notes[what] = self.notes.get(what, 0) + count

    def go(self) -> None:
        """Have the senders send."""
        self._senders.ask("go")

    def status(self) -> dict[str, Any]:
        """Ask the senders how it stands."""
        return self._senders.ask("status")

    def refusals(self) -> int:
        """Say how many requests were refused."""
        return int(self.status()["statuses"].get("503", 0))

    def rest(self, seconds: float) -> None:
        """Let things run on; a relay that ended is started again."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.relay.keep()
            self._eat()
            time.sleep(min(left, _TICK))

    def patience(self, condition: Callable[[], bool], seconds: float) -> bool:
        """Wait until something has come about, and say whether it has."""
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                return False
            self.rest(_TICK)
        return True

    def wait(self, what: str, condition: Callable[[], bool], seconds: float) -> None:
        """Wait until something has come about, and count it as a failure if it does not."""
        if not self.patience(condition, seconds):
            self.failures.append(f"not within {seconds:g} s: {what}")

    def wait_for_answers(self, count: int = 20, seconds: float = SETTLE_SECONDS) -> None:
        """Wait until so many more events have been acknowledged."""
        wanted = int(self.status()["acknowledged"]) + count
        self.wait(f"{count} more acknowledged", lambda: int(self.status()["acknowledged"]) >= wanted, seconds)

    def refused_but_taken(self) -> int:
        """Count the tries that were refused, and found all the same."""
        return self.account.found(refused(self._ledger))

    def loss_window(self, lost: Collection[int]) -> float:
        """Say how long before a power cut the first of those was acknowledged that it took away, in seconds."""
        kept = acknowledged(self._ledger)
        windows = (min((cut - kept[one] for cut in self.cuts if cut > kept[one]), default=0.0) for one in lost)
        return max(windows, default=0.0)

    def all_there(self) -> bool:
        """Say whether all that has been acknowledged up to now is in Redis; nothing is taken away."""
        wanted = promised(self._ledger)
        with self.client() as client:
            here = {(one.number, one.part) for one in collect(client, self.seed) if one.places}
        return not set(self.account.missing(wanted)) - here

    def settle(self, *, worker: bool = True) -> Verdict:
        """Wait until all that was begun is acknowledged and in Redis, read it, and take it away.

        Args:
            worker: whether a stock worker runs the jobs of the small queue before.
        """
        begun = time.monotonic()
        self._senders.ask("pause")
        self.wait("all events acknowledged", lambda: not self.status()["begun"], SETTLE_SECONDS)
        self.wait("the spool empty", lambda: waiting(self.relay.spool) == 0, SETTLE_SECONDS)
        with self.client() as client:
            if worker:
                port = client.connection_pool.connection_kwargs["port"]
                run_small_jobs(f"redis://127.0.0.1:{port}/0", self.relay.directory)
            self._read(client)
        self.settling = max(self.settling, time.monotonic() - begun)
        return self.account.verdict(promised(self._ledger))

    def client(self) -> redis.Redis:
        """Make a client of the Redis that is the master now."""
        return (self._valkey or self.sentinels.master()).client()

    def _eat(self) -> None:
        """Have some jobs run, as workers do that keep nothing of them."""
        if self._valkey is not None and time.monotonic() > self._eat_at:
            self._eat_at = time.monotonic() + self._appetite.uniform(0.05, 0.5)
            eat(self._mouth, self._appetite.choice((0, 10, 100)))

    def _read(self, client: redis.Redis) -> None:
        """Read what is there, until nothing that was promised is missing, or nothing comes any more."""
        wanted = promised(self._ledger)
        while True:
            found = collect(client, self.seed)
            self.account.take(found)
            take_away(client, found)
            missing = set(self.account.missing(wanted)) - self._given_up
            if not missing:
                break
            self.note("readings that came too early")
            deadline = time.monotonic() + LATE_SECONDS
            while not count_jobs(client) and time.monotonic() < deadline:
                self.rest(_TICK)
            if not count_jobs(client):
                self._given_up |= missing
                break
        # Or reading the file back would take longer and longer; and a fault may come in the middle of it.
        with contextlib.suppress(redis.ResponseError):  # it is being rewritten already
            client.bgrewriteaof()
        if self._sentinels is not None:
            # A failover must not bring back what was taken away.
            client.wait(1, 5000)


def _there(thing: _T | None) -> _T:
    if thing is None:
        raise RuntimeError("the scenario's setting has no such thing")
    return thing
