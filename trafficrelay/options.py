"""Reading what a route's options say: names, durations, duplicate keys. Each refuses with a sentence."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeAlias

from .errors import DeclarationError, TransformError
from .event import Event

Duration: TypeAlias = int | float | str | timedelta
Size: TypeAlias = int | str

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
_SIZE: Final = re.compile(r"(\d{1,12}) ?([KMG]?)i?B?", re.IGNORECASE)
_SIZES: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DOTTED: Final = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)+")
_HEADER: Final = re.compile(r"[A-Za-z0-9-]+")
_QUEUE: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]*")


@dataclass(frozen=True, slots=True)
class PerEvent:
    """Marks a function that chooses a route's job, queue or secret for each event. Made by `per_event`."""

    choose: Callable[[Event], Any]

    def __call__(self, event: Event) -> Any:
        """Choose for this event."""
        return self.choose(event)


def per_event(choose: Callable[[Event], Any]) -> PerEvent:
    """Say that a function chooses for each event: `job=per_event(pick_job)`.

    For `job=` a named function is the job itself; a lambda, which no worker could import, chooses without this mark.

    Raises:
        DeclarationError: it is no plain function.
    """
    check_plain("per_event", choose)
    return PerEvent(choose)


def check_plain(option: str, function: Any) -> None:
    """Check that something can be called in a request and gives its answer at once.

    Raises:
        DeclarationError: it cannot be called, or it is async.
    """
    if not callable(function):
        raise DeclarationError(f"{option} takes a function of the event, not {function!r}.", option=option)
    called = function.func if isinstance(function, functools.partial) else function
    for candidate in (called, getattr(called, "__call__", None)):  # noqa: B004 - the method itself is looked at
        if inspect.iscoroutinefunction(candidate) or inspect.isasyncgenfunction(candidate):
            raise DeclarationError(
                f"{option} is an async function. It runs in the request: make it a plain function and let the job do "
                "what has to be waited for.",
                option=option,
            )
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        raise DeclarationError(f"{option} is called with one argument, the event.", option=option) from None
    except ValueError:
        return  # some callables of C have no signature to look at


def seconds(value: Duration, option: str, *, least: int) -> int:
    """Read a number of whole seconds: `90`, `"90s"`, `"15m"`, `"24h"`, `"7d"` or a timedelta. RQ knows no fractions.

    Raises:
        DeclarationError: it is none of these, or less than `least`.
    """
    number: float | None = None
    if isinstance(value, timedelta):
        number = value.total_seconds()
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = value
    elif isinstance(value, str) and (match := re.fullmatch(r"(\d{1,9})([smhd]?)", value)):
        number = int(match[1]) * _UNITS[match[2] or "s"]
    if number is None or not least <= number <= 10**10 or number != int(number):
        raise DeclarationError(
            f'{option} is a time of {least} s or more in whole seconds, such as 90, "15m" or "7d", not {value!r}.',
            option=option,
        )
    return int(number)


def size(value: Size, option: str, *, least: int) -> int:
    """Read a number of bytes: `65_536`, `"64KB"`, `"1 MiB"` (a KB is 1,024 bytes).

    Raises:
        DeclarationError: it is none, or less than `least`.
    """
    number = value if isinstance(value, int) and not isinstance(value, bool) else -1
    if isinstance(value, str) and (match := _SIZE.fullmatch(value)):
        number = int(match[1]) * _SIZES[match[2].upper()]
    if number < least:
        raise DeclarationError(
            f'{option} is a number of bytes, {least:,} or more, such as 1_048_576 or "256MB", not {value!r}.',
            option=option,
        )
    return number


def job_name(job: Any) -> str:
    """Give the dotted name by which a worker imports a job: of a string itself, of a function its module and name.

    Raises:
        DeclarationError: it is neither, or a function that a worker cannot import.
    """
    if isinstance(job, str):
        if not _DOTTED.fullmatch(job) or job.startswith("__main__."):
            raise DeclarationError(
                f'job is the dotted name of a function, such as "shop.jobs.on_push", not {job!r}, which no worker can '
                "import.",
                option="job",
            )
        return job
    if not (inspect.isfunction(job) or (inspect.isbuiltin(job) and inspect.ismodule(job.__self__))):
        raise DeclarationError(
            f"job is a function or its dotted name, not {type(job).__name__}; a worker imports it by name.",
            option="job",
        )
    name = f"{job.__module__}.{job.__qualname__}"
    if job.__module__ == "__main__":
        raise DeclarationError(
            f"The job {job.__qualname__} is defined in the program that is run, which no worker can import. "
            "Move it into a module of its own.",
            option="job",
        )
    if "<" in name:
        raise DeclarationError(
            f"The job {name} is defined inside a function, where no worker can import it. Move it to the top of its "
            "module; or, if it is to choose the job of each event, say job=per_event(...).",
            option="job",
        )
    return name


