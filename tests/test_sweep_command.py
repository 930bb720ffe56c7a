"""`trafficrelay sweep`: what it says, and what it does not do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from trafficrelay.cli import main
from trafficrelay.commands.progress import Progress
from trafficrelay.commands.sweep import two_looks
from trafficrelay.sweep import sweeper
from trafficrelay.sweep.sweeper import Sweeper

from .handovers import a_handover, a_job, dump, entries, opened, queued

pytestmark = pytest.mark.rq


@pytest.fixture
def target(tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A relay, and the command without its wait."""
    (tmp_path / "sweep_hooks.py").write_text(
        f"from trafficrelay import Relay\nrelay = Relay({redis_url!r})\n"
        'relay.route("/a", verify=None, job="tests.jobs.echo")(lambda event: event.data)\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sweeper, "MARGIN", 0.0)
    yield "sweep_hooks:relay"
    del sys.modules["sweep_hooks"]


@pytest.fixture
def lost(redis_url: str, client: redis.Redis) -> list[str]:
    """Two jobs that a worker took along."""
    with opened(redis_url) as outbox:
        event = outbox.accept(a_handover(a_job(), a_job(), a_job(queue="other"))).id
    client.delete("rq:queue:hooks")
    return [f"{event}-1", f"{event}-2"]


def test_lost_jobs_are_put_back(
    target: str, lost: list[str], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["sweep", target])

    assert code == 0
    assert sorted(queued(client)) == lost
    assert capsys.readouterr().out == "3 jobs were looked at.\n2 jobs went back into their queues.\n"


def test_a_dry_run_says_what_would_be_put_back_and_changes_nothing(
    target: str, lost: list[str], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    before = entries(dump(client))
    code = main(["sweep", target, "--dry-run"])

    assert code == 0
    assert entries(dump(client)) == before
    assert capsys.readouterr().out.endswith("2 jobs would be put back. Nothing was done.\n")


def test_the_json_says_all_of_it(target: str, lost: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    main(["sweep", target, "--json"])
    said = json.loads(capsys.readouterr().out)

    assert (said["seen"], said["back"], said["waiting"], said["dry_run"]) == (3, 2, 0, False)


def test_broken_jobs_are_named(
    target: str, lost: list[str], client: redis.Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    client.hdel(f"rq:job:{lost[0]}", "origin")
    code = main(["sweep", target])

    assert code == 0
    assert (
        f"1 job cannot be read, because somebody else wrote there. Some of them: {lost[0]}." in capsys.readouterr().out
    )


def test_without_a_find_nobody_waits(redis_url: str, client: redis.Redis) -> None:
    waited: list[float] = []
    report = two_looks(Sweeper(client), Progress(), margin=15.0, dry_run=False, sleep=waited.append)

    assert (report.seen, waited) == (0, [])


def test_the_second_look_comes_after_the_margin(lost: list[str], client: redis.Redis) -> None:
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        time.sleep(seconds)

    report = two_looks(Sweeper(client, margin=0.0), Progress(), margin=0.5, dry_run=False, sleep=sleep)

    assert report.back == 2
    assert sum(waited) == pytest.approx(0.5, abs=0.2)


def test_dead_relay_workers_have_a_second_look(client: redis.Redis) -> None:
    looks = []
    report = two_looks(
        Sweeper(client, also=[lambda: looks.append(1) or len(looks) - 1]),
        Progress(),
        margin=0.0,
        dry_run=False,
        dead=lambda: True,
    )

    assert len(looks) == 2
    assert report.reclaimed == 1


def test_it_waits_for_another_sweeper(client: redis.Redis) -> None:
    client.set("trafficrelay:1:sweep:turn", "another", px=60_000)
    waited: list[float] = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        client.delete("trafficrelay:1:sweep:turn")

    report = two_looks(Sweeper(client), Progress(), margin=15.0, dry_run=False, sleep=sleep)

    assert report.swept
    assert waited == [1.0]


def test_a_redis_that_is_away_is_a_sentence_and_code_1(
    tmp_path: Path, target: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["sweep", target, "--redis", "redis://127.0.0.1:1"])

    assert code == 1
    assert capsys.readouterr().err == "trafficrelay: Redis does not answer. Sweep again when it does; that is safe.\n"


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["sweep", "--help"])

    assert "trafficrelay sweep shop.hooks:relay --dry-run" in capsys.readouterr().out
