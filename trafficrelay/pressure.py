"""What is checked before any work, in this process alone: how many requests are being worked on, and who sends them.

Each process counts for itself: with four of them four times as much is taken. The limits that all share are a route's
`rate`, `max_queued` and `max_lag`, which are looked at where all meet, in Redis; these here keep a flood from getting
that far.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable
from types import TracebackType
from typing import Any, Final

from .addresses import address_block, address_key
from .errors import DeclarationError, TooManyRequests, Unavailable
from .rate import ADDRESS, Rate, gcra

MAX_ADDRESSES: Final = 10_000
"""Addresses whose rate is counted, each by itself; 2 MB of them (measured)."""

SHARED_COUNTS: Final = 1_024
"""Counts that the others share."""

_POLICY: Final = "relay"
_AT_A_TIME: Final = 2


class Pressure:
    """Turns requests away before anything is done for them. Safe to use from many threads.

    Both checks and the end of a request take 1.1 µs, with an IPv6 address 2.0 µs (measured).

    What it remembers is bounded. An address is forgotten once it could send a whole burst again, which changes nothing
    for it, and only when its place is needed. When every place is held by one that could not, the addresses that come
    new share a fixed number of counts, chosen by the block that they lie in (/24 of IPv4, /48 of IPv6). Forgetting the
    oldest instead would be what an attacker with many addresses wants: each would come back unknown, with a whole
    burst. Turning all new addresses away would let it lock out everybody else. Sharing, it takes one count for each
    block that it has addresses in, and newcomers from other blocks seldom meet it there.
    Which blocks share a count is up to Python's hash of strings, which differs from start to start.

    After a fork the child begins anew, with no request in work, nothing counted, and a lock that nobody holds.
    """

    def __init__(
        self,
        max_requests: int | None = None,
        address_rate: str | Rate | None = None,
        *,
        clock: Callable[[], int] = time.monotonic_ns,
        max_addresses: int = MAX_ADDRESSES,
    ) -> None:
        """Read the limits.

        Args:
            max_requests: how many requests may be worked on at a time; `None` for any number.
            address_rate: how many requests may come from one address (of IPv6, one /64), such as `"100/s"`; `None` for
                any number.
            clock: gives nanoseconds that never go back.
            max_addresses: how many addresses are counted each by itself.

        Raises:
            DeclarationError: one of the limits is wrong.
        """
        if max_requests is not None and (
            not isinstance(max_requests, int) or isinstance(max_requests, bool) or max_requests < 1
        ):
            raise DeclarationError(
                f"max_requests is a number of requests, 1 or more, not {max_requests!r}.", option="max_requests"
            )
        self._max_requests = max_requests
        self._rate = _address_rate(address_rate)
        self._clock = clock
        self._max_addresses = max_addresses
        self._begin()
        _all.add(self)

    @property
    def working(self) -> int:
        """How many requests are being worked on."""
        return self._working

    def enter(self, address: str) -> None:
        """Begin a request, which `leave` ends. One that is turned away is not begun and is not to be ended.

        While too many are being worked on, nothing is counted against their senders, who are told to come again.

        Args:
            address: who sends it, as `TrustedProxies.client` says.

        Raises:
            Unavailable: too many are being worked on.
            TooManyRequests: more came from this address than its rate allows.
        """
        wait_us = 0
        with self._lock:
            full = self._max_requests is not None and self._working >= self._max_requests
            if not full:
                if self._rate is not None:
                    wait_us = self._count(self._rate, address)
                if not wait_us:
                    self._working += 1
                    return
        raise self._refusal(wait_us)

    def leave(self) -> None:
        """End a request that `enter` began."""
        with self._lock:
            # In a child that was forked within a request this one was never begun.
            if self._working:
                self._working -= 1

    def request(self, address: str) -> _Request:
        """Begin and end a request: `with pressure.request(address): …`. Raises what `enter` raises."""
        return _Request(self, address)

    def _count(self, rate: Rate, address: str) -> int:
        """Count a request and give 0; or give the microseconds after which it would be taken."""
        now_us = self._clock() // 1000
        key = address_key(address)
        tat_us = self._arrivals.get(key)
        if tat_us is None and not self._has_room(now_us):
            slot = hash(address_block(address)) % SHARED_COUNTS
            _, self._shared[slot], wait_us, _ = gcra(self._shared[slot], now_us, rate.interval_us, rate.burst)
            return wait_us
        taken, tat_us, wait_us, _ = gcra(tat_us or 0, now_us, rate.interval_us, rate.burst)
        if taken:
            self._arrivals[key] = tat_us
        return wait_us

    def _has_room(self, now_us: int) -> bool:
        """Say whether one more address can be remembered. Looks at a few old ones each time, never at all at once."""
        arrivals = self._arrivals
        if len(arrivals) < self._max_addresses:
            return True
        for _ in range(min(_AT_A_TIME, len(arrivals))):
            key, tat_us = arrivals.popitem(last=False)
            if tat_us > now_us:
                arrivals[key] = tat_us  # it still counts; its turn comes again after all others
        return len(arrivals) < self._max_addresses

    def _refusal(self, wait_us: int) -> Unavailable | TooManyRequests:
        if wait_us and self._rate is not None:
            return self._rate.refusal(wait_us, policy=_POLICY)
        return Unavailable("As many requests as may be are being worked on. Try again in 1 s.", retry_after=1)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._working = 0
        self._arrivals: OrderedDict[str, int] = OrderedDict()  # a plain dict is slow to give its oldest again and again
        self._shared = [0] * SHARED_COUNTS


class _Request:
    """A request from its beginning to its end. No generator of `contextlib`, which costs three times as much."""

    __slots__ = ("_address", "_pressure")

    def __init__(self, pressure: Pressure, address: str) -> None:
        self._pressure = pressure
        self._address = address

    def __enter__(self) -> None:
        self._pressure.enter(self._address)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pressure.leave()


def _address_rate(option: Any) -> Rate | None:
    """Read `address_rate=`.

    Raises:
        DeclarationError: it is no rate, or one of something else than addresses.
    """
    if option is None:
        return None
    if not isinstance(option, Rate):
        said = isinstance(option, str) and " per " in option
        option = Rate(option, per=None if said else ADDRESS, option="address_rate")
    if option.per != ADDRESS:
        raise DeclarationError(
            f"address_rate is counted per address, not as in {str(option)!r}. What is counted otherwise is a route's "
            "rate.",
            option="address_rate",
        )
    rate: Rate = option
    return rate


# Known process-wide because a fork happens to the process, and its hooks cannot be taken back.
_all: Final[weakref.WeakSet[Pressure]] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for pressure in list(_all):
        pressure._begin()


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_after_fork_in_child)
