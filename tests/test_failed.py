"""`trafficrelay failed`: what failed is counted by route and error, and nothing is touched."""

from __future__ import annotations

import base64
import importlib
import json
import sys
import tracemalloc
import uuid
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import redis
from rq import Queue, SimpleWorker
from rq.job import Job as RQJob
from webtest import TestApp

from tests.handovers import dump, queued
from trafficrelay.cli import main
from trafficrelay.event import now
from trafficrelay.outbox.broken import Broken, each_broken, set_aside
from trafficrelay.outbox.names import BROKEN_KEY

pytestmark = pytest.mark.rq

EVENTS = """
    from trafficrelay import Backoff, Relay

    relay = Relay({url!r}, serializer={serializer!r})

    @relay.route("/a", verify=None, job="tests.jobs.fail", queue="hooks", retry=Backoff(1, first=60))
    @relay.route("/b", verify=None, job="tests.jobs.fail", queue=lambda event: event.data["queue"])
    def take(event):
        name = event.data["name"]
        if name == "wrong":
            raise KeyError(event.data["words"])
        return name
"""


class Shop:
    """A module with a relay whose transform and jobs fail, and the command line on it."""

    def __init__(self, folder: Path, url: str, capsys: pytest.CaptureFixture[str]) -> None:
        self.name = f"shop_{uuid.uuid4().hex}"
        self.target = f"{self.name}:relay"
        self._file, self._url, self._capsys = folder / f"{self.name}.py", url, capsys
        self.write()

    def write(self, serializer: str | None = None) -> None:
        self._file.write_text(dedent(EVENTS.format(url=self._url, serializer=serializer)))
        sys.modules.pop(self.name, None)
        importlib.invalidate_caches()

    def send(self, name: str, words: str = "x", *, path: str = "/a", queue: str = "hooks", times: int = 1) -> list[str]:
        """Post events, and give their ids."""
        relay = importlib.import_module(self.name).relay
        app = TestApp(relay.app)
        data = {"name": name, "words": words, "queue": queue}
        ids = [app.post_json(path, data, status=202).json["id"] for _ in range(times)]
        relay.close()
        return ids

    def run(self, command: str, *options: str) -> tuple[int, str]:
        sys.modules.pop(self.name, None)
        self._capsys.readouterr()
        try:
            code = main([command, *([self.target] if options != ("--help",) else []), *options])
        except SystemExit as end:
            code = int(end.code or 0)
        captured = self._capsys.readouterr()
        return code, captured.out or captured.err

    def failed(self, *options: str) -> dict[str, Any]:
        code, said = self.run("failed", "--json", *options)
        assert code == 0
        read: dict[str, Any] = json.loads(said)
        return read


@pytest.fixture
def shop(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Shop]:
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    shop = Shop(tmp_path, redis_url, capsys)
    yield shop
    sys.modules.pop(shop.name, None)


def work(client: redis.Redis, *queues: str) -> None:
    """Have jobs fail, over all of their tries."""
    for queue in [Queue(name, connection=client) for name in queues]:
        for _ in range(2):
            SimpleWorker([queue], connection=client).work(burst=True)
            for id_ in queue.scheduled_job_registry.get_job_ids():
                queue.scheduled_job_registry.remove(id_)
                queue.enqueue_job(RQJob.fetch(id_, connection=client))


def break_one(
    client: redis.Redis, job: str, *, why: str = "created_at is no date.", at: datetime | None = None
) -> None:
    client.hset(*set_aside(Broken(job, "hooks", why, at or now())))


# What is shown


def test_what_failed_is_grouped_by_route_and_error(shop: Shop, client: redis.Redis) -> None:
    """The most frequent first, with the newest of them; and nothing is changed."""
    ids = shop.send("wrong", times=5)
    (other,) = shop.send("fine", path="/b", queue="deep")
    work(client, "deep")
    before = dump(client)
    code, said = shop.run("failed")
    lines = said.splitlines()

    assert code == 0
    assert dump(client) == before
    assert lines[0] == "6 failed:"
    assert lines[1] == "        5  event     /a  KeyError"
    assert lines[2].endswith(" in hooks")
    assert lines[3] == "           'x'"
    assert set(lines[4].removeprefix("           newest ").split(", ")) <= {f"{id_}-0" for id_ in ids}
    assert lines[5] == "        1  job       /b  RuntimeError"
    assert lines[7] == "           this job always fails"
    assert lines[8] == f"           newest {other}-1"
    assert lines[9].startswith(f"`trafficrelay replay {shop.target}` runs them again")


