"""Which pages' scripts may post to a route and read what it answers (the Fetch standard, "CORS protocol")."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from .errors import DeclarationError

MAX_AGE: Final = 600
"""Seconds for which a browser may remember what it was allowed; Chromium remembers for two hours at most."""

_ORIGIN: Final = re.compile(r"https?://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")
_HEADERS: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+( ?, ?[!#$%&'*+.^_`|~0-9A-Za-z-]+){0,31}")

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}

# What a page may read of an answer beside its status, type and body.
_EXPOSED: Final = ("Access-Control-Expose-Headers", "Location, Retry-After, RateLimit, RateLimit-Policy")

Headers = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Cors:
    """The origins that may. Made by `cors`.

    Cookies are never asked for: what a page's visitor is elsewhere is no business of a relay.

    Attributes:
        origins: as browsers send them; empty for all.
    """

    origins: frozenset[str]

    def headers(self, origin: str | None) -> Headers:
        """Give what an answer says besides, whatever it is: a page may read a refusal too."""
        if not self.origins:
            return [("Access-Control-Allow-Origin", "*"), _EXPOSED]
        # What is not for everybody may not be taken out of a cache for somebody else.
        allowed = [("Access-Control-Allow-Origin", origin), _EXPOSED] if origin in self.origins and origin else []
        return [*allowed, ("Vary", "Origin")]

    def preflight(self, origin: str | None, methods: Sequence[str], headers: str) -> Headers:
        """Give what is answered to a browser that asks beforehand.

        Args:
            origin: its page's.
            methods: those of the route.
            headers: those that the page wants to send; any may be sent, the verifier looks at them.
        """
        answer = self.headers(origin)
        if not any(name == "Access-Control-Allow-Origin" for name, _ in answer):
            return answer
        answer += [("Access-Control-Allow-Methods", ", ".join(methods)), ("Access-Control-Max-Age", str(MAX_AGE))]
        if _HEADERS.fullmatch(headers):
            answer.append(("Access-Control-Allow-Headers", headers))
        return answer


def cors(origins: Any) -> Cors | None:
    """Read `cors=`: a list of origins, or `"*"`; `None` stays `None`.

    Raises:
        DeclarationError: it is neither, or one is written as no browser sends it.
    """
    if origins is None:
        return None
    if origins == "*":
        return Cors(frozenset())
    if isinstance(origins, str | bytes) or not isinstance(origins, Sequence | set | frozenset) or not origins:
        raise DeclarationError(
            'cors is a list of origins such as ["https://shop.example"], or "*" for every page.', option="cors"
        )
    for origin in origins:
        if not isinstance(origin, str) or not _ORIGIN.fullmatch(origin):
            raise DeclarationError(
                f'cors names origins as browsers send them, such as "https://shop.example" or "http://localhost:3000": '
                f"a scheme and a host in lower case, without a slash at the end; not {origin!r}.",
                option="cors",
            )
        if origin.endswith(_DEFAULT_PORTS[origin.partition(":")[0]]):
            raise DeclarationError(f"cors: browsers leave the port out of {origin}; write it without.", option="cors")
    return Cors(frozenset(origins))
