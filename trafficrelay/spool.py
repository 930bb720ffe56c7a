"""What a relay's spool is: the file that keeps events while Redis is away."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from .errors import DeclarationError
from .options import Duration, Size, seconds, size

_LEAST: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Spool:
    """Where events are kept that Redis cannot take now, and how many.

    Attributes:
        path: the SQLite file; beside it lie `-wal`, `-shm`, `.lock`, `.turn` and `.next`. A relay's processes share
            it. It must be on a local disk: SQLite's locks do not work on a network's.
        max_size: how large it may become, in bytes or as `"256MB"`. When it is full events are refused.
        max_age: how old an event may become in it. One that is older is handed over as a dead letter, because whether
            Redis had it before can no longer be told.
    """

    path: str | os.PathLike[str]
    max_size: Size = field(default="256MB", kw_only=True)
    max_age: Duration = field(default="3d", kw_only=True)

    # What these say, read once.
    file: Path = field(init=False, repr=False, compare=False)
    size: int = field(init=False, repr=False, compare=False)
    age: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        set_ = object.__setattr__  # the dataclass is frozen; this is where it is made
        set_(self, "file", _file(self.path))
        set_(self, "size", size(self.max_size, "max_size", least=_LEAST))
        # Less than the events' own marks live would make dead letters of all.
        set_(self, "age", seconds(self.max_age, "max_age", least=600))


def spool(option: Any) -> Spool | None:
    """Read a relay's option: a path or a `Spool`.

    Raises:
        DeclarationError: it is neither.
    """
    return option if option is None or isinstance(option, Spool) else Spool(option)


def _file(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise DeclarationError(f'spool is the path of a file, such as "spool.db", not {path!r}.', option="spool")
    # Where the program stands now: daemons go elsewhere.
    file = Path(os.fsdecode(path)).expanduser().absolute()
    if file.is_dir():
        raise DeclarationError(f"spool is the path of a file, and {file} is a directory.", option="spool")
    return file
