"""What a route is, as words and as data: never a secret of it."""

from __future__ import annotations

import functools
from dataclasses import asdict
from typing import Any

from ..reply import Reply
from ..route import Route
from ..target import Target, To, Unsaid
from ..transform import keep_data
from ..transforms import Chain
from ..verify.schemes import Secrets

PER_EVENT = "chosen for each event"

DITTO = '"'
"""Stands for the steps in the lines of a route that come after its first."""


def verifier(verify: Any) -> str:
    """Say of which kind a verifier is: `github`, `none` for an open route, or the name of the user's own."""
    if verify is None:
        return "none"
    secrets = getattr(verify, "secrets", None)
    return secrets.owner if isinstance(secrets, Secrets) else name_of(verify)


def steps(route: Route) -> list[str]:
    """Say what becomes of an event's data before it is handed over, a few words a step."""
    reshape = route.reshape
    if isinstance(reshape, Chain):
        return [step(one) for one in reshape.steps]
    return [] if reshape is keep_data else [step(reshape)]


def step(transform: Any) -> str:
    """Say what one step does; of a function of the user's, its name."""
    # What has no words of its own is named: its repr may hold what it was made with.
    own = any("__str__" in vars(kind) for kind in type(transform).__mro__[:-1])
    return str(transform) if own else name_of(transform)


def name_of(thing: Any) -> str:
    """Give the dotted name of a function, or of an object's class."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{named.__module__}.{named.__qualname__}"


def job(target: Target) -> str:
    """Say what a target's job is."""
    if target.destinations:
        return ", ".join(f"deliver to {one.name} ({one.label})" for one in target.destinations)
    return target.job_of if isinstance(target.job_of, str) else PER_EVENT


def queue(target: Target) -> str:
    """Say into which queue a target's jobs go."""
    return target.queue_of if isinstance(target.queue_of, str) else PER_EVENT


def conditions(route: Route) -> list[str]:
    """Say, for each target, under which condition it is for an event; `""` for always."""
    return [_when(to) for to in route.to] if route.to else ["" for _ in route.targets]


def as_json(route: Route) -> dict[str, Any]:
    """Give all that a machine may want to know of a route."""
    limits = route.limits
    return {
        "rule": route.rule,
        "methods": list(route.methods),
        "verify": verifier(route.verify),
        "challenges": [{"title": one.title, "method": one.method, "signed": one.signed} for one in route.handshakes],
        "steps": steps(route),
        "split": route.split,
        "content_type": route.content_type or None,
        "to": [_target(*one) for one in zip(route.targets, conditions(route), strict=True)],
        "dedupe": _dedupe(route),
        "dedupe_window": route.window,
        "max_body": route.limit,
        "rate": str(limits.rate) if limits.rate else None,
        "max_queued": limits.max_queued,
        "max_lag": limits.max_lag,
        "reply": _reply(route.answer),
        "on_error": route.on_error,
        "on_outage": "spool" if route.spools else "refuse",
        "cors": list(route.origins.origins) or ["*"] if route.origins else [],
        "status": route.status,
    }


def rows(route: Route) -> list[list[str]]:
    """Give a line for each job of a route: rule, methods, verifier, steps, job, queue, condition.

    And one for each challenge that it answers.
    """
    # Said again in each line, which grep may see alone; but for the steps, which may be long. An empty cell would shift
    # the others for awk.
    before = [route.rule, ",".join(route.methods), verifier(route.verify)]
    said = " | ".join(steps(route))
    jobs = [
        [*before, (DITTO if number else said) if said else "-", job(target), queue(target), when]
        for number, (target, when) in enumerate(zip(route.targets, conditions(route), strict=True))
    ]
    answered = [
        [route.rule, one.method, before[2], "-", f"answers a challenge ({one.title})", "-", ""]
        for one in route.handshakes
    ]
    return jobs + answered


def _target(target: Target, when: str) -> dict[str, Any]:
    options = asdict(target.options)
    retries = target.options.retries
    return {
        "job": target.job_of if isinstance(target.job_of, str) else None,
        "queue": target.queue_of if isinstance(target.queue_of, str) else None,
        "when": when or None,
        "deliver": [{"name": one.name, "url": one.label} for one in target.destinations],
        **options,
        "retries": retries and {"max": retries.max, "intervals": list(retries.intervals)},
    }


def _when(to: To) -> str:
    if to.when is None:
        return ""
    return to.when if isinstance(to.when, str) else name_of(to.when)


def _dedupe(route: Route) -> str | None:
    dedupe = route.dedupe
    if isinstance(dedupe, Unsaid):
        return str(getattr(route.verify, "dedupe", "") or "cloudevent")
    return dedupe if dedupe is None or isinstance(dedupe, str) else name_of(dedupe)


def _reply(answer: Any) -> int | str:
    if answer is None:
        return 202
    return answer.status if isinstance(answer, Reply) else name_of(answer)
