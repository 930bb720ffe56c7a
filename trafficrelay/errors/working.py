"""What can go wrong in a worker: a job that is not run, that is run later, or that delivers to nobody."""

from __future__ import annotations

from .root import RelayError


class RetryLater(RelayError):
    """Raised by a job: run me again after so many seconds.

    It uses up one of the tries that its route's `retry=` gives; without `retry=`, of `tries`. Under a worker of RQ's
    own it is a failure like any other, and the waits of `retry=` hold.

    Attributes:
        seconds: after how many seconds.
        tries: how often a job without `retry=` is run again, 1 or more.
    """

    def __init__(self, seconds: float, message: str = "", *, tries: int = 25) -> None:
        if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds <= 10**9:
            raise ValueError(f"RetryLater takes the seconds to wait, such as 60, not {seconds!r}")
        if not isinstance(tries, int) or isinstance(tries, bool) or tries < 1:
            raise ValueError(f"RetryLater takes a number of tries of 1 or more, such as 25, not {tries!r}")
        super().__init__(message or f"to be run again in {seconds:g} s")
        self.seconds = seconds
        self.tries = tries


class JobError(RelayError):
    """A worker does not run a job."""


class JobRefused(JobError):
    """The job names something that no route of the target names, and the worker runs nothing else.

    Attributes:
        named: what it names.
    """

    def __init__(self, message: str, *, named: str) -> None:
        super().__init__(message)
        self.named = named


class JobBroken(JobError):
    """The job cannot be read: somebody else wrote into its hash, or it was cut short.

    Attributes:
        job: its id.
    """

    def __init__(self, message: str, *, job: str) -> None:
        super().__init__(message)
        self.job = job


class ArgumentGone(JobError):
    """The job's argument was kept aside and is not there any more, so that the job cannot run.

    Attributes:
        job: its id.
        size: how many bytes the argument had.
    """

    def __init__(self, message: str, *, job: str, size: int) -> None:
        super().__init__(message)
        self.job = job
        self.size = size


class WorkerLost(JobError):
    """The worker died while it ran the job, and the job is not run again.

    Attributes:
        deaths: how many workers died with it.
    """

    def __init__(self, message: str, *, deaths: int) -> None:
        super().__init__(message)
        self.deaths = deaths


class DeliveryError(RelayError):
    """An event could not be delivered, and is not tried again by itself."""


class AddressForbidden(DeliveryError):
    """The destination's host leads to an address that deliveries do not connect to.

    Attributes:
        host: the host, as the URL names it.
        address: the address that it leads to; `""` where there is none to name.
    """

    def __init__(self, message: str, *, host: str, address: str = "") -> None:
        super().__init__(message)
        self.host = host
        self.address = address


class DestinationDisabled(DeliveryError):
    """The destination said before that it is gone (410), and nobody has enabled it since.

    Attributes:
        destination: where it is, as `https://host/…`: the path can be a token.
    """

    def __init__(self, message: str, *, destination: str) -> None:
        super().__init__(message)
        self.destination = destination


class DeliveryFailed(DeliveryError):
    """The destination turned the event down, or could not be reached in all of its tries.

    Attributes:
        destination: where it is, as `https://host/…`: the path can be a token.
        status: the status of the last answer, 0 where there was none.
        tries: how often it was tried.
    """

    def __init__(self, message: str, *, destination: str, status: int, tries: int) -> None:
        super().__init__(message)
        self.destination = destination
        self.status = status
        self.tries = tries


class ConnectionFailed(DeliveryError):
    """There was no answer: the host has no address, refuses, resets, or is too slow. Another try may find it well.

    Attributes:
        sent: whether the request may have arrived.
    """

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent
