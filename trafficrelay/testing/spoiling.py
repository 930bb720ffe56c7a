"""Spoiling signed requests, in headers and in bodies, so that they are refused for that and nothing else."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final, TypeAlias
from urllib.parse import urlencode

import msgspec

from ..errors import ClientError, Refusal, Unverified
from ..event import Event
from ..verify.body_fields import is_form, read_fields
from ..verify.checking import Check

__tracebackhide__ = True  # pytest shows the line of the test, and not those here

Path: TypeAlias = tuple[str | int, ...]

_MOST: Final = 200
"""How many fields of a body are tried."""


def spoilt(value: str) -> str:
    """Change one character, to one that is good in hexadecimal and in base64.

    Within the signature, which stands at the end, and not at its very end, where base64 has bits that mean nothing.
    """
    place = len(value) * 3 // 4
    while place < len(value) - 1 and not value[place].isalnum():
        place += 1
    return value[:place] + ("1" if value[place : place + 1] == "0" else "0") + value[place + 1 :]


def spoilt_body(check: Check, event: Event, before: bytes) -> bytes:
    """Give a body whose signature stands in it, with that spoilt.

    Args:
        check: who refuses it.
        event: the request, signed.
        before: its body before it was signed.

    Raises:
        ClientError: nothing of it can be spoilt.
    """
    made, others = _by_signing(event, before)
    # What is signed with stands at the end mostly, after what is.
    for body in _each_changed(event, [*reversed(made), *others]):
        if _cause(check, replace(event, body=body)) == "mismatch":
            return body
    raise ClientError(f"Of what {check.name} signs nothing could be spoilt; send a body of your own.")


def tampered_body(check: Check, event: Event, before: bytes) -> bytes:
    """Give a body that was changed after it was signed: in what is signed of it, where that is not all.

    Args:
        check: who refuses it.
        event: the request, signed.
        before: its body before it was signed.
    """
    longer = event.body + b" "
    in_body = not check.scheme.secret_headers
    if not (check.scheme.signs_body or in_body) or _cause(check, replace(event, body=longer)):
        return longer
    made, others = _by_signing(event, before)
    for body in _each_changed(event, [*others, *made]):
        if _cause(check, replace(event, body=body)) == "mismatch":
            return body
    return longer


def _cause(check: Check, event: Event) -> str:
    """Say why a request is refused; `""` if it is not."""
    try:
        check(event)
    except Unverified as refusal:
        return refusal.cause
    except Refusal:
        return "other"
    return ""


def _by_signing(event: Event, before: bytes) -> tuple[list[Path], list[Path]]:
    """Give the paths of the fields that signing has put into a body, and those of all others."""
    old = dict(_fields(replace(event, body=before)))
    made: list[Path] = []
    others: list[Path] = []
    for path, value in itertools.islice(_fields(event), _MOST):
        (others if path in old and old[path] == value else made).append(path)
    return made, others


def _fields(event: Event) -> Iterator[tuple[Path, Any]]:
    try:
        data = read_fields(event)
    except Unverified:
        return
    yield from _leaves(data, ())


def _leaves(data: Any, path: Path) -> Iterator[tuple[Path, Any]]:
    pairs = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else None
    if pairs is None:
        yield path, data
        return
    for name, value in pairs:
        yield from _leaves(value, (*path, name))


def _each_changed(event: Event, paths: list[Path]) -> Iterator[bytes]:
    """Give the body again and again, with another field changed each time."""
    for path in paths:
        data = read_fields(event)
        inside = data
        for step in path[:-1]:
            inside = inside[step]
        value = inside[path[-1]] if path else None
        if isinstance(value, str):
            inside[path[-1]] = spoilt(value)
        elif isinstance(value, int) and not isinstance(value, bool):
            inside[path[-1]] = value + 1
        else:
            continue
        yield urlencode(data).encode() if is_form(event) else msgspec.json.encode(data)
