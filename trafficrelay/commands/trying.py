"""Running an event through its route by hand: what each step makes of it, and the jobs that it would become."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from types import GeneratorType
from typing import Any, Literal, TypeAlias

import msgspec

from ..errors import Refusal, TransformError
from ..event import Event
from ..failures import BUGS, place
from ..intake import make_jobs
from ..outbox.handover import Job
from ..reply import Reply
from ..route import Route
from ..transform import DROP, keep_data
from ..transforms import Chain
from .describing import step as words_of

State: TypeAlias = Literal["ok", "dropped", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Stage:
    """One step, and what it made of the data.

    Attributes:
        step: what it does.
        state: `ok`, `dropped`, `refused`, or `failed` with an error.
        items: the data after it: one, or several where it was split.
        why: what it says where it refused or failed.
    """

    step: str
    state: State
    items: tuple[Any, ...] = field(default=(), repr=False)
    why: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Tried:
    """What came of an event.

    Attributes:
        event: the event, parsed.
        stages: the steps that it went through, in order.
        jobs: the jobs that would be handed over.
        state: `ok` with jobs; `dropped`, without; `refused`, its sender would be told; or `failed`, by an error.
        status: the status that a refused sender would get, 0 otherwise.
        why: what is said of a refusal or a failure.
    """

    event: Event
    stages: tuple[Stage, ...]
    jobs: tuple[Job, ...]
    state: State
    status: int = 0
    why: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Whole:
    """What came of a request.

    Attributes:
        route: the route that took it.
        event: the request, before it was parsed.
        tried: its events, several where it was split.
        refusal: why it was refused before there were any.
        verified: whether its sender was verified.
        challenge: what the challenge that it is is called; `""` of events.
        reply: how a challenge is answered.
    """

    route: Route
    event: Event
    tried: tuple[Tried, ...]
    refusal: Refusal | None = None
    verified: bool = False
    challenge: str = ""
    reply: Reply | None = field(default=None, repr=False)

    @property
    def accepted(self) -> bool:
        """Whether its sender would be told that it was accepted, and none of it failed."""
        return self.refusal is None and all(one.state in ("ok", "dropped") for one in self.tried)


def attempt(route: Route, event: Event, modules: Sequence[str]) -> Tried:
    """Run an event through its route's steps, and make its jobs of what they gave; hand nothing over.

    Args:
        route: the route.
        event: the event, parsed.
        modules: where a delivery would find the relay.
    """
    stages: list[Stage] = []
    try:
        items = _run(route, event, stages)
        if not items:
            return Tried(event, tuple(stages), (), "dropped")

        def again(_event: Event) -> Any:
            yield from items

        # The steps have been run, and what they do may differ from time to time.
        jobs = make_jobs(replace(route, transforms=(), transform=again), event, modules)
    except Refusal as refusal:
        return Tried(event, tuple(stages), (), "refused", refusal.status, refusal.detail or refusal.title)
    except BUGS as error:
        return Tried(event, tuple(stages), (), "failed", why=_why(error))
    return Tried(event, tuple(stages), jobs, "ok" if jobs else "dropped")


def shown_data(data: Any) -> Any:
    """Give data as JSON can say it, whatever it holds."""
    if isinstance(data, bytes):
        return {"base64": base64.b64encode(data).decode("ascii")}
    try:
        return msgspec.to_builtins(data, str_keys=True, enc_hook=lambda value: f"<{type(value).__name__}>")
    except (TypeError, ValueError, OverflowError, RecursionError):
        return f"<{type(data).__name__}>"


def _run(route: Route, event: Event, stages: list[Stage]) -> list[Any]:
    if isinstance(route.reshape, Chain):
        return _chain(route.reshape, event, stages)
    if route.reshape is keep_data:
        return [event.data]
    return _step(route.reshape, event, stages)


def _step(transform: Any, event: Event, stages: list[Stage]) -> list[Any]:
    words = words_of(transform)
    try:
        result = transform(event)
        items = list(result) if isinstance(result, GeneratorType) else [result]
    except BUGS as error:
        stages.append(_fault(words, error))
        raise
    kept = [item for item in items if item is not DROP]
    stages.append(Stage(words, "ok" if kept else "dropped", tuple(kept)))
    return kept


def _chain(chain: Chain, event: Event, stages: list[Stage]) -> list[Any]:
    items: list[Any] = [event.data]
    try:
        for words, items in chain.trace(event):
            stages.append(Stage(words, "ok" if items else "dropped", tuple(items)))
    except BUGS as error:
        stages.append(_fault(str(chain.steps[len(stages)]), error))
        raise
    return items


def _fault(words: str, error: BaseException) -> Stage:
    if isinstance(error, Refusal):
        return Stage(words, "refused", why=error.detail or error.title)
    return Stage(words, "failed", why=_why(error))


def _why(error: BaseException) -> str:
    if isinstance(error, TransformError):
        return str(error)
    where = place(error)
    return f"{type(error).__name__}: {error}{f' ({where})' if where else ''}"
