"""How requests are put together."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final, TypedDict

from ..errors import ClientError
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
        signed_at: when it was signed; now, where left out.
        address: the sender's.
    """

    headers: Mapping[str, str]
    content_type: str
    signed: Signed
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
