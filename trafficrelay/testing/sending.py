"""How requests are put together."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

import msgspec

from ..errors import ClientError
from ..relay import Relay
from .signing import HOW, Signed

__tracebackhide__ = True  # pytest shows the line of the test, and not those here

TARGET: Final = "/~!$&'()*+,;=:@?%[]"
"""What stands as it is in a path and a query; the rest is encoded."""


class Options(TypedDict, total=False):
    """What every request can be given.

    Attributes:
        headers: more headers.
        content_type: the body's type, in place of the usual one.
        signed: `True` signs as the route's verifier does; `"wrong"` spoils the signature, `"tampered"` changes the
            body after it has been signed.
        signed_with: which of the route's several keys signs, by its name or by its number, as text; one whose `until`
            has passed, too. The first that counts, where left out.
        signed_at: when it was signed; now, where left out.
        address: the sender's.
    """

    headers: Mapping[str, str]
    content_type: str
    signed: Signed
    signed_with: str
    signed_at: datetime
    address: str


def checked(signed: Any) -> Signed:
    """Check how a request is to be signed.

    Raises:
        ClientError: it is not known how.
    """
    if signed not in HOW:
        raise ClientError(f'signed is True, False, "wrong" or "tampered", not {signed!r}.')
    how: Signed = signed
    return how


def key_of(options: Options) -> str:
    """Give the name of the key that a request is to be signed with; `""` for the first that counts.

    Raises:
        ClientError: it is no name, or the request is not to be signed.
    """
    if "signed_with" not in options:
        return ""
    key: Any = options["signed_with"]
    if not isinstance(key, str) or not key:
        raise ClientError(f'signed_with is a key\'s name, or its number as text, such as "old" or "2", not {key!r}.')
    if options.get("signed") is False:
        raise ClientError("signed_with says what signs, and signed=False that nothing does: leave one of them out.")
    return key


def check_options(options: Mapping[str, Any]) -> None:
    """Check the names of a request's options: one that is misspelt would be a test that passes for the wrong reason.

    Raises:
        ClientError: one is unknown.
    """
    for name in options:
        if name not in Options.__annotations__:
            raise ClientError(f"A request has no option {name}. {_nearest(name, Options.__annotations__)}")


def check_queue(relay: Relay, queue: str | None) -> None:
    """Check that a queue is one of a relay's.

    Raises:
        ClientError: it is not.
    """
    if queue is not None and queue not in relay.queues and not relay.dynamic_queues:
        raise ClientError(f"None of the relay's jobs goes to a queue {queue}. {_nearest(queue, relay.queues)}")


def check_path(path: Any) -> str:
    """Check that something is a path.

    Raises:
        ClientError: it does not begin with a slash.
    """
    if not isinstance(path, str) or not path.startswith("/"):
        raise ClientError(f'A path begins with a slash, such as "/github"; {path!r} does not.')
    return path


def as_bytes(body: Any) -> bytes:
    """Give a body as it travels.

    Raises:
        ClientError: it is no body.
    """
    if isinstance(body, str):
        return body.encode()
    if not isinstance(body, bytes | bytearray | memoryview):
        raise ClientError(f"A body is bytes or a string, not {type(body).__name__}. post_json sends data as JSON.")
    return bytes(body)


def as_json(payload: Any) -> bytes:
    """Give a payload as JSON.

    Raises:
        ClientError: it holds what JSON cannot say.
    """
    try:
        return msgspec.json.encode(payload)
    except (TypeError, ValueError, RecursionError) as error:
        raise ClientError(f"This payload cannot be said in JSON: {error}") from error


def _nearest(name: str, known: Iterable[str]) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    return f"Did you mean {near[0]}?" if near else f"There are {', '.join(names)}."


def typed(options: Options, kind: str) -> Options:
    """Give the options with the usual content type, unless they say one."""
    usual: Options = {"content_type": kind}
    return {**usual, **options}


def merged(*groups: Mapping[str, str]) -> dict[str, str]:
    """Put headers together; what comes later counts, in whichever case it is written."""
    found: dict[str, tuple[str, str]] = {}
    for headers in groups:
        found |= {name.lower(): (name, str(value)) for name, value in headers.items()}
    return dict(found.values())


def several(value: Any) -> Sequence[str]:
    """Give the values of a form's field."""
    return [str(one) for one in value] if isinstance(value, list | tuple) else [str(value)]


def webtest() -> Any:
    """Import webtest.

    Raises:
        ClientError: it is not installed.
    """
    try:
        with warnings.catch_warnings():
            # webob, on which it stands, imports what Python has deprecated; a user's suite shall not fail for that.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module("webtest")
    except ModuleNotFoundError as error:
        raise ClientError("The test client needs webtest: pip install 'trafficrelay[testing]'.") from error
