"""Several transforms as one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from types import GeneratorType
from typing import Any

from ..errors import DeclarationError, TransformError
from ..event import Event
from ..options import check_plain
from ..transform import DROP, Transform, plain
from .spending import Spending
from .step import Step
from .typed import typed


class Chain:
    """Transforms that run one after the other: ready steps, and functions of the event. It is a transform itself.

    A function gets the event with what came before as its data. What it gives back goes on: `DROP` drops the event, a
    generator makes several, each of which goes through what follows by itself. `None` is an error, as for every
    transform. One that fails or refuses does so for the whole event.

    Attributes:
        steps: what it consists of; the text of each (`str`) says what it does, of a function its dotted name.
    """

    __slots__ = ("_runs", "steps")

    def __init__(self, transforms: Sequence[Step | Transform | Chain]) -> None:
        """Compose transforms.

        Args:
            transforms: what to compose, in order. None at all gives the data as it is.

        Raises:
            DeclarationError: one of them is no transform.
        """
        if not isinstance(transforms, list | tuple):
            raise DeclarationError(
                'transforms is a list such as [keep("id", "total"), my_function].', option="transforms"
            )
        steps: list[Step] = []
        for transform in transforms:
            steps.extend(transform.steps if isinstance(transform, Chain) else [_step(transform)])
        for at, (one, following) in enumerate(pairwise(steps)):
            if not one.name and following.name:
                steps[at] = _made_plain(one)
        self.steps: tuple[Step, ...] = tuple(steps)
        self._runs = tuple(one.run for one in self.steps)

    def __call__(self, event: Event) -> Any:
        """Give what the event's data becomes: a value, `DROP`, or a generator of values."""
        return self._go_on(event.data, 0, event, Spending())

    def __repr__(self) -> str:
        return f"<Chain {'; '.join(map(str, self.steps))}>"

    def trace(self, event: Event) -> Iterator[tuple[str, list[Any]]]:
        """Go through the steps and show what each makes of the event, for people who look for a mistake.

        Gives the text of each step with what the data is after it, as JSON has it: one item, several once it was split,
        none where it was dropped, which is the last that comes. What a step raises comes out: the step at fault is that
        of `steps` after those that were given.

        Args:
            event: the event.

        Raises:
            Exception: whatever a step raises.
        """
        items = [event.data]
        spending = Spending()
        for one in self.steps:
            after: list[Any] = []
            for item in items:
                results = _results(one.run(item, event), one, item, spending)
                after.extend(result for result in results if result is not DROP)
            items = after
            yield str(one), [_shown(item) for item in items]
            if not items:
                return

    def _go_on(self, data: Any, start: int, event: Event, spending: Spending) -> Any:
        for at in range(start, len(self._runs)):
            before, data = data, self._runs[at](data, event)
            if data is DROP:
                return DROP
            if data is None:
                raise TransformError(_gave_none(self.steps[at]))
            if isinstance(data, GeneratorType):
                return self._spread(_results(data, self.steps[at], before, spending), at, event, spending)
        return data

    def _spread(self, items: Iterator[Any], at: int, event: Event, spending: Spending) -> Iterator[Any]:
        """Take each item through the steps after the one that gave it. What is dropped is not given."""
        for item in items:
            if item is DROP:
                continue
            result = self._go_on(item, at + 1, event, spending)
            if isinstance(result, GeneratorType):
                yield from result
            elif result is not DROP:
                yield result


def _results(result: Any, one: Step, data: Any, spending: Spending) -> Iterator[Any]:
    """Give the items that a step made of data, each looked at and counted."""
    several = isinstance(result, GeneratorType)
    if several and one.repeats is not None:
        spending.add_repeated(one, one.repeats(data))
    for item in result if several else (result,):
        if several:
            spending.add_item(one)
        if item is None:
            raise TransformError(_gave_none(one))
        yield item


def _gave_none(one: Step) -> str:
    if one.name:
        return f"There is a null in the list of the step {one}, which cannot become a job."
    return f"{one} gave back None. Return the data, or DROP to drop the event."


def _step(transform: Any) -> Step:
    if isinstance(transform, Step):
        return transform
    if not callable(transform):
        raise DeclarationError(
            f'transforms has a {type(transform).__name__}; it takes steps, as keep("id"), and functions of the event.',
            option="transforms",
        )
    if getattr(transform, "__module__", "").startswith(f"{__package__}.") and hasattr(transform, "__wrapped__"):
        name = transform.__name__
        raise DeclarationError(
            f"transforms has {name}, which only makes a step: call it, {name}(…).", option="transforms"
        )
    function = typed(transform)
    check_plain("transforms", function)

    def run(data: Any, event: Event) -> Any:
        return function(event if data is event.data else event.with_data(data))

    return Step("", dotted_name(transform), run)


def _made_plain(one: Step) -> Step:
    """Make a function that a ready step follows give what JSON can say: steps look into dicts and lists alone."""
    inner = one.run

    def run(data: Any, event: Event) -> Any:
        result = inner(data, event)
        return _each_plain(result) if isinstance(result, GeneratorType) else _one_plain(result)

    return Step("", one.text, run)


def _shown(item: Any) -> Any:
    """Give a copy of an item, so that what a later function does to it does not change what was shown."""
    try:
        return plain(item)
    except TransformError:
        return f"<{type(item).__qualname__}>"  # one function may give another what JSON cannot say


def _each_plain(results: Iterator[Any]) -> Iterator[Any]:
    for result in results:
        yield _one_plain(result)


def _one_plain(result: Any) -> Any:
    return result if result is DROP or result is None else plain(result)


def dotted_name(function: Any) -> str:
    """Give the name by which people find a function: `"shop.hooks.push"`."""
    named = function if hasattr(function, "__qualname__") else type(function)
    return f"{named.__module__}.{named.__qualname__}"
