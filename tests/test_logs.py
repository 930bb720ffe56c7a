"""Log records say which event, route and job they belong to."""

from __future__ import annotations

import io
import logging
import logging.config
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from webtest import TestApp

from trafficrelay import Relay
from trafficrelay.logs import EventFilter, install

pytestmark = pytest.mark.rq

FORMAT = "[%(event_id)s %(event_route)s %(job_id)s] %(message)s"


@pytest.fixture
def logger() -> Iterator[logging.Logger]:
    """The logger of the tests' jobs, as it was afterwards."""
    logger = logging.getLogger("tests.jobs")
    yield logger
    logger.handlers.clear()


@pytest.fixture
def written(logger: logging.Logger) -> io.StringIO:
    """What a handler with the filter writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter(FORMAT))
    logger.addHandler(handler)
    install(logger)
    return written


def work(client: redis.Redis) -> None:
    SimpleWorker([Queue("hooks", connection=client)], connection=client).work(burst=True)


def test_a_line_of_a_job_says_whose_it_is(redis_url: str, client: redis.Redis, written: io.StringIO) -> None:
    """The event's id, its route and the job's id; nothing of the payload."""
    with closing(Relay(redis_url)) as relay:
        relay.route("/hooks/<shop>", verify=None, job="tests.jobs.log_a_line", queue="hooks")(lambda event: event.data)
        said = TestApp(relay.app).post_json("/hooks/s3cret%0A", {"s3cret": 1}, status=202).json
    work(client)

    assert written.getvalue() == f"[{said['id']} /hooks/<shop> {said['jobs'][0]}] in a job\n"


def test_a_line_of_somebody_elses_job_has_its_id(client: redis.Redis, written: io.StringIO) -> None:
    """And no event."""
    job = Queue("hooks", connection=client).enqueue("tests.jobs.log_a_line", 1)
    work(client)

    assert written.getvalue() == f"[- - {job.id}] in a job\n"


def test_a_line_outside_of_jobs_has_dashes(logger: logging.Logger, written: io.StringIO) -> None:
    """So that a format always finds its fields."""
    logger.warning("hello")

    assert written.getvalue() == "[- - -] hello\n"


@pytest.mark.parametrize("context", [{"event": "a\nb\x1b", "route": 7}, {"event": {}, "route": "x" * 10_000}, "none"])
def test_what_stands_in_a_job_breaks_no_line(client: redis.Redis, written: io.StringIO, context: Any) -> None:
    """Whoever writes to Redis can write there too."""
    Queue("hooks", connection=client).enqueue("tests.jobs.log_a_line", 1, meta={"trafficrelay": context})
    work(client)
    said = written.getvalue()

    assert said.count("\n") == 1
    assert "\x1b" not in said
    assert len(said) < 400


def test_it_is_installed_once_on_each_handler(logger: logging.Logger) -> None:
    """However often it is asked for."""
    handlers = [logging.NullHandler(), logging.NullHandler()]
    for handler in handlers:
        logger.addHandler(handler)
    install(logger)
    install(logger)

    assert [[type(known) for known in handler.filters] for handler in handlers] == [[EventFilter], [EventFilter]]


def test_it_is_installed_on_the_root_logger_unless_told_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where `logging.basicConfig` puts its handler."""
    handler = logging.NullHandler()
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    install()

    assert [type(known) for known in handler.filters] == [EventFilter]


def test_it_can_be_named_in_a_logging_configuration(logger: logging.Logger) -> None:
    """As its documentation says."""
    logging.config.dictConfig(
        {
            "version": 1,
            "incremental": False,
            "disable_existing_loggers": False,
            "filters": {"event": {"()": "trafficrelay.logs.EventFilter"}},
            "formatters": {"lines": {"format": FORMAT}},
            "handlers": {"console": {"class": "logging.StreamHandler", "filters": ["event"], "formatter": "lines"}},
            "loggers": {"tests.jobs": {"handlers": ["console"]}},
        }
    )
    (handler,) = logger.handlers
    record = logger.makeRecord("tests.jobs", logging.INFO, __file__, 1, "hello", (), None)

    assert handler.filter(record)
    assert handler.format(record) == "[- - -] hello"
