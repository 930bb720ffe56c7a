"""The URL that a request was sent to: some providers sign it."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

_HOST: Final = re.compile(r"[A-Za-z0-9._-]{1,253}(:[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](:[0-9]{1,5})?")

# RFC 3986, 3.3: what stands in a path as it is.
_PATH: Final = "/~!$&'()*+,;=:@"


def request_url(environ: Mapping[str, Any], *, forwarded: bool) -> str:
    """Give the URL of a request.

    The path and the query are those of the request's line where the server tells it; PEP 3333 has the path decoded, and
    it is encoded again here. `""` if no host is known.

    Args:
        environ: the WSGI environ.
        forwarded: whether `X-Forwarded-Proto` and `X-Forwarded-Host` count: a trusted proxy sent them.
    """
    scheme = environ.get("wsgi.url_scheme", "http")
    host = environ.get("HTTP_HOST") or _server(environ, scheme)
    if forwarded:
        # The nearest proxy's is the last one; what stands before it the sender may have written.
        proto = _last(environ.get("HTTP_X_FORWARDED_PROTO", "")).lower()
        scheme = proto if proto in ("http", "https") else scheme
        host = _last(environ.get("HTTP_X_FORWARDED_HOST", "")) or host
    return f"{scheme}://{host}{_target(environ)}" if _is_host(host) else ""


def _is_host(host: str) -> bool:
    if not _HOST.fullmatch(host):
        return False
    if not host.startswith("["):
        return True
    try:
        # urlsplit() raises for what is none.
        ipaddress.IPv6Address(host[1 : host.index("]")])
    except ValueError:
        return False
    return True


def _last(value: str) -> str:
    return value.rpartition(",")[2].strip()


def _server(environ: Mapping[str, Any], scheme: str) -> str:
    port = str(environ.get("SERVER_PORT", ""))
    usual = "443" if scheme == "https" else "80"
    name = environ.get("SERVER_NAME", "")
    return name if port in ("", usual) else f"{name}:{port}"


def _target(environ: Mapping[str, Any]) -> str:
    # waitress, uWSGI and cheroot; gunicorn.
    raw = environ.get("REQUEST_URI") or environ.get("RAW_URI") or ""
    if raw.startswith("/"):
        return str(raw)
    # Bottle decodes the path in the environ, and keeps what it was.
    inside = environ.get("bottle.raw_path", environ.get("PATH_INFO", ""))
    path = (environ.get("SCRIPT_NAME", "") + inside).encode("latin-1", "replace")
    query = environ.get("QUERY_STRING", "")
    return (quote(path, safe=_PATH) or "/") + (f"?{query}" if query else "")
