"""What can go wrong where events are kept: the outbox, the spool, the dead letters."""

from __future__ import annotations

from .root import RelayError


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
