"""Secrets that providers chose and sent in a challenge: kept in the outbox, and for a short time in this process.

Anybody can send such a challenge, so the first secret that comes for a route and the wildcards of its rule is the one.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from .errors import OutboxError, Unavailable, Unverified
from .event import Event
from .outbox.handover import Outbox

if TYPE_CHECKING:
    from .route import Route
    from .verify.checking import Check
    from .verify.verified import Verified

log: Final = logging.getLogger("trafficrelay")

FRESH: Final = 30.0
"""Seconds for which a secret is not asked for again."""

DOUBTED: Final = 1.0
"""Seconds after which one with which something did not verify is: it may have been forgotten, and another one come."""

MOST: Final = 1_000
"""How many are kept in a process, those that were used last."""


QUIET: Final = 60.0
"""Seconds between two warnings of secrets that were not expected on one route."""


class _Known(NamedTuple):
    secret: bytes
    since: float

    def __repr__(self) -> str:
        return "<_Known>"


class Brought:
    """Keeps such secrets and checks with them. Safe in threads.

    Args:
        outbox: where they are kept.
        clock: gives seconds.
    """

    def __init__(self, outbox: Outbox, clock: Callable[[], float] = time.monotonic) -> None:
        self._outbox = outbox
        self._clock = clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._told: dict[str, float] = {}

    def check(self, route: Route, event: Event) -> Verified:
        """Verify with the secret that was brought for this route.

        Raises:
            Unverified: it does not match, or there is none.
            Unavailable: it cannot be asked for now.
        """
        check = _check_of(route)
        secret, age = self._secret(route, event, FRESH)
        if secret is None:
            return check.check(event)
        try:
            return check.with_secret(secret).check(event)
        except Unverified:
            again, _ = self._secret(route, event, DOUBTED) if age >= DOUBTED else (secret, age)
            if again is None or hmac.compare_digest(again, secret):
                raise
            return check.with_secret(again).check(event)

    def keep(self, route: Route, event: Event, secret: bytes) -> None:
        """Keep the secret that a challenge brought.

        Raises:
            Unverified: another one is kept already.
            Unavailable: it cannot be kept now.
        """
        name = name_of(event)
        known, _ = self._secret(route, event, 0)
        if known is None:
            try:
                known = self._outbox.keep_secret(route.rule, name, secret)
            except OutboxError as error:
                # Not the error itself, which may quote what was to be written.
                log.debug("a secret for %s was not kept: %s", route.rule, type(error).__name__)
                raise Unavailable("The secret cannot be kept now; send it again.", cause="keys") from None
            if known is None:
                log.log(
                    self._level(f"{route.rule} is full"),
                    "%s brought a secret for %s, which has as many as are kept",
                    _sender(route),
                    route.rule,
                )
                raise Unverified("The secret was not expected.", cause="unknown")
            if hmac.compare_digest(known, secret):
                log.warning(
                    "%s brought the secret for %s; from now on it counts and no other. To see it: "
                    "redis-cli HGET '%s' %s",
                    _sender(route),
                    route.rule,
                    _key(route),
                    name,
                )
        if not hmac.compare_digest(known, secret):
            log.log(
                self._level(route.rule),
                "somebody brought another secret for %s, and was refused: one is kept already. If %s means it, forget "
                "the first one: redis-cli HDEL '%s' %s",
                route.rule,
                _sender(route),
                _key(route),
                name,
            )
            raise Unverified("The secret was not expected.", cause="mismatch")

    def _level(self, rule: str) -> int:
        """Say how loud a stranger's attempt is told: anybody may make any number of them."""
        now = self._clock()
        with self._lock:
            last = self._told.get(rule)
            if last is not None and now - last < QUIET:
                return logging.DEBUG
            self._told[rule] = now
        return logging.WARNING

    def _secret(self, route: Route, event: Event, fresh: float) -> tuple[bytes | None, float]:
        """Give the secret and how long ago it was asked for, at most `fresh` seconds."""
        place = (route.rule, name_of(event))
        now = self._clock()
        with self._lock:
            known = self._known.get(place)
            if known is not None and now - known.since < fresh:
                self._known.move_to_end(place)
                return known.secret, now - known.since
        try:
            secret = self._outbox.kept_secret(*place)
        except OutboxError as error:
            raise Unavailable("The sender cannot be verified now; send it again.", cause="keys") from error
        with self._lock:
            self._known.pop(place, None)
            if secret is not None:
                self._known[place] = _Known(secret, now)
                if len(self._known) > MOST:
                    self._known.popitem(last=False)
        return secret, 0.0


def name_of(event: Event) -> str:
    """Give the name under which an event's route keeps the secret: a hash of the wildcards, which may be tokens."""
    if not event.params:
        return "-"
    said = json.dumps(sorted(event.params.items())).encode("utf-8", "surrogatepass")
    return hashlib.sha256(said).hexdigest()[:32]


def _check_of(route: Route) -> Check:
    check: Check = route.verify  # type: ignore[assignment]  # who calls has looked at route.brings
    return check


def _key(route: Route) -> str:
    # It imports rq (285 modules with redis), which a relay on another outbox does not load; one on Redis has by now.
    from .outbox.names import BROUGHT

    return f"{BROUGHT}{route.rule}"


def _sender(route: Route) -> str:
    return _check_of(route).name
