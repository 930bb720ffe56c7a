"""What an erasure seeks: a value at a path, in the data of an event wherever it is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from .body import read_data, read_events
from .delivery.order import DELIVER, Order
from .errors import DeadLetterError, DeclarationError, DeliveryError, Refusal
from .event import Event
from .intake import REPLAY
from .outbox.handover import Handover
from .outbox.payload import CALL
from .outbox.stored import HAND_OVER, from_dict

_NO_STEPS: Final = frozenset("[]$*")


@dataclass(frozen=True, slots=True)
class Condition:
    """A path and the value that it has to lead to. Made by `condition`.

    Attributes:
        path: its steps, as of `dedupe="data:path.to.field"`: keys, and the numbers of items. A step that is no number
            looks into every item of a list, because forms and senders' lists hold people too.
        value: the value as text; personal, so it is shown nowhere.
        number: the value as a number, if it is one.
    """

    path: tuple[str, ...]
    value: str = field(repr=False)
    number: float | None = field(repr=False)

    def matches(self, data: Any) -> bool:
        """Say whether the path leads to the value in some data that JSON can say."""
        # Not recursive: a sender chooses how deep lists are nested.
        todo = [(data, 0)]
        while todo:
            item, at = todo.pop()
            step = self.path[at] if at < len(self.path) else ""
            if isinstance(item, list):
                if not step.isdecimal():
                    todo.extend((one, at) for one in item)
                elif int(step) < len(item):
                    todo.append((item[int(step)], at + 1))
            elif isinstance(item, dict) and step in item and at < len(self.path):
                todo.append((item[step], at + 1))
            elif at == len(self.path) and self._is(item):
                return True
        return False

    def _is(self, item: Any) -> bool:
        if isinstance(item, bool):
            return self.value == ("true" if item else "false")
        if isinstance(item, int | float):
            return item == self.number
        return bool(item == self.value)


def condition(text: str) -> Condition:
    """Read `PATH=VALUE`.

    Raises:
        DeclarationError: it is none. The value is not repeated: it may be personal.
    """
    path, equals, value = text.partition("=")
    steps = tuple(path.split("."))
    if not equals or not all(steps) or any(set(step) & _NO_STEPS for step in steps):
        raise DeclarationError(
            "--where takes PATH=VALUE, such as customer.email=ann@example.com, where PATH is a field in the data; a "
            "number in it is an item's in a list, and without one every item is looked into."
        )
    if any(step.isdecimal() and len(step) > 9 for step in steps):
        raise DeclarationError("--where takes the numbers of items up to nine digits.")
    return Condition(steps, value, _number(value))


@dataclass(frozen=True, slots=True)
class Search:
    """Looks for events in whose data one of the conditions holds.

    Attributes:
        conditions: one of them is enough.
    """

    conditions: Sequence[Condition]

    def in_handover(self, handover: Handover) -> bool:
        """Say whether it is in one that waits in the spool.

        Raises:
            DeadLetterError: its dead letter cannot be read.
        """
        letter = handover.dead_letter
        return any(self.in_job(job.function, job.data) for job in handover.jobs) or (
            letter is not None and self.in_job(letter.function, letter.data)
        )

    def in_job(self, function: str, data: Any) -> bool:
        """Say whether it is in the argument of a job; of a dead letter or a delivery, in what it keeps.

        Raises:
            DeadLetterError: it is one that cannot be read.
        """
        if function == CALL:
            return False  # what is kept aside is looked into where it lies
        if function not in (REPLAY, HAND_OVER, DELIVER):
            return self._in(data)
        try:
            if function == DELIVER:
                return self._in(_delivered(Order.from_dict(data)))
            if function == HAND_OVER:
                return self.in_handover(from_dict(data["handover"]))
            event = Event.from_dict(data["event"])
            return self._in(dict(event.query)) or any(
                self._in(one.data) for one in read_events(event, limit=len(event.body))
            )
        except (AttributeError, KeyError, TypeError, DeliveryError, Refusal) as error:
            raise DeadLetterError("This dead letter cannot be read.") from error

    def _in(self, data: Any) -> bool:
        return any(condition.matches(data) for condition in self.conditions)


def _delivered(order: Order) -> Any:
    """Give what is delivered; of a raw body what it says."""
    if order.raw is None:
        return order.data
    return read_data(order.raw, method="POST", content_type=order.content_type, content_encoding="", query={})


def _number(text: str) -> float | None:
    for read in (int, float):
        try:
            return read(text)
        except ValueError:
            continue
    return None
