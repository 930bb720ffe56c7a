"""Rates: how many events may come in a time, what shares one count, and the algorithm that counts."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from .addresses import address_key
from .errors import DeclarationError, TooManyRequests, TransformError
from .event import Event
from .options import check_plain, dedupe_key

ROUTE: Final = "route"
ADDRESS: Final = "address"

NO_KEY: Final = "\0none"
"""What all events share that lack what is counted by. No key is like it: those that begin with a NUL have a colon."""

_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_DECLARED: Final = re.compile(r"([0-9]{1,9})/([0-9]{0,9})([smhd])(?: per (.+))?")
_LONGEST: Final = 366 * 86_400
_FASTEST: Final = 10_000

_CLOCK_SLACK_US: Final = 1_000_000


@dataclass(frozen=True, slots=True, init=False)
class Rate:
    """So many events in a time, checked when it is made: `Rate("100/m")`, `Rate("10/s per address", burst=20)`.

    The time is a unit, `s`, `m`, `h` or `d`, or a number of them: `5/10s`. `per` says what shares one count, here or
    in the string: the whole `route`, each `address` (of IPv6 each /64), each value of `header:NAME` or
    `data:path.to.field`, or what a function of the event gives. Events without the header, the field or the value share
    one count of their own, so that leaving it out gains nothing. What an unverified sender may choose freely is a bad
    `per`: each new value begins a new count.

    Attributes:
        limit: how many events.
        window: in how many seconds.
        per: `"route"`, `"address"`, `"header:NAME"`, `"data:path.to.field"`, or the function.
        burst: how many may come at once, by one that has been quiet; as many as `limit` unless said. In no time do
            more come than the burst and what the time allows: at the most `burst + limit` in a window.
        interval_us: microseconds that earn one event; whole ones, rounded up: never more than declared.
        key_of: gives what an event shares its count with, `""` for the whole route. Of any length, and it may be a
            secret: hash it before it is kept. Raises what a function raises, and TransformError if it gives no string
            or number.
    """

    limit: int
    window: int
    per: str | Callable[[Event], Any]
    burst: int
    interval_us: int = field(repr=False, compare=False)
    key_of: Callable[[Event], str] = field(repr=False, compare=False)

    def __init__(
        self,
        rate: str,
        *,
        per: str | Callable[[Event], Any] | None = None,
        burst: int | None = None,
        option: str = "rate",
    ) -> None:
        """Read what was declared.

        Args:
            rate: the number of events and the time.
            per: what shares one count, unless `rate` says it.
            burst: how many may come at once.
            option: the option that is read, for the error.

        Raises:
            DeclarationError: one of them is wrong.
        """
        limit, window, said = _read(rate, option)
        if said is not None and per is not None:
            raise DeclarationError(
                f'{option} says twice what it counts per: in {rate!r} and with "per=". Say it once.', option=option
            )
        by = per if said is None else said
        if by is None:
            by = ROUTE
        most = limit if burst is None else burst
        if not isinstance(most, int) or isinstance(most, bool) or most < 1:
            raise DeclarationError(
                f"The burst of {option} is a number of events, 1 or more, not {burst!r}.", option=option
            )
        interval_us = -(-window * 1_000_000 // limit)
        if most * interval_us > max(_LONGEST * 1_000_000, limit * interval_us):
            raise DeclarationError(
                f"The burst of {option}, {burst!r}, is more than {rate!r} allows in a year. Say a smaller one.",
                option=option,
            )
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "limit", limit)
        set_(self, "window", window)
        set_(self, "per", by)
        set_(self, "burst", most)
        set_(self, "interval_us", interval_us)
        set_(self, "key_of", _key_of(by, option))

    def __str__(self) -> str:
        """Give it as it is declared: `10/s per address`."""
        unit = next(unit for unit, seconds in _UNITS.items() if self.window % seconds == 0)
        count = self.window // _UNITS[unit]
        text = f"{self.limit}/{count if count > 1 else ''}{unit}"
        if self.per != ROUTE:
            text += f" per {'a function of the event' if callable(self.per) else self.per}"
        return text if self.burst == self.limit else f"{text}, {self.burst} at once"

    @property
    def policy(self) -> str:
        """The name of the rate in an answer's header: `"route"`, `"address"` or `"key"`."""
        return self.per if isinstance(self.per, str) and self.per in (ROUTE, ADDRESS) else "key"

    def headers(self, *, remaining: int, reset: float, policy: str = "") -> dict[str, str]:
        """Give the fields in which an answer speaks of the rate.

        They are those of draft-ietf-httpapi-ratelimit-headers-11 (23 May 2026): `RateLimit-Policy` (section 3) and
        `RateLimit` (section 4), lists of structured fields whose items are strings, hence the quotes; their times are
        whole seconds. There is no partition key, which would send back who is counted.

        The older `RateLimit-Limit`, `-Remaining` and `-Reset`, with or without `X-`, are not sent: no two services
        mean the same with them (A.1: seconds, or a time of day), and what clients wait for is Retry-After, which an
        answer with 429 has and which takes precedence over all of them (section 7).

        Args:
            remaining: how many events are taken now.
            reset: seconds within which no more than these are.
            policy: the name of the rate; `self.policy` where left out.
        """
        name = policy or self.policy
        return {
            "RateLimit-Policy": f'"{name}";q={self.limit};w={self.window}',
            "RateLimit": f'"{name}";r={max(0, remaining)};t={max(0, math.ceil(reset))}',
        }

    def refusal(self, retry_after_us: int, *, policy: str = "") -> TooManyRequests:
        """Make the answer to an event that is over the rate.

        Retry-After and the header's window name the same moment, as section 6 of the draft asks.

        Args:
            retry_after_us: microseconds after which one is taken.
            policy: the name of the rate in the header; `self.policy` where left out.
        """
        wait = max(1, -(-retry_after_us // 1_000_000))
        return TooManyRequests(
            f"More came than {self.limit} in {self.window} s{_WHOSE.get(self.policy, '')}. Try again in {wait} s.",
            retry_after=wait,
            headers=self.headers(remaining=0, reset=wait, policy=policy),
        )


_WHOSE: Final = {ADDRESS: " from one address", "key": " with one key"}


def gcra(tat_us: int, now_us: int, interval_us: int, burst: int) -> tuple[bool, int, int, int]:
    """Say whether one more event is taken: the generic cell rate algorithm (ITU-T I.371; brandur.org/rate-limiting).

    All that is kept of a count is its theoretical arrival time, TAT: when the next event would come, had those that
    were taken come at the rate. It may run ahead of the clock by the burst. There are no windows, so there is no edge
    between two at which the limit comes twice at once: in any time `T`, its ends included, no more events are taken
    than `burst + T // interval_us`.

    A TAT that lies further ahead than taking events ever puts it was kept under another rate, or the clock was set back
    since (a second is let pass): it counts as none, or its owner would be locked out until the clock is there.

    Args:
        tat_us: the TAT that was kept; 0 for none. One that is in the past is worth as much as none.
        now_us: the time. All times are in microseconds, of whatever clock.
        interval_us: the time that earns one event, 1 or more.
        burst: how many may come at once, 1 or more.

    Returns:
        Whether it is taken; the TAT to keep, which is the old one if it is not; how long to wait until one is taken, 0
        if it is; how many more are taken now.
    """
    tolerance = burst * interval_us
    start = tat_us
    if start < now_us or start > now_us + tolerance + _CLOCK_SLACK_US:
        start = now_us
    spare = now_us + tolerance - interval_us - start
    if spare < 0:
        return False, tat_us, -spare, 0
    return True, start + interval_us, 0, spare // interval_us


def _read(rate: Any, option: str) -> tuple[int, int, str | None]:
    """Read `100/m per address` into the number, the seconds and what it is counted per, if that is said."""
    match = _DECLARED.fullmatch(rate) if isinstance(rate, str) else None
    limit = window = 0
    if match:
        limit, window = int(match[1]), int(match[2] or 1) * _UNITS[match[3]]
    if match is None or limit < 1 or window < 1:
        raise DeclarationError(
            f'{option} is a number of events and a time, such as "100/m", "10/s per address", '
            f'"1000/h per header:X-Api-Key" or "5/10s per data:customer.id", not {rate!r}.',
            option=option,
        )
    if window > _LONGEST:
        raise DeclarationError(f"The time of {option} is at the most 366d, not that of {rate!r}.", option=option)
    if limit > _FASTEST * window:
        raise DeclarationError(
            f"{option} is at the most {_FASTEST} a second, not {rate!r}: whole microseconds count no faster.",
            option=option,
        )
    return limit, window, match[4]


def _key_of(per: Any, option: str) -> Callable[[Event], str]:
    """Make what reads an event's key.

    Raises:
        DeclarationError: it is not known what `per` is to mean.
    """
    if per == ROUTE:
        return lambda _: ""
    if per == ADDRESS:
        return lambda event: address_key(event.remote_addr) or NO_KEY
    if callable(per):
        check_plain(option, per)
        return _or_none(lambda event: _scalar(per(event), option))
    if isinstance(per, str) and per.partition(":")[0] in ("header", "data"):
        try:
            return _or_none(per)
        except DeclarationError as error:
            raise _unknown(per, option) from error
    raise _unknown(per, option)


def _or_none(option: str | Callable[[Event], Any]) -> Callable[[Event], str]:
    # A duplicate key and a rate's are read alike: the number 1 and the string "1" are two.
    read = dedupe_key(option)

    def key_of(event: Event) -> str:
        key = read(event) if read else None
        return NO_KEY if key is None else key

    return key_of


def _scalar(value: Any, option: str) -> Any:
    if isinstance(value, dict | list):
        raise TransformError(f"The function of {option} gave a {type(value).__name__}; a key is a string or a number.")
    return value


def _unknown(per: Any, option: str) -> DeclarationError:
    return DeclarationError(
        f"{option} is counted per route, address, header:NAME, data:path.to.field, or a function of the event, "
        f"not per {per!r}.",
        option=option,
    )
