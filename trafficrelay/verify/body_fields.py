"""Looking into a body that is not verified yet, for those who put what proves them there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final
from urllib.parse import parse_qs, urlencode

import msgspec

from .. import options
from ..body.text import decode_json, media_type
from .message import Message, Outgoing
from .verified import malformed

_FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 1_000

# In these a byte of ASCII is that character, wherever it stands.
_CHARSETS: Final = frozenset({"utf-8", "utf8", "us-ascii", "ascii", "iso-8859-1", "windows-1252"})


def read_fields(message: Message) -> Any:
    """Give what a body says: of a form a dict of strings, the first of each name; else of JSON what it is.

    Raises:
        Unverified: it is neither.
    """
    check_plain(message)
    try:
        if is_form(message):
            fields = parse_qs(message.body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
            return {name: values[0] for name, values in fields.items()}
        return decode_json(message.body)
    except (ValueError, RecursionError):
        # msgspec's errors are ValueErrors.
        raise malformed("The body cannot be read.") from None


def read_field(message: Message, path: str) -> Any:
    """Give a field of a body by its dotted path; `None` where there is none.

    Raises:
        Unverified: the body is neither JSON nor a form.
    """
    return look_up(read_fields(message), path)


def look_up(data: Any, path: str) -> Any:
    """Give what a dotted path leads to in parsed data; `None` for nothing."""
    return options.look_up(data, path.split("."))


def with_field(message: Outgoing, path: str, value: str | int) -> Outgoing:
    """Give a request with a field of its body set.

    Raises:
        Unverified: the body is neither JSON nor a form, or has no place for it.
    """
    data = read_fields(message)
    *steps, last = path.split(".")
    inside = data
    for step in steps:
        if isinstance(inside, dict):
            inside = inside.setdefault(step, {})
        elif isinstance(inside, list) and step.isdecimal() and int(step) < len(inside):
            inside = inside[int(step)]
    if not isinstance(inside, dict):
        raise malformed(f"The body has no place for {path}.")
    inside[last] = value
    return replace(message, body=urlencode(data).encode() if is_form(message) else msgspec.json.encode(data))


def check_plain(message: Message) -> None:
    """Check that a body says the same before it is verified as afterwards.

    Not all of it is signed, so one could be made that holds what somebody else signed, and says something else when it
    is inflated, or read in a charset whose characters swallow the quotation mark that ends a string.

    Raises:
        Unverified: it would be inflated, or be read in a charset in which ASCII may mean something else.
    """
    codings = message.headers.get("content-encoding", "").strip().lower()
    charset = media_type(message.headers.get("content-type", ""))[1]
    if message.body and (codings not in ("", "identity") or charset not in _CHARSETS):
        raise malformed("The body is compressed or in another charset, and what proves its sender stands in it.")


def is_form(message: Message) -> bool:
    """Tell whether a body is a form (`application/x-www-form-urlencoded`)."""
    return message.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM
