"""What can go wrong, as one tree.

    RelayError
     ├── DeclarationError        a relay or a route is declared wrongly (also a ValueError)
     ├── Refusal                 a request is answered with a problem (RFC 9457)
     │    ├── Malformed              400  it cannot be read
     │    ├── Unverified             401  its sender did not prove who they are
     │    ├── NotFound               404  no route takes this path
     │    ├── MethodNotAllowed       405  the path has a route, the method has not
     │    ├── RequestTimeout         408  its body did not arrive in time
     │    ├── LengthRequired         411  the server cannot tell where its body ends
     │    ├── BodyTooLarge           413  its body is over the route's `max_body`
     │    ├── UnsupportedBody        415  its body is of a kind that is not read
     │    ├── Rejected               422  a transform turned it down on purpose
     │    ├── TooManyRequests        429  its sender, or its route, is over the rate
     │    ├── HeaderTooLarge         431  its header is larger than the relay takes
     │    ├── Failed                 500  the user's code failed and the route says "refuse"
     │    ├── UnknownCoding          501  it comes in a transfer coding that is not known
     │    └── Unavailable            503  the outbox cannot take it now
     ├── TransformError          a transform gave back something that cannot become a job
     ├── OutboxError             the outbox did not take an event
     │    ├── OutboxUnavailable      it does not answer, or says that it cannot write now
     │    │    └── OutboxAway           it was found so before, and is not asked until it is back
     │    ├── OutboxCorrupt          a key that it needs holds something else
     │    ├── LetterGone             the dead letter that was to be run again is not there
     │    ├── SpoolError             the spool's file cannot be written or read
     │    │    └── SpoolFull            it has reached its size, or the disk is full
     │    └── Declined               it could, but a limit of the route says no
     │         ├── RateExceeded         more events came than the route's `rate` allows
     │         ├── Backlogged           the queue is longer, or its oldest job older, than the route allows
     │         └── RoutePaused          somebody paused the route
     ├── DeadLetterError         a dead letter cannot be run again here
     ├── TargetError             `module:relay` does not lead to a relay
     └── ServerError             a server could not be started or stopped
          └── DataDirectoryInUse     another process runs on the embedded server's data

Every error's text is a sentence that its reader can act on. None holds a secret, a payload or a URL's password.
"""

from __future__ import annotations

from collections.abc import Mapping
from http.client import responses


class RelayError(Exception):
    """Any error that trafficrelay raises on purpose."""


class DeclarationError(RelayError, ValueError):
    """A relay or a route is declared wrongly.

    Attributes:
        option: the name of the option at fault, `""` where there is none.
    """

    def __init__(self, message: str, *, option: str = "") -> None:
        super().__init__(message)
        self.option = option


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


class Malformed(Refusal):
    """The request cannot be read: a body that is cut short, JSON that is none, a parameter that is no number."""

    status = 400
    title = "Bad Request"


class Unverified(Refusal):
    """The sender did not prove who they are.

    Attributes:
        challenge: what the answer's WWW-Authenticate says (RFC 9110, 11.6.1 wants one on every 401).
    """

    status = 401
    title = "Unauthorized"

    def __init__(self, detail: str = "", *, challenge: str = "Signature") -> None:
        super().__init__(detail, headers={"WWW-Authenticate": challenge})
        self.challenge = challenge


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


class UnsupportedBody(Refusal):
    """The body is of a kind that is not read: compressed, multipart, in an unknown charset."""

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
        self.title = responses.get(status, "Rejected")
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
    """

    status = 503
    title = "Service Unavailable"

    def __init__(self, detail: str = "", *, retry_after: int = 5) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after)})
        self.retry_after = retry_after


class TransformError(RelayError):
    """A transform gave back what cannot become a job: nothing at all, no JSON, too many items."""


class OutboxError(RelayError):
    """The outbox did not take an event."""


class OutboxUnavailable(OutboxError):
    """The outbox does not answer, or says that it cannot write now.

    Nothing was written, and nothing will be: a Redis that was frozen finds that the event has come too late. (One reply
    that gets lost in the last moment leaves it open.) The same handover sent again is safe either way.

    Attributes:
        doubtful: whether the event was sent and no reply came, so that it may be in the outbox all the same.
    """

    def __init__(self, message: str, *, doubtful: bool = False) -> None:
        super().__init__(message)
        self.doubtful = doubtful


class OutboxAway(OutboxUnavailable):
    """The outbox was found unavailable a moment ago, so it was not asked. Nothing was written."""


class OutboxCorrupt(OutboxError):
    """A key that the outbox needs holds something else; somebody else writes to this Redis.

    Attributes:
        key: the key's name.
    """

    def __init__(self, message: str, *, key: str) -> None:
        super().__init__(message)
        self.key = key


class LetterGone(OutboxError):
    """The dead letter that was to be run again is not there any more, or a worker runs it already.

    Attributes:
        job: its job's id.
    """

    def __init__(self, message: str, *, job: str) -> None:
        super().__init__(message)
        self.job = job


class SpoolError(OutboxError):
    """The spool's file cannot be written or read; what was to be kept in it was not.

    Attributes:
        path: the file.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class SpoolFull(SpoolError):
    """The spool has reached its size, or the disk that it is on is full."""


class Declined(OutboxError):
    """The outbox could take the event, but a limit of its route says no. Nothing was written.

    Attributes:
        retry_after: seconds after which another try makes sense.
    """

    def __init__(self, message: str, *, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class RateExceeded(Declined):
    """More events came than the route's `rate` allows."""


class Backlogged(Declined):
    """The queue is longer than `max_queued`, or its oldest job is older than `max_lag`.

    Attributes:
        queue: the queue's name.
    """

    def __init__(self, message: str, *, retry_after: int, queue: str) -> None:
        super().__init__(message, retry_after=retry_after)
        self.queue = queue


class RoutePaused(Declined):
    """Somebody paused the route.

    Attributes:
        mode: `"refuse"` or `"spool"`, as it was paused.
    """

    def __init__(self, message: str, *, retry_after: int, mode: str) -> None:
        super().__init__(message, retry_after=retry_after)
        self.mode = mode


class DeadLetterError(RelayError):
    """A dead letter cannot be run again here: its relay, its route or its format is not known."""


class TargetError(RelayError):
    """`module:relay` does not lead to a relay.

    Attributes:
        target: what was given.
    """

    def __init__(self, message: str, *, target: str) -> None:
        super().__init__(message)
        self.target = target


class ServerError(RelayError):
    """A server could not be started or stopped."""


class DataDirectoryInUse(ServerError):
    """Another process runs on the embedded server's data.

    Attributes:
        path: the data directory.
    """

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path
