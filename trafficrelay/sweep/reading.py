"""Reading what RQ wrote of a job, without running anything that is in it."""

from __future__ import annotations

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Any, Final, Literal

import redis
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer

FAILED_TYPE: Final = "2"
"""RQ's number for the result of a job that failed, `rq.results.Result.Type.FAILED`."""

MOST_WORDS: Final = 400
"""How many bytes, packed, the words may have with which RQ gives a job up. Tracebacks have more."""

Failure = Literal["", "abandoned", "stuck"]

_ABANDONED: Final = b"Moved to FailedJobRegistry, due to AbandonedJobError"
_STUCK: Final = b"Job was stuck in intermediate queue."

# The user's payload, and what is read by running what is in it. A worker reads the first when it runs the job, and
# survives what it cannot read of the rest.
_NOT_READ: Final = frozenset((b"data", b"meta", b"result", b"exc_info"))


def failure_of(words: bytes) -> Failure:
    """Say how RQ gave a job up, by the words of its result as they are stored; `""` if it failed by itself."""
    try:
        text = zlib.decompressobj().decompress(b64decode(words), MOST_WORDS)
    except (ValueError, zlib.error):
        return ""
    if text.startswith(_ABANDONED):
        return "abandoned"
    return "stuck" if text == _STUCK else ""


def packed(words: str) -> str:
    """Give the words of a failure as RQ stores them in a result."""
    return b64encode(zlib.compress(words.encode())).decode()


def faults(client: redis.Redis, ids: Iterable[bytes]) -> dict[bytes, str]:
    """Say of which jobs RQ cannot make a job, and why: the worker that takes such a one from its queue ends.

    Raises:
        RedisError: Redis does not answer.
    """
    ids = list(ids)
    names = _ask(client, [("HKEYS", RQJob.key_for(id_.decode())) for id_ in ids])
    known = {id_: fields for id_, fields in zip(ids, names, strict=True) if isinstance(fields, list) and fields}
    read = [[name for name in fields if name not in _NOT_READ] or [b"status"] for fields in known.values()]
    values = _ask(
        client, [("HMGET", RQJob.key_for(id_.decode()), *fields) for id_, fields in zip(known, read, strict=True)]
    )
    found: dict[bytes, str] = {}
    for (id_, fields), asked, given in zip(known.items(), read, values, strict=True):
        if b"data" not in fields:
            found[id_] = "it has no data"
        elif isinstance(given, list):
            raw = {name: value for name, value in zip(asked, given, strict=True) if value is not None}
            if fault := _fault(client, id_, raw):
                found[id_] = fault
    return found


def _fault(client: redis.Redis, id_: bytes, raw: dict[bytes, bytes]) -> str:
    job = RQJob(id_.decode(), connection=client, serializer=JSONSerializer)
    try:
        job.restore({**raw, b"data": b""})
    except Exception as error:
        # Of whatever kind: RQ parses dates, numbers and JSON, and checks nothing. Its words can hold what it read.
        return f"RQ cannot read its fields ({type(error).__name__})"
    return ""


def _ask(client: redis.Redis, commands: list[tuple[Any, ...]]) -> list[Any]:
    with client.pipeline(transaction=False) as pipe:
        for command in commands:
            pipe.execute_command(*command)  # type: ignore[no-untyped-call]
        # A key that holds something else is an error of its own.
        return pipe.execute(raise_on_error=False) if commands else []