def queue_name(queue: Any) -> str:
    """Check the name of a queue.

    Raises:
        DeclarationError: `rq worker NAME` could not be given it, or RQ uses it for itself.
    """
    if not isinstance(queue, str) or not _QUEUE.fullmatch(queue) or queue.endswith(":intermediate"):
        raise DeclarationError(
            f"queue is a name of letters, digits and . _ - : (it is given to `rq worker`), not {queue!r}.",
            option="queue",
        )
    return queue


def chooser(option: Any, check: Callable[[Any], str], *, any_callable: bool) -> str | Callable[[Event], str]:
    """Read an option that is a value, or a function of the event that gives one; what it gives is checked too.

    Args:
        option: what was declared.
        check: `job_name` or `queue_name`.
        any_callable: whether every callable chooses; otherwise only lambdas and what `per_event` marks.
    """
    marked = isinstance(option, PerEvent) or getattr(option, "__name__", "") == "<lambda>"
    if marked or (any_callable and callable(option)):
        check_plain("queue" if check is queue_name else "job", option)
        return lambda event: check(option(event))
    return check(option)


DedupeKey: TypeAlias = Callable[[Event], str | None]


def dedupe_key(option: Any) -> DedupeKey | None:
    """Read `dedupe=`: `"header:NAME"`, `"data:path.to.field"`, or a function of the event. `None` stays `None`.

    The function given back says by what a repeated event is known, or `None` where this event has no such thing.

    Raises:
        DeclarationError: it is none of these.
    """
    if option is None:
        return None
    if callable(option):
        check_plain("dedupe", option)
        return lambda event: _text(_scalar(option(event)))
    kind, _, name = option.partition(":") if isinstance(option, str) else ("", "", "")
    if kind == "header" and _HEADER.fullmatch(name):
        return lambda event: _text(event.headers.get(name))
    if kind == "data" and name and all(name.split(".")) and not set(name) & set("[]$*"):
        path = tuple(name.split("."))
        return lambda event: _text(look_up(event.data, path))
    raise DeclarationError(
        f'dedupe is "header:NAME", "data:path.to.field", a function of the event or None, not {option!r}.',
        option="dedupe",
    )


def cloudevent_key(*, headers: bool) -> DedupeKey:
    """Make what says by what a CloudEvent is known: its source and id together (CloudEvents 1.0, "id").

    Args:
        headers: whether attributes that come as headers count. No signature of a body covers them: whoever sends a
            signed request again could give it the id of an event that is yet to come.
    """

    def key(event: Event) -> str | None:
        attributes = event.cloudevent
        if attributes is None or (not headers and "ce-specversion" in event.headers):
            return None
        return "\0cloudevent:" + json.dumps([attributes["source"], attributes["id"]])

    return key


def look_up(data: Any, path: Iterable[str]) -> Any:
    """Give what a path of keys and numbers leads to in parsed data; `None` for nothing."""
    for step in path:
        if isinstance(data, dict):
            data = data.get(step)
        elif isinstance(data, list) and step.isdecimal() and int(step) < len(data):
            data = data[int(step)]
        else:
            return None
    return data


def _scalar(value: Any) -> Any:
    # Where a path in the data leads to a list, the event has no key; a function that gives one is a mistake.
    if isinstance(value, dict | list):
        raise TransformError(f"The dedupe function gave a {type(value).__name__}; a key is a string or a number.")
    return value


def _text(value: Any) -> str | None:
    """Turn a key into text. Objects and lists are no keys; the number 1 and the string "1" are different ones."""
    if value is None or value == "" or isinstance(value, dict | list):
        return None
    if isinstance(value, str):
        return value if value[0] != "\0" else f"\0str:{value}"
    return f"\0{type(value).__name__}:{value}"
