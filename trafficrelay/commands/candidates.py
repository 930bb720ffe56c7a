"""The secrets and URLs that may have been meant where a request is not verified."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from ..errors import DeclarationError
from ..event import Event
from ..failures import BUGS
from ..mistakes.keys import Candidate
from ..mistakes.trial import Mistake
from ..relay import Relay
from ..route import Route
from ..verify import Check, Key

_LARGEST: Final = 64 * 1024
"""Bytes that a file with a secret may have."""


def own_secrets(check: Check, event: Event) -> Iterator[Candidate]:
    """Give the route's own secrets, those that count first."""
    given = check.secrets.given
    try:
        keys = _keys(given(event) if callable(given) else given)
    except BUGS:  # a function that knows no such sender, or fails
        keys = []
    ended = []
    for number, key in enumerate(keys, 1):
        name = key.name or (str(number) if len(keys) > 1 else "")
        until = key.until
        if isinstance(until, datetime) and until <= event.received_at:
            which = f"the key {name}" if name else "the route's only key"
            ended.append(
                Candidate(
                    _bytes(key),
                    Mistake(
                        "secret-ended",
                        f"It is signed with {which}, which stopped counting on {until:%Y-%m-%d at %H:%M UTC}.",
                        "Have the sender sign with the new secret, or give the old one a later until=.",
                    ),
                    name,
                )
            )
        else:
            yield Candidate(_bytes(key), None, name)
    yield from ended


def given_secrets(options: argparse.Namespace) -> Iterator[Candidate]:
    """Give the secrets that the command line names.

    Raises:
        DeclarationError: one is not there.
    """
    for name in options.secret_env:
        value = os.environ.get(name, "")
        if not value:
            state = "is empty" if name in os.environ else "is not set"
            raise DeclarationError(f"The environment variable of --secret-env {state}: {name}.")
        yield _other(os.fsencode(value), f"that of the environment variable {name}")
    for path in options.secret_file:
        try:
            with path.open("rb") as file:
                secret = file.read(_LARGEST).rstrip(b"\r\n")
        except OSError as error:
            why = error.strerror or type(error).__name__
            raise DeclarationError(f"The file of --secret-file cannot be read: {why} ({path}).") from error
        if not secret:
            raise DeclarationError(f"The file of --secret-file is empty: {path}.")
        yield _other(secret, f"that of the file {path}")


def other_secrets(route: Route, check: Check, relay: Relay) -> Iterator[Candidate]:
    """Give the secrets of other routes, those of the same provider first; and what else this one was given."""
    for name, secrets in check.more.items():
        for key in [] if callable(secrets.given) else _keys(secrets.given):
            yield _other(_bytes(key), f"what is given as {name}= here")
    routes = [one for one in relay.routes if one is not route]
    for one in sorted(routes, key=lambda other: getattr(other.verify, "name", "") != check.name):
        if isinstance(one.verify, Check) and not callable(one.verify.secrets.given):
            for key in _keys(one.verify.secrets.given):
                which = f" (the key {key.name})" if key.name else ""
                yield _other(_bytes(key), f"that of the route {one.rule}{which}")


def _other(secret: bytes, whose: str) -> Candidate:
    text = f"The secret is another one: {whose}."
    return Candidate(secret, Mistake("secret-other", text, "Give the route that secret; or the sender this route's."))


def declared_urls(relay: Relay) -> Iterator[str]:
    """Give the URLs that other senders were given: their host may be the one."""
    for route in relay.routes:
        url = getattr(route.verify, "public_url", None)
        if isinstance(url, str):
            yield url


def _keys(given: Any) -> list[Key]:
    """Give secrets, as a verifier takes them, as keys."""
    if given is None:
        return []
    several = [given] if isinstance(given, str | bytes | Key) else given
    return [one if isinstance(one, Key) else Key(one) for one in several]


def _bytes(key: Key) -> bytes:
    return key.secret.encode("utf-8", "surrogateescape") if isinstance(key.secret, str) else key.secret
