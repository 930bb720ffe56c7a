"""The errors that stand by themselves, and what all errors are."""

from __future__ import annotations


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


class TransformError(RelayError):
    """A transform gave back what cannot become a job: nothing at all, no JSON, too many items."""


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
