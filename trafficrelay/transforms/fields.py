"""Steps that say which fields stay and which are hidden: keep, omit, redact, hash."""

from __future__ import annotations

import hmac
import math
from collections.abc import Callable
from typing import Any, Final

import msgspec

from ..errors import DeclarationError, TransformError
from ..event import Event
from .matching import ABSENT, automaton, lacking, leads_somewhere, only, rewrite
from .paths import Path, paths, show
from .step import Step, give_up, noted, outcome, step

MIN_KEY: Final = 16
"""Bytes that the key of `hash` must have: with a short one, whoever has the hashes finds it by trying."""


@step("keep")
def keep(*fields: Any, missing: str = "skip") -> Step:
    """Keep these fields and nothing else: `keep("id", "customer.email", "items.*.price")`.

    What a path goes through stays as it is, emptied: `{"customer": {}}` where there is no email. Of a list, `items.0`
    keeps the first item, and `items.*.price` all items with nothing but their price.

    Args:
        *fields: the paths, or one list of them.
        missing: what happens where one leads to nothing: `"skip"` (keep what there is), `"drop"`, `"reject"` (422) or
            `"error"`.

    Raises:
        DeclarationError: a path or an option is wrong.
    """
    kept = paths(fields, "keep")
    state = automaton(kept, "keep")

    def run(data: Any) -> Any:
        found = only(data, state)
        if found is not ABSENT:
            return found
        # Whatever it is, nobody said that it may stay.
        return [] if isinstance(data, list | tuple) else {}

    return _step("keep", kept, missing, run)


@step("omit")
def omit(*fields: Any, missing: str = "skip") -> Step:
    """Leave these fields out and keep all others: `omit("customer.card", "**.password")`.

    Args:
        *fields: the paths, or one list of them.
        missing: what happens where one leads to nothing: `"skip"`, `"drop"`, `"reject"` (422) or `"error"`.

    Raises:
        DeclarationError: a path or an option is wrong.
    """
    left_out = paths(fields, "omit")
    state = automaton(left_out, "omit")
    return _step("omit", left_out, missing, lambda data: rewrite(data, state, _take_out))


@step("redact")
def redact(*fields: Any, with_: Any = "[redacted]", missing: str = "skip") -> Step:
    """Put a mark in the place of what these fields hold: `redact("card.number", "**.email")`.

    All that lies under a path goes, whole objects and lists too, and null: nothing about the value is left.

    Args:
        *fields: the paths, or one list of them.
        with_: the mark: a text, a number, `True`, `False` or `None`. In relay.toml it is `with`.
        missing: what happens where one leads to nothing: `"skip"`, `"drop"`, `"reject"` (422) or `"error"`.

    Raises:
        DeclarationError: a path or an option is wrong.
    """
    hidden = paths(fields, "redact")
    state = automaton(hidden, "redact")
    if not isinstance(with_, str | int | float | None) or (isinstance(with_, float) and not math.isfinite(with_)):
        raise DeclarationError(
            f"with_ of redact is a text, a number, True, False or None, not {type(with_).__name__}.", option="with_"
        )
    return _step("redact", hidden, missing, lambda data: rewrite(data, state, lambda _value, _path: with_))


@step("hash")
def hash_(*fields: Any, key: str | bytes, missing: str = "skip") -> Step:
    """Put a keyed hash in the place of what these fields hold: `hash("customer.email", key=os.environ["HASH_KEY"])`.

    The same value gives the same hash, so that events can be counted and joined by it, and without the key nobody finds
    the value by trying. It is HMAC-SHA256 (RFC 2104) as 64 hexadecimal digits: of a text in UTF-8, of a number as JSON
    writes it (so 7 and "7" give the same), of an object or list as JSON with its keys sorted. Null stays null.

    Args:
        *fields: the paths, or one list of them.
        key: the secret, 16 bytes or more; it is kept out of every text. There is no hash without one: e-mail addresses
            and card numbers are found from plain hashes within minutes.
        missing: what happens where one leads to nothing: `"skip"`, `"drop"`, `"reject"` (422) or `"error"`.

    Raises:
        DeclarationError: a path or an option is wrong.
    """
    hashed = paths(fields, "hash")
    state = automaton(hashed, "hash")
    if not isinstance(key, str | bytes) or not key:
        raise DeclarationError(
            'hash needs a secret key: key=os.environ["HASH_KEY"]. Without one, whoever guesses a value can check it: '
            "e-mail addresses and card numbers are found from plain hashes within minutes.",
            option="key",
        )
    # What stands in os.environ and is no UTF-8 is a key too.
    secret = key.encode("utf-8", "surrogateescape") if isinstance(key, str) else key
    if len(secret) < MIN_KEY:
        raise DeclarationError(
            f"The key of hash has {len(secret)} bytes; it needs {MIN_KEY} or more. "
            "python -c 'import secrets; print(secrets.token_hex())' makes one.",
            option="key",
        )

    def digest(value: Any, _path: int) -> Any:
        return value if value is None else hmac.digest(secret, _bytes(value), "sha256").hex()

    return _step("hash", hashed, missing, lambda data: rewrite(data, state, digest))


def absentee(fields: tuple[Path, ...]) -> Callable[[Any], str]:
    """Give a function that names the first path of several that leads to nothing in data; `""` if all lead somewhere.

    One with `**` leads to nothing where it does so everywhere. One with `*` must lead to something in each place that
    the `*` stands for.
    """
    deep = {path: automaton((path,), "") for path in fields if path.deep}

    def name(data: Any) -> str:
        for path in fields:
            if path in deep:
                if not leads_somewhere(data, deep[path]):
                    return path.text
            elif (where := lacking(data, path.segments)) is not None:
                return show(where)
        return ""

    return name


def _step(name: str, fields: tuple[Path, ...], missing: str, run: Callable[[Any], Any]) -> Step:
    """Make a step of paths that does what `missing` says before it touches anything."""
    text = noted(f"{name} {', '.join(path.text for path in fields)}", missing=(missing, "skip"))
    if outcome(missing, "missing") == "skip":
        return Step(name, text, lambda data, _event: run(data))
    absent = absentee(fields)

    def checked(data: Any, _event: Event) -> Any:
        if where := absent(data):
            return give_up(missing, data, f"{where} is missing.")
        return run(data)

    return Step(name, text, checked)


def _take_out(_value: Any, _path: int) -> Any:
    return ABSENT


def _bytes(value: Any) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", "surrogatepass")
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    try:
        return msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise TransformError(f"hash cannot write a {type(value).__name__} as JSON.") from error
