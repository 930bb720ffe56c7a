"""What is signed where a signature counts for some bodies alone, which no template says."""

from __future__ import annotations

import hashlib
import hmac
from urllib.parse import parse_qs, urlsplit

from .body_fields import is_form
from .content import sorted_params
from .message import Parts
from .verified import malformed, mismatch

BODY_HASH = "bodySHA256"
"""The parameter of a URL in which Twilio says a body's hash."""


def url_and_form(parts: Parts) -> bytes:
    """Give the URL and the form's fields, sorted by name.

    Raises:
        Unverified: the body is no form: nothing of it would be signed.
    """
    if not is_form(parts.message):
        raise malformed("The body is no form.")
    return parts.url.encode() + sorted_params(parts)


def url_and_form_or_hash(parts: Parts) -> bytes:
    """Give the URL and a form's fields, sorted by name; other bodies by the URL's bodySHA256.

    Raises:
        Unverified: the body is not what the URL says that it is; or is no form, and the URL says nothing of it.
    """
    form = is_form(parts.message)
    said = parse_qs(urlsplit(parts.url).query).get(BODY_HASH)
    if said:
        # Of a form too: else what was signed as JSON would count for an empty form. No secret is in this hash; it is
        # compared as everything here is.
        hashed = hashlib.sha256(parts.message.body).hexdigest().encode()
        if not hmac.compare_digest(hashed, said[0].encode("utf-8", "surrogatepass")):
            raise mismatch()
    elif parts.message.body and not form:
        raise malformed(f"The body is no form, and the URL has no {BODY_HASH} for it.")
    return parts.url.encode() + (sorted_params(parts) if form else b"")
