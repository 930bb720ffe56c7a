"""What a ready step is, how its options are checked, and what it does where it cannot apply."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Final, ParamSpec

from ..errors import DeclarationError, Rejected, TransformError
from ..event import Event
from ..transform import DROP
from .spending import Spending

P = ParamSpec("P")

OUTCOMES: Final = ("skip", "drop", "reject", "error")
"""What a step may do where it cannot apply: nothing; drop the event; answer 422; fail, so that the route's `on_error`
decides. In each case the data is as it was before the step."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A ready transform. It is a function of an event, and like every transform may be called with one.

    It never changes the data it is given: what it gives is a copy along the paths that it touches, and shares the rest.

    Attributes:
        name: the name of the function that made it: `"keep"`.
        text: what it does in a few words, without values and secrets: `"keep id, customer.email"`.
        run: gives the new data, `DROP`, or a generator of several, of the data and the event that it came with. It
            spares making an event for each step.
        headers: the request's headers that it adds to the data, in lower case, so that a route can refuse those that
            its verifier keeps secret.
        repeats: gives how much of the data the items that it makes of it repeat; `None` if they repeat nothing.
    """

    name: str
    text: str
    run: Callable[[Any, Event], Any] = field(repr=False)
    headers: frozenset[str] = frozenset()
    repeats: Callable[[Any], int] | None = field(default=None, repr=False)

    def __call__(self, event: Event) -> Any:
        """Give what the event's data becomes."""
        if self.repeats is not None:
            Spending().add_repeated(self, self.repeats(event.data))
        return self.run(event.data, event)

    def __str__(self) -> str:
        return self.text


def step(name: str) -> Callable[[Callable[P, Step]], Callable[P, Step]]:
    """Make a function that declares a step refuse options that it has not, with a sentence that names the nearest.

    An option whose name is a word of Python's takes its name without the underscore too, as relay.toml writes it:
    `with` for `with_`.

    Args:
        name: the step's name, as users write it.
    """

    def wrap(make: Callable[P, Step]) -> Callable[P, Step]:
        signature = inspect.signature(make)
        options = [one.name for one in signature.parameters.values() if one.kind is one.KEYWORD_ONLY]
        known = {option.removesuffix("_"): option for option in options}

        @wraps(make)
        def checked(*args: P.args, **given: P.kwargs) -> Step:
            read: dict[str, Any] = {}
            for option, value in given.items():
                if option.removesuffix("_") not in known:
                    hint = nearest(option, known) or (f"It has {', '.join(known)}." if known else "It has none.")
                    raise DeclarationError(f"{name} has no option {option}. {hint}", option=option)
                read[known[option.removesuffix("_")]] = value
            try:
                signature.bind(*args, **read)
            except TypeError as error:
                raise DeclarationError(f"{name} cannot be called so: {error}.", option=name) from None
            return make(*args, **read)

        checked.__name__ = checked.__qualname__ = name
        return checked

    return wrap


def nearest(said: Any, known: Iterable[str]) -> str:
    """Give "Did you mean …?" with the name that is nearest to what was said, `""` where none is near."""
    near = difflib.get_close_matches(str(said), list(known), n=1)
    return f"Did you mean {near[0]}?" if near else ""


def outcome(said: Any, option: str, allowed: tuple[str, ...] = OUTCOMES) -> str:
    """Check what an option says should happen where a step cannot apply.

    Raises:
        DeclarationError: it is none of the allowed.
    """
    if not isinstance(said, str) or said not in allowed:
        names = ", ".join(f'"{name}"' for name in allowed)
        hint = nearest(said, allowed)
        raise DeclarationError(f"{option} is one of {names}, not {said!r}. {hint}".rstrip(), option=option)
    return said


def flag(said: Any, option: str) -> bool:
    """Check an option that is True or False.

    Raises:
        DeclarationError: it is neither.
    """
    if not isinstance(said, bool):
        raise DeclarationError(f"{option} is True or False, not {said!r}.", option=option)
    return said


def table(said: Any, name: str, example: str) -> Mapping[Any, Any]:
    """Check what a step takes as a mapping.

    Raises:
        DeclarationError: it is none, or it is empty.
    """
    if not isinstance(said, Mapping) or not said:
        raise DeclarationError(f"{name} takes a table such as {example}, not {said!r:.80}.", option=name)
    return said


def give_up(how: str, data: Any, message: str) -> Any:
    """Do what an option says where a step cannot apply.

    Args:
        how: one of `OUTCOMES`.
        data: what the step was given.
        message: a sentence for the sender, and for the log. It holds no value.

    Returns:
        The data for `"skip"`, `DROP` for `"drop"`.

    Raises:
        Rejected: for `"reject"`.
        TransformError: for `"error"`.
    """
    if how == "skip":
        return data
    if how == "drop":
        return DROP
    if how == "reject":
        raise Rejected(422, message)
    raise TransformError(message)


def noted(text: str, **outcomes: tuple[str, str]) -> str:
    """Give the text of a step with the options that are not as usual, each as what was said and what is usual."""
    notes = ", ".join(f"{option}: {said}" for option, (said, usual) in outcomes.items() if said != usual)
    return f"{text} ({notes})" if notes else text
