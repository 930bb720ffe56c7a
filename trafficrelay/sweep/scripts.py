"""The scripts of the sweep, and what RQ calls the keys that they touch."""

from __future__ import annotations

from importlib.resources import files
from typing import Any, Final

import redis
from rq.executions import Execution, ExecutionRegistry
from rq.intermediate_queue import IntermediateQueue
from rq.job import JobStatus
from rq.registry import (
    CanceledJobRegistry,
    DeferredJobRegistry,
    FailedJobRegistry,
    ScheduledJobRegistry,
    StartedJobRegistry,
)
from rq.worker import BaseWorker

from ..outbox.names import DEATHS, LOST, ONCE, RQ_NAMES

_REGISTRIES: Final = (ScheduledJobRegistry, DeferredJobRegistry, CanceledJobRegistry, FailedJobRegistry)


class Scripts:
    """The scripts, ready to be called.

    Args:
        client: a client.
    """

    def __init__(self, client: redis.Redis) -> None:
        names = RQ_NAMES + _names(client)
        self.scan = _script(client, "", "scan.lua")
        self.look = _script(client, names, "look.lua")
        self.page = _script(client, "", "page.lua")
        self.turn = _script(client, "", "turn.lua")
        self.rescue = _script(client, names, "rescue.lua")
        self.clear = _script(client, RQ_NAMES, "clear.lua")


def _script(client: redis.Redis, names: str, file: str) -> Any:
    return client.register_script(names + files(__package__).joinpath(file).read_text("utf-8"))


def _names(client: redis.Redis) -> str:
    intermediate = IntermediateQueue("", client)
    execution = Execution("", "", client).key.removesuffix(":")
    states = ", ".join(f"[{status.value!r}] = true" for status in JobStatus)
    registries = ", ".join(repr(registry.key_template.format("")) for registry in _REGISTRIES)
    return (
        f"local INTERMEDIATE, FIRST_SEEN = {intermediate.key!r}, {intermediate.get_first_seen_key('')!r}\n"
        f"local EXECUTION, EXECUTIONS = {execution!r}, {ExecutionRegistry.key_template.format('')!r}\n"
        f"local STARTED, SCHEDULED = {StartedJobRegistry.key_template.format('')!r}, "
        f"{ScheduledJobRegistry.key_template.format('')!r}\n"
        f"local WORKER = {BaseWorker.redis_worker_namespace_prefix!r}\n"
        f"local ONCE, DEATHS, LOST = {ONCE!r}, {DEATHS!r}, {LOST!r}\n"
        f"local STATES = {{{states}}}\n"
        f"local REGISTRIES = {{{registries}}}\n"
    )
