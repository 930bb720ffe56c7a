"""The errors that stand by themselves, and what all errors are."""

from __future__ import annotations

from collections.abc import Sequence


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


class ConfigError(DeclarationError):
    """A file such as relay.toml says what cannot be.

    Its text is one line for each fault that was found, with the place and what to write in its stead.

    Attributes:
        file: the file, as it is shown.
        table: the table at fault, such as `[[route]] 2 (/github)`; `""` for the file itself.
        key: the key in it, such as `verify.secret_env` or `transforms 2.keep`; `""` for the whole table.
        line: the line that it is on, 0 where that is not known.
    """

    def __init__(self, message: str, *, file: str, table: str = "", key: str = "", line: int = 0) -> None:
        super().__init__(message, option=key)
        self.file = file
        self.table = table
        self.key = key
        self.line = line
        self._faults: tuple[ConfigError, ...] = ()

    @property
    def faults(self) -> tuple[ConfigError, ...]:
        """All that were found, each as an error of its own; this one's attributes are those of the first."""
        return self._faults or (self,)

    @classmethod
    def of(cls, faults: Sequence[ConfigError]) -> ConfigError:
        """Give one error for several; of one, that one itself."""
        first = faults[0]
        if len(faults) == 1:
            return first
        whole = cls(
            "\n".join(str(fault) for fault in faults),
            file=first.file,
            table=first.table,
            key=first.key,
            line=first.line,
        )
        whole._faults = tuple(faults)
        return whole


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


class ClientError(RelayError):
    """A test client cannot do what it is told: sign, read a saved request, run a job."""


class CannotSign(RelayError):
    """A request cannot be signed: only its provider can, no secret is known, or it has no place for a signature.

    Its text is a part of a sentence, which says for what.
    """


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