def test_json_has_all_that_is_known(shop: Shop, client: redis.Redis) -> None:
    """One object, of the same."""
    ids = [shop.send("fine", path="/b", queue=queue)[0] for queue in ("one", "two", "two", "three")]
    work(client, "one", "two", "three")
    said = shop.failed()
    (group,) = said["groups"]

    assert (said["failed"], said["broken"]) == (4, [])
    assert group.pop("first") < group.pop("last")
    assert group == {
        "route": "/b",
        "declared": True,
        "kind": "job",
        "error": "RuntimeError",
        "count": 4,
        "queues": {"two": 2, "one": 1, "three": 1},
        "message": "this job always fails",
        "newest": [f"{id_}-1" for id_ in (ids[3], ids[2], ids[1])],
    }


def test_nothing_is_said_to_have_failed_where_nothing_has(shop: Shop) -> None:
    """In both forms, with code 0."""
    assert shop.run("failed") == (0, "0 failed.\n")
    assert shop.failed() == {"failed": 0, "groups": [], "broken": []}


def test_the_filters_are_those_of_replay(shop: Shop, client: redis.Redis) -> None:
    """One by one, and the relay's routes are checked."""
    (wrong,) = shop.send("wrong", "needle")
    shop.send("fine", path="/b")
    work(client, "hooks")

    def kinds(*options: str) -> list[str]:
        return sorted(group["kind"] for group in shop.failed(*options)["groups"])

    assert kinds() == ["event", "job"]
    assert kinds("--route", "/b") == kinds("--kind", "job") == kinds("--error", "runtime") == ["job"]
    assert kinds("--error", "NEEDLE") == kinds("--id", wrong) == ["event"]
    assert kinds("--since", "1h") == ["event", "job"]
    assert kinds("--until", "1h") == []
    assert shop.run("failed", "--route", "/c")[0] == 2


def test_routes_that_have_gone_are_shown_as_such(shop: Shop, client: redis.Redis) -> None:
    """`replay` passes them over."""
    shop.send("wrong")
    shop._file.write_text(shop._file.read_text().replace('"/a"', '"/new"'))

    assert "  /a  KeyError  (this relay has no such route)\n" in shop.run("failed")[1]
    assert [group["declared"] for group in shop.failed()["groups"]] == [False]


def test_only_the_first_line_is_shown_and_nothing_that_terminals_obey(shop: Shop) -> None:
    """An exception's words hold what was sent."""
    shop.send("wrong", "\x1b[2J" + "z" * 5000)
    said = shop.run("failed")[1]

    assert "\x1b" not in said
    assert max(len(line) for line in said.splitlines()) < 200
    assert len(shop.failed()["groups"][0]["message"]) == 300


def rewrite(client: redis.Redis, id_: str, exc_string: str) -> None:
    """Have a failed job have failed of something else."""
    key = f"rq:results:{id_}"
    ((_, result),) = client.xrange(key)  # type: ignore[misc]
    client.delete(key)
    packed = base64.b64encode(zlib.compress(exc_string.encode()))
    client.xadd(key, {**result, b"exc_string": packed})


def test_a_message_has_a_lines_width_and_not_its_type_again(shop: Shop, client: redis.Redis) -> None:
    """What matters stands behind it: which status, say."""
    (id_,) = shop.send("wrong")
    said = "orders (http://127.0.0.1:9100/…) answered 500 Internal Server Error (try 4 of 4), as it has for days"
    rewrite(client, f"{id_}-0", f"Traceback (most recent call last):\ntrafficrelay.errors.DeliveryFailed: {said}\n")
    lines = shop.run("failed")[1].splitlines()

    assert len(said) > 90
    assert lines[1].endswith("  trafficrelay.errors.DeliveryFailed")
    assert lines[3] == f"           {said}"
    assert shop.failed()["groups"][0]["message"] == said


def test_a_message_of_no_words_takes_no_line(shop: Shop, client: redis.Redis) -> None:
    (id_,) = shop.send("wrong")
    rewrite(client, f"{id_}-0", "Traceback (most recent call last):\nTimeoutError\n")
    lines = shop.run("failed")[1].splitlines()

    assert lines[1].endswith("  TimeoutError")
    assert lines[3].startswith("           newest ")


def test_a_sentence_in_place_of_an_error_is_cut_with_one_ellipsis_and_said_in_full_below(
    shop: Shop, client: redis.Redis
) -> None:
    (id_,) = shop.send("wrong")
    said = "Its worker died while it ran, or could not write what it had come to, 5 times. It is not run again."
    rewrite(client, f"{id_}-0", said)
    lines = shop.run("failed")[1].splitlines()

    assert lines[1].endswith("  Its worker died while it ran, or could not write what it had come to…")
    assert lines[3] == f"           {said}"


def test_a_short_sentence_in_place_of_an_error_is_said_once(shop: Shop, client: redis.Redis) -> None:
    (id_,) = shop.send("wrong")
    rewrite(client, f"{id_}-0", "Somebody moved it here.")
    lines = shop.run("failed")[1].splitlines()

    assert lines[1].endswith("  Somebody moved it here.")
    assert lines[3].startswith("           newest ")


def test_json_jobs_are_read_too(shop: Shop) -> None:
    """The relay's serializer counts."""
    shop.write("json")
    shop.send("wrong")

    assert shop.failed()["failed"] == 1


def test_help_has_an_example(shop: Shop) -> None:
    """And code 0."""
    code, said = shop.run("failed", "--help")

    assert code == 0
    assert "trafficrelay failed shop.hooks:relay --since 2h" in said


def test_a_redis_that_is_away_is_told(shop: Shop) -> None:
    """Code 1, and no traceback."""
    assert shop.run("failed", "--redis", "redis://127.0.0.1:1") == (1, "trafficrelay: Redis does not answer.\n")


def test_many_letters_take_little_memory(shop: Shop, client: redis.Redis) -> None:
    """Some bytes each; not their words."""
    (id_,) = shop.send("wrong", "w" * 20_000)
    fields: Any = client.hgetall(f"rq:job:{id_}-0")
    ((_, result),) = client.xrange(f"rq:results:{id_}-0")  # type: ignore[misc]
    with client.pipeline(transaction=False) as pipeline:
        for number in range(3000):
            job = f"{number:032x}-0"
            pipeline.hset(f"rq:job:{job}", mapping={**fields, b"data": b""})
            pipeline.xadd(f"rq:results:{job}", result)
            pipeline.zadd("rq:failed:hooks", {job: -1})
        pipeline.execute()
    tracemalloc.start()
    try:
        said = shop.failed()
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert said["failed"] == 3001
    assert peak < 12_000_000  # their words alone are 60 MB


def test_types_that_somebody_makes_up_are_put_together(
    shop: Shop, client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that their number does not decide about memory either."""
    monkeypatch.setattr("trafficrelay.commands.failed._MOST_GROUPS", 1)
    shop.send("wrong", times=2)
    shop.send("fine", path="/b")
    work(client, "hooks")
    said = shop.failed()

    assert sum(group["count"] for group in said["groups"]) == 3
    assert sum(group["route"] == "others" for group in said["groups"]) == 1


# What was set aside


def test_what_was_set_aside_as_broken_is_shown(shop: Shop, client: redis.Redis) -> None:
    """The newest first, in a line each."""
    break_one(client, "old", at=datetime(2026, 3, 1, 12, 0, tzinfo=UTC))
    break_one(client, "new\x1b", why="Its status is none.")
    said = shop.run("failed")[1].splitlines()

    assert said[:2] == ["0 failed.", "2 jobs set aside as broken:"]
    assert said[2].endswith("  hooks  new�  Its status is none.")
    assert said[3].endswith("  hooks  old  created_at is no date.")
    assert [one["job"] for one in shop.failed("--until", "1d")["broken"]] == ["old"]
    assert [one["job"] for one in shop.failed("--since", "1d")["broken"]] == ["new\x1b"]
    assert shop.failed("--kind", "job")["broken"] == []


def test_of_many_broken_jobs_the_newest_are_shown(shop: Shop, client: redis.Redis) -> None:
    """And all as JSON."""
    for number in range(50):
        break_one(client, f"job-{number}", at=now() + timedelta(seconds=number))
    said = shop.run("failed")[1].splitlines()

    assert said[1] == "50 jobs set aside as broken, the newest of them:"
    assert [line.split()[3] for line in said[2:]] == [f"job-{number}" for number in range(49, 29, -1)]
    assert len(shop.failed()["broken"]) == 50


@pytest.mark.parametrize("value", [b"", b"\xff", b"7", b"{}", b'{"queue": "q", "why": "w", "at": "then"}'])
def test_what_somebody_else_wrote_there_is_shown_all_the_same(client: redis.Redis, value: bytes) -> None:
    """It may be all that is left of a job."""
    client.hset(BROKEN_KEY, "a-job", value)

    assert [(one.job, one.at.year) for one in each_broken(client)] == [("a-job", 1970)]


def test_what_is_set_aside_is_read_as_it_was(client: redis.Redis) -> None:
    """To the microsecond."""
    broken = Broken("a-job", "hööks", "why", now())
    client.hset(*set_aside(broken))

    assert list(each_broken(client)) == [broken]


# Running it again


def test_replay_gives_a_job_its_retries_again(shop: Shop, client: redis.Redis) -> None:
    """As many as its route gives."""
    (id_,) = shop.send("fine")
    work(client, "hooks")
    worn = RQJob.fetch(f"{id_}-1", connection=client).retries_left
    code, _ = shop.run("replay")

    assert (code, worn, queued(client)) == (0, 0, [f"{id_}-1"])
    assert RQJob.fetch(f"{id_}-1", connection=client).retries_left == 1
