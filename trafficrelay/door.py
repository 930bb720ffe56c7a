"""What a request has to pass before any work is done for it: its header's size, its sender's rate, the crowd inside."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from .addresses import TrustedProxies
from .errors import DeclarationError, HeaderTooLarge
from .pressure import Pressure
from .rate import Rate
from .request_url import request_url

ADMITTED: Final = "trafficrelay.admitted"
"""The key in the environ of the sender's address, where a server of ours has let the request in before the app."""

MAX_HEADER: Final = 32 * 1024
"""Bytes that a request's line and header may have together, unless the relay says otherwise. GitHub sends some 700."""

MAX_REQUESTS: Final = 2_048
"""Requests that are worked on at once in a process, unless the relay says otherwise: each may hold a body."""


class Door:
    """Lets requests in, or turns them away.

    Args:
        trusted_proxies: whose X-Forwarded-For counts.
        max_header: bytes that a request's line and header may have.
        max_requests: how many requests are worked on at once; `None` for any number.
        address_rate: how many requests may come from one address; `None` for any number.

    Raises:
        DeclarationError: one of them is wrong.

    Attributes:
        pressure: counts who is inside.
        max_header: as given.
        max_requests: as given.
        trusts_proxies: whether there is a proxy that is trusted.
    """

    def __init__(
        self,
        *,
        trusted_proxies: Iterable[str] = (),
        max_header: int = MAX_HEADER,
        max_requests: int | None = MAX_REQUESTS,
        address_rate: Rate | str | None = None,
    ) -> None:
        if not isinstance(max_header, int) or isinstance(max_header, bool) or max_header < 1024:
            raise DeclarationError(
                f"max_header is a number of bytes, 1024 or more, not {max_header!r}.", option="max_header"
            )
        self.pressure = Pressure(max_requests, address_rate)
        self._proxies = TrustedProxies.of(trusted_proxies)
        self.trusts_proxies = self._proxies != TrustedProxies()
        self.max_header = max_header
        self.max_requests = max_requests

    def address(self, environ: Mapping[str, Any]) -> str:
        """Give the address of a request's sender, whose header is not too large.

        Raises:
            HeaderTooLarge: it is.
        """
        size = len(environ.get("PATH_INFO", "")) + len(environ.get("QUERY_STRING", ""))
        for name, value in environ.items():
            if name.startswith(("HTTP_", "CONTENT_")):
                size += len(name) + len(value)
        if size > self.max_header:
            raise HeaderTooLarge(self.max_header)
        return self._proxies.client(environ.get("REMOTE_ADDR", ""), environ.get("HTTP_X_FORWARDED_FOR"))

    def url(self, environ: Mapping[str, Any]) -> str:
        """Give the URL that a request was sent to, as far as it says; see `request_url`."""
        return request_url(environ, forwarded=self._proxies.trusts(environ.get("REMOTE_ADDR", "")))
