"""A handover as bytes, for the spool, and as a dead letter. What was written by an earlier version is read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

from ..backoff import Retries
from ..errors import DeadLetterError
from ..target import JobOptions
from .handover import DeadLetter, Handover, Job

FORMAT: Final = 1
"""The version of what `to_dict` writes; raised when a reader of today could not read it any more."""

HAND_OVER: Final = "trafficrelay.dead_letter.hand_over"
"""The dotted name of the job that hands a stored handover over; a name, because only workers import what is behind."""


def pack(handover: Handover) -> bytes:
    """Write a handover. Its limits stay behind: it has been accepted."""
    # Not msgspec: an event's text may hold surrogates, which only escapes can write.
    return json.dumps(to_dict(handover), separators=(",", ":")).encode("ascii")


def unpack(stored: bytes) -> Handover:
    """Read what `pack` wrote.

    Raises:
        DeadLetterError: it is of a version that is not known here, or something of it is missing.
    """
    try:
        decoded = json.loads(stored)
    except ValueError as error:
        raise DeadLetterError("This event was not stored whole and cannot be read.") from error
    return from_dict(decoded)


def to_dict(handover: Handover) -> dict[str, Any]:
    """Give a handover, JSON-safe."""
    letter = handover.dead_letter
    return {
        "v": FORMAT,
        "id": handover.id,
        "route": handover.route,
        "context": dict(handover.context),
        "jobs": [_job_dict(job) for job in handover.jobs],
        "dead_letter": asdict(letter) if letter else None,
        "dedupe": handover.dedupe,
        "dedupe_window": handover.dedupe_window,
    }


def from_dict(stored: Mapping[str, Any]) -> Handover:
    """Read what `to_dict` wrote.

    Raises:
        DeadLetterError: as `unpack`.
    """
    version = stored.get("v") if isinstance(stored, Mapping) else None
    if version != FORMAT:
        raise DeadLetterError(f"This event has format {version!r}; this trafficrelay reads format {FORMAT}.")
    try:
        letter = stored["dead_letter"]
        return Handover(
            id=stored["id"],
            route=stored["route"],
            context=stored["context"],
            jobs=tuple(_job(job) for job in stored["jobs"]),
            dead_letter=DeadLetter(**letter) if letter else None,
            dedupe=stored["dedupe"],
            dedupe_window=stored["dedupe_window"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise DeadLetterError("This event was not stored whole and cannot be read.") from error


def as_letter(handover: Handover, why: str) -> Handover:
    """Make a dead letter of a handover: somebody has to decide whether it is handed over after all."""
    if handover.dead_letter or not handover.jobs:
        return handover  # it is one
    first = handover.jobs[0]
    letter = DeadLetter(
        function=HAND_OVER,
        queue=first.queue,
        data={"v": FORMAT, "handover": to_dict(handover)},
        traceback=why,
        ttl=first.options.failure_ttl,
    )
    return Handover(
        id=handover.id,
        route=handover.route,
        context=handover.context,
        dead_letter=letter,
        dedupe=handover.dedupe,
        dedupe_window=handover.dedupe_window,
        earlier=len(handover.jobs),
    )


def _job_dict(job: Job) -> dict[str, Any]:
    """Give a job, JSON-safe. What came to its options later is left out where it says what was so before.

    A trafficrelay of before reads it then: one that is put back beside a spool, or another one on the same Redis.
    """
    stored = asdict(job)
    options = stored["options"]
    if options["at_least_once"]:
        del options["at_least_once"]
    if not options["aside"]:
        del options["aside"]
    if options["retries"] is not None and not options["retries"]["jitter"]:
        del options["retries"]["jitter"]
    return stored


def _job(stored: Mapping[str, Any]) -> Job:
    options = dict(stored["options"])
    retries = options.pop("retries")
    if retries is not None:
        retries = Retries(**{**retries, "intervals": tuple(retries["intervals"])})
    return Job(
        function=stored["function"],
        queue=stored["queue"],
        data=stored["data"],
        options=JobOptions(retries=retries, **options),
    )
