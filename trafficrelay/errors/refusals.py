"""How a request is answered that is not accepted, as a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from .root import RelayError

# As http.client has them, which takes 50 modules along.
_TITLES: Final = {status.value: status.phrase for status in HTTPStatus}


class Refusal(RelayError):
    """A request is answered with a problem document instead of being accepted. Raised by verifiers and transforms too.

    Attributes:
        status: the HTTP status of the answer.
        title: the status in words, the same for every refusal of this kind.
        detail: a sentence for the sender; it goes out on the wire.
        headers: what the answer's header has beside the usual.
    """

    status: int = 500
    title: str = "Internal Server Error"

    def __init__(self, detail: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail or self.title)
        self.detail = detail
        self.headers: Mapping[str, str] = dict(headers or {})

    def of_item(self, number: int) -> Refusal:
        """Give the same refusal with the number of the item at fault. This one stays: it may be raised again."""
        one = Refusal(f"Item {number}: {self.detail or self.title}", headers=self.headers)
        one.status, one.title = self.status, self.title
        return one


class Malformed(Refusal):
    """The request cannot be read: a body that is cut short, JSON that is none, a parameter that is no number."""

    status = 400
    title = "Bad Request"


class Unverified(Refusal):
    """The sender did not prove who they are.

    Attributes:
        challenge: what the answer's WWW-Authenticate says (RFC 9110, 11.6.1 wants one on every 401).
        cause: why, in one of the words of `trafficrelay.verify.Cause`: for logs and counters.
    """

    status = 401
    title = "Unauthorized"
    cause: str = "other"

    def __init__(self, detail: str = "", *, challenge: str = "Signature", cause: str = "other") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})
        self.challenge = challenge
        self.cause = cause


class NotFound(Refusal):
    """No route takes this path."""

    status = 404
    title = "Not Found"


class MethodNotAllowed(Refusal):
    """The path has a route, but not for this method.

    Attributes:
        allow: the methods that the path takes, sorted.
    """

    status = 405
    title = "Method Not Allowed"

    def __init__(self, allow: tuple[str, ...]) -> None:
        super().__init__(f"This path takes {', '.join(allow)}.", headers={"Allow": ", ".join(allow)})
        self.allow = allow


class RequestTimeout(Refusal):
    """The body did not arrive in time."""

    status = 408
    title = "Request Timeout"


class LengthRequired(Refusal):
    """The body comes chunked, through a server that does not say where such a body ends."""

    status = 411
    title = "Length Required"


class BodyTooLarge(Refusal):
    """The body is larger than the route takes.

    Attributes:
        limit: the route's `max_body`, in bytes.
    """

    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body is larger than {limit} bytes.")
        self.limit = limit


class TooManyItems(Refusal):
    """The body holds more items than one request may bring.

    Attributes:
        limit: how many it may hold.
    """

    status = 413
    title = "Content Too Large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The body holds more than {limit} items; send them in several requests.")
        self.limit = limit


class BecomesTooMuch(Refusal):
    """The body becomes more than one request may: more jobs, or jobs that carry too much of its header."""

    status = 413
    title = "Content Too Large"


class UnsupportedBody(Refusal):
    """The body is of a kind that is not read here, in a coding or a charset that is not known."""

    status = 415
    title = "Unsupported Media Type"


class Rejected(Refusal):
    """Raised by a transform to turn an event down on purpose: `raise Rejected(422, "no such shop")`.

    Attributes:
        status: a 4xx or 5xx status; 422 unless given.
        title: the status in HTTP's words.
        detail: a sentence for the sender.
    """

    def __init__(self, status: int = 422, detail: str = "", *, headers: Mapping[str, str] | None = None) -> None:
        if not isinstance(status, int) or not 400 <= status <= 599:
            raise ValueError(
                f"Rejected takes a status from 400 to 599 and then a sentence, not {status!r}; "
                "to drop an event return DROP"
            )
        self.status = status
        # RFC 9457, 4.2.1: a problem of no type of its own has the status' own words.
        self.title = _TITLES.get(status, "Rejected")
        super().__init__(detail, headers=headers)


class TooManyRequests(Refusal):
    """More came than a rate allows (RFC 6585, 4).

    Attributes:
        retry_after: seconds after which another try is taken.
    """

    status = 429
    title = "Too Many Requests"

    def __init__(self, detail: str = "", *, retry_after: int = 1, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after), **(headers or {})})
        self.retry_after = retry_after


class HeaderTooLarge(Refusal):
    """The header is larger than the relay takes.

    Attributes:
        limit: how large it may be, in bytes.
    """

    status = 431
    title = "Request Header Fields Too Large"

    def __init__(self, limit: int) -> None:
        super().__init__(f"The header is larger than {limit} bytes.")
        self.limit = limit


class Failed(Refusal):
    """The user's code failed on this event. Nothing about the failure goes out; it is in the log."""

    status = 500
    title = "Internal Server Error"


class UnknownCoding(Refusal):
    """The body comes in a transfer coding that is not known (RFC 9112, 6.1)."""

    status = 501
    title = "Not Implemented"


class Unavailable(Refusal):
    """The event cannot be kept now; the sender should try again.

    Attributes:
        retry_after: seconds after which another try makes sense.
        cause: why, for logs and counters: `keys` where a provider's keys could not be had.
    """

    status = 503
    title = "Service Unavailable"
    cause: str = "other"

    def __init__(self, detail: str = "", *, retry_after: int = 5, cause: str = "other") -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})
        self.retry_after = retry_after
        self.cause = cause
