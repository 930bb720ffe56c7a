"""The data directory of the embedded server, and the lock that says who runs on it."""

from __future__ import annotations

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from ..errors import DataDirectoryInUse, ServerError

_LOCK: Final = "lock"

# How long one that runs is waited for: the main process may have been killed a moment ago, unnoticed as yet.
_RUNNING_PATIENCE: Final = 1.0


def prepare(path: Path) -> Path:
    """Make the data directory, for its owner alone, and give back its full path.

    Jobs are pickles: who can write there runs code as the owner.

    Raises:
        ServerError: it cannot be made, or holds something else.
    """
    path = path.expanduser().resolve()
    try:
        if not path.exists():
            path.mkdir(parents=True, mode=0o700)
        elif any(path.iterdir()) and not (path / _LOCK).exists():
            raise ServerError(f"{path} holds other things already; give the data a directory of its own with --data.")
        if path.stat().st_uid != os.geteuid():
            raise ServerError(f"{path} belongs to another user; give another directory with --data.")
        path.chmod(0o700)
        (path / _LOCK).touch(mode=0o600)
        (path / ".gitignore").write_text("*\n")
    except OSError as error:
        raise ServerError(f"The data directory {path} cannot be used: {error.strerror}.") from None
    return path


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds the lock, or held it last.

    Attributes:
        pid: the keeper's process id, 0 where there was none; its session has the same.
        ending: whether it is about to end.
        socket: the path of the Unix socket that its Valkey listens on.
    """

    pid: int = 0
    ending: bool = False
    socket: str = ""


class DataLock:
    """The lock on a data directory. The kernel drops it when its holder ends, however that comes about.

    Args:
        data: the directory, as `prepare` gave it.
        patience: seconds that a holder which is ending is waited for.

    Raises:
        DataDirectoryInUse: somebody else runs on it.
    """

    def __init__(self, data: Path, *, patience: float) -> None:
        self._file = (data / _LOCK).open("r+")
        try:
            self._acquire(data, patience)
        except BaseException:
            self._file.close()
            raise
        self.predecessor = self._read()

    def write(self, holder: Holder) -> None:
        """Say who holds the lock now."""
        self._file.seek(0)
        self._file.truncate()
        json.dump(asdict(holder), self._file)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def _acquire(self, data: Path, patience: float) -> None:
        began = time.monotonic()
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                holder = self._read()
            if time.monotonic() - began > (patience if holder.ending else _RUNNING_PATIENCE):
                raise DataDirectoryInUse(_in_use(data, holder), path=str(data))
            time.sleep(0.1)

    def _read(self) -> Holder:
        self._file.seek(0)
        try:
            return Holder(**json.load(self._file))
        except (ValueError, TypeError):
            # Empty at first, and half written for a moment.
            return Holder()


def _in_use(data: Path, holder: Holder) -> str:
    if holder.ending:
        return f"The data directory {data} is still in use by a run that is ending (process {holder.pid}); try again."
    return (
        f"The data directory {data} is in use by another run (process {holder.pid}); "
        "stop that one, or give this one a directory of its own with --data."
    )
