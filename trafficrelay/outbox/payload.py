"""Reading what RQ keeps of a job of ours, without running anything that is in it.

The default serializer is pickle, which calls whatever its bytes name. What the relay writes are plain data (strings,
numbers, lists, dicts), so that nothing has to be called to read them.
"""

from __future__ import annotations

import io
import pickle
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from rq.serializers import PickleSerializer, resolve_serializer

from ..errors import DeadLetterError

CALL: Final = "trafficrelay.aside.call"
"""The dotted name of the job that fetches an argument that is kept aside; a name, because only workers import it."""

ASIDE_FORMAT: Final = 1
"""The version of what `Aside.to_dict` writes."""

ASIDE_STAYS: Final = 3600
"""Seconds for which what is kept aside stays when its job has ended well, or is gone: it may be run again. Whoever
reads it has it stay as long as the job."""

_UNREADABLE: Final = "The job cannot be read with the relay's serializer."


@dataclass(frozen=True, slots=True)
class Aside:
    """What stands in a job whose own data are kept aside. Beside it lies what would stand there: all of RQ's `data`.

    Attributes:
        function: the dotted name of what is called with what is kept aside.
        size: how many bytes that is, as the serializer writes it.
    """

    function: str
    size: int

    def to_dict(self) -> dict[str, Any]:
        """Give it as what JSON can say."""
        return {"v": ASIDE_FORMAT, "function": self.function, "size": self.size}

    @classmethod
    def from_dict(cls, stored: Any) -> Aside:
        """Read what `to_dict` wrote.

        Raises:
            DeadLetterError: it is of another format, or not whole.
        """
        version = stored.get("v") if isinstance(stored, Mapping) else None
        if version != ASIDE_FORMAT:
            raise DeadLetterError(
                f"What stands for this job's argument has format {version!r}; this trafficrelay reads format "
                f"{ASIDE_FORMAT}. Bring the worker up to the version of the relay."
            )
        match stored:
            case {"function": str() as function, "size": int() as size}:
                return cls(function, size)
        raise DeadLetterError("What stands for this job's argument was not stored whole and cannot be read.")


def read_job_data(raw: bytes, serializer: Any) -> tuple[str, tuple[Any, ...]]:
    """Read the field `data` of a job of ours: the dotted name of its function, and its arguments.

    Args:
        raw: the field, compressed with zlib as RQ stores it.
        serializer: the relay's, as `rq.Queue` takes it; `None` is RQ's default, pickle.

    Raises:
        DeadLetterError: it cannot be read, or holds anything but plain data.
    """
    try:
        written = zlib.decompress(raw)
    except zlib.error:
        written = raw  # RQ reads both
    match _read(written, serializer, _PlainUnpickler):
        # function, instance, arguments, keyword arguments
        case [str() as function, None, [*args], _]:
            return function, tuple(args)
    raise DeadLetterError(_UNREADABLE)


def read_result(raw: bytes, serializer: Any) -> Any:
    """Read what a job gave back.

    Raises:
        DeadLetterError: it cannot be read, or holds anything but plain data.
    """
    return _read(raw, serializer, _PlainUnpickler)


def read_context(raw: bytes | None, serializer: Any) -> Mapping[str, Any] | None:
    """Read the field `meta` of a job: the event's context, which the relay put there; `None` if it is not of a relay.

    The user's code may have put things of its own beside it. They are not looked at.
    """
    if not raw:
        return None
    try:
        meta = _read(raw, serializer, _CarelessUnpickler)
    except DeadLetterError:
        return None
    context = meta.get("trafficrelay") if isinstance(meta, dict) else None
    return context if isinstance(context, dict) else None


def _read(raw: bytes, serializer: Any, unpickler: type[pickle.Unpickler]) -> Any:
    try:
        resolved = resolve_serializer(serializer)
        return unpickler(io.BytesIO(raw)).load() if resolved is PickleSerializer else resolved.loads(raw)
    except Exception as error:
        # Of whatever kind: pickle and the user's serializers raise what comes.
        raise DeadLetterError(_UNREADABLE) from error


class _PlainUnpickler(pickle.Unpickler):
    """Refuses everything that has a name."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise pickle.UnpicklingError("A job of a relay holds plain data.")


class _Unknown:
    """Stands in the place of an object of somebody's class: takes all that pickle does to one, and does nothing."""

    def __new__(cls, *_: Any, **__: Any) -> _Unknown:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...

    def __setitem__(self, key: Any, value: Any) -> None: ...

    def append(self, item: Any) -> None: ...

    def extend(self, items: Any) -> None: ...

    def add(self, item: Any) -> None: ...


class _CarelessUnpickler(pickle.Unpickler):
    """Imports nothing, and puts an `_Unknown` in the place of everything that has a name."""

    def find_class(self, module: str, name: str) -> type[_Unknown]:
        return _Unknown
