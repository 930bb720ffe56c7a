"""What `trafficrelay try` says, for people and for machines."""

from __future__ import annotations

import json
from typing import Any, Final

from ..delivery.destination import CloudEvents, chosen
from ..delivery.order import DELIVER, Order
from ..outbox.handover import Job
from ..route import Route
from .describing import verifier
from .saying import count, say, shown
from .trying import Stage, Tried, Whole, shown_data

_INDENT: Final = "   "
_STEP: Final = 2
_WIDTH: Final = 100


def as_json(whole: Whole) -> dict[str, Any]:
    """Give all of it as JSON can say it."""
    refusal = whole.refusal
    return {
        "route": whole.route.rule,
        "method": whole.event.method,
        "params": dict(whole.event.params),
        "verify": verifier(whole.route.verify),
        "verified": whole.verified and not (refusal and refusal.status == 401),
        "accepted": whole.accepted,
        "challenge": whole.challenge or None,
        "refusal": refusal and {"status": refusal.status, "why": refusal.detail or refusal.title},
        "events": [_event(one) for one in whole.tried],
    }


def tell(whole: Whole) -> None:
    """Write it to stdout."""
    route, event = whole.route, whole.event
    kind = route.content_type or event.headers.get("content-type", "")
    say(f"{event.method} {route.rule}: {len(event.body):,} bytes{f' of {shown(kind)}' if kind else ''}")
    for name, value in event.params.items():
        say(f"{_INDENT}{name}: {shown(str(value))}")
    if route.verify is not None and not whole.verified:
        say(f"{_INDENT}Its sender was not verified ({verifier(route.verify)}); --verify does that.")
    if whole.reply is not None:
        say(f"Answered as a challenge ({whole.challenge}): {whole.reply.status}")
        say("\nA challenge becomes no event.")
        return
    if whole.refusal is not None:
        say(f"Refused: {whole.refusal.status}, {shown(whole.refusal.detail or whole.refusal.title, most=None)}")
    for number, one in enumerate(whole.tried, 1):
        if len(whole.tried) > 1:
            say(f"\nItem {number} of {len(whole.tried)}")
        _tell(one, whole)
    jobs = sum(len(one.jobs) for one in whole.tried)
    if any(one.state == "refused" for one in whole.tried) and len(whole.tried) > 1:
        say("\nWith one item refused none is accepted.")
    elif whole.accepted:
        say(f"\n{count(jobs, 'job')} would be handed over. Nothing was.")


def _tell(tried: Tried, whole: Whole) -> None:
    _data("Data", (tried.event.data,))
    before: tuple[Any, ...] = (tried.event.data,)
    for number, stage in enumerate(tried.stages, 1):
        _stage(number, stage, before)
        before = stage.items
    if tried.state == "refused":
        say(f"Refused: {tried.status}, {shown(tried.why, most=None)}")
    elif tried.state == "failed":
        say(f"Failed: {shown(tried.why, most=None)}")
        keeps = whole.route.on_error == "keep"
        say(f"{_INDENT}{'The event would be kept as a dead letter.' if keeps else 'Its sender would get a 500.'}")
    elif tried.state == "dropped":
        say("Dropped: it becomes no job, and its sender is told that it was accepted.")
    for job in tried.jobs:
        if job.function == DELIVER:
            _delivery(whole.route, job, before)
        else:
            _data(f"Job {job.function} in queue {job.queue}", (job.data,), above=before)


def _delivery(route: Route, job: Job, before: tuple[Any, ...]) -> None:
    order = Order.from_dict(job.data)
    found = chosen(route.destinations, order.to)
    where = f"{found.name} ({found.label})" if found else order.to
    form = ", as a CloudEvent" if found and isinstance(found.form, CloudEvents) else ""
    if order.raw is None:
        _data(f"Delivery to {where} in queue {job.queue}{form}", (order.data,), above=before)
    else:
        say(f"Delivery to {where} in queue {job.queue}: the body as it came, {len(order.raw):,} bytes")


def _stage(number: int, stage: Stage, before: tuple[Any, ...]) -> None:
    title = f"{number}. {shown(stage.step, most=None)}"
    if stage.state != "ok":
        say(f"{title}: {stage.state}")
    elif stage.items == before:
        say(f"{title}: as it was")
    else:
        _data(title, stage.items)


def _data(title: str, items: tuple[Any, ...], *, above: tuple[Any, ...] = ()) -> None:
    """Write data; what is long and stands above already is not written again."""
    shown_items = [shown_data(item) for item in items]
    lines = [line for item in shown_items for line in _lines(item, _WIDTH)]
    if len(lines) > len(items) and shown_items == [shown_data(item) for item in above]:
        say(f"{title}: as above")
        return
    say(title)
    for line in lines:
        say(f"{_INDENT}{line}")


def _lines(data: Any, width: int) -> list[str]:
    """Write data as JSON: in one line what fits into it, and of what does not a line for each key or item."""
    # ASCII: what a sender wrote cannot command the terminal.
    whole = json.dumps(data)
    if len(whole) <= width or not data or not isinstance(data, dict | list):
        return [whole]
    pairs = data.items() if isinstance(data, dict) else (("", item) for item in data)
    lines = []
    for key, value in pairs:
        first, *rest = _lines(value, width - _STEP)
        lines += [f"{json.dumps(key)}: {first}" if isinstance(data, dict) else first, *rest]
        lines[-1] += ","
    opening, closing = "{}" if isinstance(data, dict) else "[]"
    return [opening, *(f"{'':{_STEP}}{line}" for line in [*lines[:-1], lines[-1].removesuffix(",")]), closing]


def _event(tried: Tried) -> dict[str, Any]:
    before = [shown_data(tried.event.data)]
    steps = []
    for stage in tried.stages:
        after = [shown_data(item) for item in stage.items]
        steps.append({"step": stage.step, "state": stage.state, "before": before, "after": after, "why": stage.why})
        before = after
    return {
        "data": shown_data(tried.event.data),
        "cloudevent": dict(tried.event.cloudevent) if tried.event.cloudevent else None,
        "steps": steps,
        "state": tried.state,
        "status": tried.status or None,
        "why": tried.why,
        "jobs": [{"function": job.function, "queue": job.queue, "argument": job.data} for job in tried.jobs],
    }
