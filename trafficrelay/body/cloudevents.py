"""CloudEvents 1.0 over HTTP: where an event's attributes are, and what its data is.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ..errors import Malformed

STRUCTURED: Final = "application/cloudevents+json"
BATCH: Final = "application/cloudevents-batch+json"
BINARY_HEADER: Final = "ce-specversion"
"""The header that makes a request a CloudEvent whose data is the body."""

NO_DATA: Final = object()
"""What `of_document` gives for an event that has none, or null."""

MAX_ATTRIBUTES: Final = 32 * 1024
"""Characters that an event's attributes may have together, with their names: every job of the event carries them."""

_PREFIX: Final = "ce-"
_REQUIRED: Final = ("id", "source", "specversion", "type")
_TEXTS: Final = frozenset({*_REQUIRED, "datacontenttype", "dataschema", "subject", "time"})
_DATA: Final = frozenset({"data", "data_base64"})
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)


def of_headers(headers: Mapping[str, str], content_type: str) -> dict[str, str]:
    """Give the attributes of an event in binary mode (3.1).

    Args:
        headers: the request's, names in lower case.
        content_type: what the body is read as; it is the attribute `datacontenttype`.

    Raises:
        Malformed: one that must be there is not, or one is not encoded as it should be.
    """
    attributes = {
        name[len(_PREFIX) :]: _value(value)
        for name, value in headers.items()
        if name.startswith(_PREFIX) and len(name) > len(_PREFIX)
    }
    for name in _DATA:
        attributes.pop(name, None)
    # 3.1.1: the header Content-Type alone says it.
    attributes.pop("datacontenttype", None)
    if content_type:
        attributes["datacontenttype"] = content_type
    _check(attributes, "The CloudEvent")
    return attributes


def of_document(document: Any, what: str) -> tuple[dict[str, str], Any]:
    """Give the attributes and the data of an event in structured mode (3.2), or of one of a batch (3.3).

    Args:
        document: what its JSON says.
        what: what it is in an error's words: "The CloudEvent", "Item 3".

    Raises:
        Malformed: it is no event of version 1.0.
    """
    if not isinstance(document, dict):
        raise Malformed(f"{what} is no JSON object, as a CloudEvent is.")
    attributes = {}
    for name, value in document.items():
        if name in _DATA or value is None:  # JSON format, 2.2: null is the same as absent
            continue
        attributes[name] = value if type(value) is str else _text(name, value, what)
    _check(attributes, what)
    if document.get("data_base64") is None:
        data = document.get("data")
        return attributes, NO_DATA if data is None else data
    if "data" in document:
        raise Malformed(f"{what} has both data and data_base64.")
    try:
        return attributes, base64.b64decode(document["data_base64"], validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise Malformed(f"{what} has a data_base64 that is no base64.") from error


def _check(attributes: Mapping[str, str], what: str) -> None:
    if sum(len(name) + len(value) for name, value in attributes.items()) > MAX_ATTRIBUTES:
        raise Malformed(
            f"{what} has attributes of more than {MAX_ATTRIBUTES >> 10} KB; what is long belongs in its data."
        )
    if attributes.get("specversion", "1.0") != "1.0":
        raise Malformed(f"{what} is a CloudEvent of a version that is not read here; 1.0 is.")
    for name in _REQUIRED:
        if not attributes.get(name):
            raise Malformed(f"{what} lacks the attribute {name}, which every CloudEvent has.")


def _text(name: str, value: Any, what: str) -> str:
    """Give an extension's value in its canonical form (CloudEvents, type system)."""
    if name in _TEXTS:
        raise Malformed(f"{what} has an attribute {name} that is no string.")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    raise Malformed(f"{what} has an attribute that is no string, number, true or false.")


def _value(value: str) -> str:
    """Decode a header's value (3.1.3.2): quotes, then percent-encoding, then UTF-8."""
    if len(value) > 1 and value[0] == value[-1] == '"':
        value = _ESCAPED.sub(r"\1", value[1:-1])
    if value.isascii() and "%" not in value:
        return value
    try:
        # PEP 3333 hands a header's bytes over as latin-1.
        return unquote_to_bytes(value.encode("latin-1")).decode()
    except UnicodeError as error:
        raise Malformed("A ce- header is not percent-encoded UTF-8.") from error
