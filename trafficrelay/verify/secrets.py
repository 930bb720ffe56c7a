"""Secrets: several at once, some with a date until which they count, never shown."""

from __future__ import annotations

import inspect
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, NamedTuple, TypeAlias

from ..errors import DeclarationError
from ..event import Event
from ..event import now as current_time
from ..options import check_plain

log = logging.getLogger("trafficrelay")

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}")


@dataclass(frozen=True, slots=True)
class Key:
    """A secret among several, with a name or a date until which it counts.

        stripe(secret=[os.environ["STRIPE_SECRET"], Key(os.environ["STRIPE_OLD"], until="2026-12-31", name="old")])

    Attributes:
        secret: the secret.
        until: the last day on which it counts, in UTC, or the moment at which it stops to; `None` for always.
        name: what events, logs and metrics call it; its number, from 1, where left out.
    """

    secret: str | bytes = field(repr=False)
    until: datetime | date | str | None = field(default=None, kw_only=True)
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if not isinstance(self.secret, str | bytes):
            raise DeclarationError(f"Key takes a string or bytes, not {type(self.secret).__name__}.", option="verify")
        object.__setattr__(self, "until", _moment(self.until))
        if not isinstance(self.name, str) or (self.name and not _NAME.fullmatch(self.name)):
            raise DeclarationError(
                f"A key's name has up to 64 letters, digits and . _ : -, not {self.name!r}.", option="verify"
            )


def as_brought(event: Event) -> None:
    """Stand for the secret that a provider's challenge brings, which is kept in Redis (see `trafficrelay.brought`)."""


Keys: TypeAlias = str | bytes | Key | Sequence[str | bytes | Key]
Secret: TypeAlias = Keys | Callable[[Event], Keys | None]


class Held(NamedTuple):
    """A secret that counts.

    Attributes:
        key: what the scheme made of it.
        name: its name, or its number from 1; `""` for the only one.
    """

    key: Any
    name: str

    def __repr__(self) -> str:
        return f"<Held {self.name}>"


@dataclass(frozen=True, slots=True, repr=False)
class Secrets:
    """The secrets of a verifier, checked when declared and never shown.

    Attributes:
        owner: the verifier's name, for error messages.
        given: what was given as `secret=`.
        decode: turns a secret as written into the key, or raises a `ValueError` with a sentence.
    """

    owner: str
    given: Any
    decode: Callable[[bytes], Any] = bytes
    _fixed: tuple[Held, ...] = field(init=False)
    _ends: tuple[datetime | None, ...] = field(init=False)

    def __post_init__(self) -> None:
        fixed: tuple[Held, ...] = ()
        ends: tuple[datetime | None, ...] = ()
        if not callable(self.given):
            try:
                fixed, ends = self._keys(self.given)
            except DeclarationError as error:
                raise DeclarationError(f"{self.owner}: {error}", option="verify") from error
            except (TypeError, ValueError) as error:
                # Without `from`: the cause of a secret that cannot be encoded holds the secret.
                raise DeclarationError(f"{self.owner}: {error}.", option="verify") from None
            if not fixed:
                raise DeclarationError(
                    f"{self.owner} got an empty secret. Is the environment variable set that it comes from?",
                    option="verify",
                )
            if not _counting(fixed, ends, current_time()):
                raise DeclarationError(
                    f"{self.owner}: no secret counts any more; the last one did until {_last(ends)}.", option="verify"
                )
        elif inspect.iscoroutinefunction(self.given):
            raise DeclarationError(f"{self.owner}: the function that looks secrets up is async.", option="verify")
        else:
            check_plain(f"{self.owner}: secret", self.given)
        object.__setattr__(self, "_fixed", fixed)
        object.__setattr__(self, "_ends", ends if any(ends) else ())

    def __repr__(self) -> str:
        return f"<Secrets of {self.owner}>"

    def of(self, event: Event) -> tuple[Held, ...]:
        """Give the keys that count for `event`; none if the function that looks them up knows none.

        Without keys nothing matches, and the refusal is the usual one: it must not tell which tenants there are.
        """
        if self._fixed:
            return _counting(self._fixed, self._ends, event.received_at) if self._ends else self._fixed
        try:
            given = self.given(event)
        except LookupError:
            given = None
        try:
            found, ends = self._keys(given)
        except (TypeError, ValueError) as error:
            # Without `from`: the cause of a secret that cannot be decoded holds the secret.
            raise DeclarationError(f"{self.owner}: the function that looks secrets up: {error}.") from None
        if not found:
            log.info("%s: no secret is known for the sender of event %s", self.owner, event.id)
        return _counting(found, ends, event.received_at)

    @property
    def all(self) -> tuple[Held, ...]:
        """The keys that do not depend on the event, those among them that count no more."""
        return self._fixed

    def first(self) -> Any:
        """Give the key to sign with: the first one that counts.

        Raises:
            LookupError: the secrets depend on the event, or none counts any more.
        """
        if not self._fixed:
            raise LookupError(f"{self.owner} looks its secret up for each event; there is none to sign with")
        counting = _counting(self._fixed, self._ends, current_time()) if self._ends else self._fixed
        if not counting:
            raise LookupError(f"{self.owner}: no secret counts any more; there is none to sign with")
        return counting[0].key

    def named(self, name: str, values: Any) -> Key:
        """Give one of several secrets, without its `until`: to sign with it, and to see whether it is refused.

        Args:
            name: its name, or its number from 1.
            values: the secrets: those that were given, or what the function that looks them up gave.

        Raises:
            LookupError: none is called so.
            DeclarationError: they are no secrets.
        """
        try:
            keys = _listed(values)
        except TypeError as error:
            raise DeclarationError(f"{self.owner}: {error}.", option="verify") from error
        numbered = {str(number): key for number, key in enumerate(keys, 1)}
        called = {key.name or number: key for number, key in numbered.items()}
        found = called.get(name) or numbered.get(name)
        if found is None:
            *others, last = called
            there = f"keys are called {', '.join(others)} and {last}" if others else f"only key is called {last}"
            raise LookupError(f"it has no key {name!r}; its {there}")
        return replace(found, until=None)

    def _keys(self, values: Any) -> tuple[tuple[Held, ...], tuple[datetime | None, ...]]:
        """Give the keys that are meant and their ends; none if one is empty, with which anybody could sign."""
        given = _listed(values)
        secrets = [self.decode(_as_bytes(key.secret)) for key in given]
        if not all(secrets):
            return (), ()
        names = [key.name or (str(number) if len(given) > 1 else "") for number, key in enumerate(given, 1)]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two keys are called {name}")
        held = tuple(Held(secret, name) for secret, name in zip(secrets, names, strict=True))
        return held, tuple(_moment(key.until) for key in given)


def _counting(keys: tuple[Held, ...], ends: tuple[datetime | None, ...], at: datetime) -> tuple[Held, ...]:
    if not any(ends):
        return keys
    return tuple(key for key, end in zip(keys, ends, strict=True) if end is None or at < end)


def _last(ends: tuple[datetime | None, ...]) -> str:
    return max(end for end in ends if end is not None).isoformat(timespec="seconds")


def _listed(values: Any) -> list[Key]:
    """Give one secret or several as keys; nothing gives none."""
    if values is None:
        return []
    if isinstance(values, str | bytes | Key):
        values = (values,)
    # No other iterables: the keys of a dict (a map of tenants, say) would all be good as secrets.
    if not isinstance(values, list | tuple | set | frozenset):
        raise TypeError(f"a secret is a string, bytes, a Key or a list of these, not {type(values).__name__}")
    if not all(isinstance(value, str | bytes | Key) for value in values):
        raise TypeError("a secret is a string, bytes, a Key or a list of these")
    return [value if isinstance(value, Key) else Key(value) for value in values]


def _as_bytes(value: str | bytes) -> bytes:
    # What os.environ could not decode comes with surrogates; this gives its bytes back.
    return value.encode("utf-8", "surrogateescape") if isinstance(value, str) else value


def _moment(until: Any) -> datetime | None:
    """Read `until=`: a day counts to its end."""
    if isinstance(until, str):
        try:
            # A day by itself is shorter than any moment.
            until = date.fromisoformat(until) if len(until) <= len("2026-12-31") else datetime.fromisoformat(until)
        except ValueError:
            raise DeclarationError(
                f'until is a day or a moment such as "2026-12-31" or "2026-12-31T12:00Z", not {until!r}.',
                option="verify",
            ) from None
    if until is None:
        return None
    if isinstance(until, datetime):
        return until.replace(tzinfo=UTC) if until.tzinfo is None else until.astimezone(UTC)
    if isinstance(until, date):
        try:
            return datetime(until.year, until.month, until.day, tzinfo=UTC) + timedelta(days=1)
        except OverflowError:
            return None
    raise DeclarationError(
        f"until is a date, a datetime or such a string, not {type(until).__name__}.", option="verify"
    )
