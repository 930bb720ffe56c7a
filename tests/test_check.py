"""`trafficrelay check`, and what `run` refuses: what would lose events is said before it happens."""

from __future__ import annotations

import importlib
import io
import json
import re
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from rq.scheduler import RQScheduler
from rq.worker import BaseWorker, SimpleWorker, Worker

from tests.servers import own_valkey
from trafficrelay import Relay
from trafficrelay.body import packages
from trafficrelay.checkup import Finding, of_redis, of_routes
from trafficrelay.cli import main
from trafficrelay.outbox.durability import Durability
from trafficrelay.outbox.spool_file import Entry, SpoolFile
from trafficrelay.verify import calendly, github, meta, standard_webhooks
from trafficrelay.worker import RelayWorker
from trafficrelay.worker.ledger import Ledger

from .standalone_support import Run, embedded_client, free_port_number
from .support import make_route

pytestmark = pytest.mark.rq

HOOKS = """\
from trafficrelay import Relay
from trafficrelay.verify import github

relay = Relay({options})
relay.route("/github", verify=github("s"), job="jobs.echo", failure_ttl="7d")(lambda event: event.data)
"""

NO_WORKER = "warning  queue default  No worker listens on it"
WHSEC = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "jobs.py").write_text("def echo(data):\n    return data\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] in ("hooks", "jobs", "shop")]:
        sys.modules.pop(name)


def check(directory: Path, *arguments: str, options: str = "") -> tuple[int, str, str]:
    (directory / "hooks.py").write_text(HOOKS.format(options=options))
    return run(*arguments)


def run(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(["check", "hooks:relay", *arguments])
    # What stands in columns, without what makes them columns.
    return code, re.sub("  +", "  ", out.getvalue()), err.getvalue()


def declare(directory: Path, *routes: str) -> None:
    """Write a module with routes, whose options are given, on the queue `hooks`."""
    lines = [f'relay.add(Route("/{number}", verify=None, {route}))' for number, route in enumerate(routes)]
    text = ["from trafficrelay import Relay, Route, To", 'relay = Relay(spool="spool.db")', *lines, ""]
    (directory / "hooks.py").write_text("\n".join(text))


@pytest.fixture(scope="module")
def forgetful() -> Iterator[str]:
    """A Redis that keeps nothing."""
    with own_valkey() as server:
        yield server.connection_url


def test_a_relay_with_nothing_to_fear_is_fine(directory: Path, redis_url: str) -> None:
    """Notes are no faults."""
    code, out, _ = check(directory, "--redis", redis_url, options='spool="spool.db"')

    assert code == 0
    assert "\nfault" not in f"\n{out}"
    assert "warning" not in out.replace(NO_WORKER, "")


def test_a_redis_that_keeps_nothing_is_a_fault(directory: Path, forgetful: str) -> None:
    """With what to do about it."""
    code, out, _ = check(directory, "--redis", forgetful)

    assert code == 1
    assert "fault  redis  Redis keeps no append-only file" in out


def test_a_redis_that_keeps_nothing_can_be_put_up_with(directory: Path, forgetful: str) -> None:
    """It is a warning then."""
    code, out, _ = check(directory, "--redis", forgetful, "--lossy-redis", "warn")

    assert code == 0
    assert "warning  redis  Redis keeps no append-only file" in out


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
    assert "fault  redis  Redis does not answer" in out
    assert "fault  spool  " in out


def test_without_a_redis_all_else_is_looked_at_and_then_where_one_could_be_is_said(directory: Path) -> None:
    """No run of its own goes on either."""
    (directory / "jobs.py").write_text("def ecko(data):\n    return data\n")
    code, out, err = check(directory)

    assert code == 2
    assert re.search("fault +/github +Its job jobs.echo would fail: .*jobs.py has no echo. Did you mean ecko?", out)
    assert err.startswith("trafficrelay: No Redis was looked at. hooks:relay has no Redis")
    assert "--redis" in err


def test_without_a_redis_a_machine_is_not_told_that_all_is_well(directory: Path) -> None:
    code, out, _ = check(directory, "--json", "--no-jobs")

    assert code == 2
    assert json.loads(out)["ok"] is False


def test_hints_for_a_file_are_in_the_words_of_a_file(directory: Path) -> None:
    (directory / "relay.toml").write_text('[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"\n')
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(io.StringIO()):
        main(["check", "relay.toml", "--no-jobs"])

    assert 'spool = "spool.db" under [relay] would keep it' in out.getvalue()
    assert "say failure_ttl." in out.getvalue()
    assert "Relay(" not in out.getvalue()


def test_what_lies_in_the_spool_is_said(directory: Path, redis_url: str) -> None:
    """Above all what is held there and nobody looks for."""
    entry = Entry(id="0" * 32, count=1, dedupe=None, route="/github", since=0.0, doubtful=False, payload=b"{}")
    with closing(SpoolFile(directory / "spool.db", max_size=1 << 20)) as file:
        file.add([entry, replace(entry, id="1" * 32)])
        file.hold(file.take(1)[0].seq, "broken")
    code, out, _ = check(directory, "--redis", redis_url, options='spool="spool.db"')

    assert code == 0
    assert "warning  spool  1 events are held" in out
    assert "note  spool  1 events wait" in out


def test_a_redis_that_cannot_take_an_event_is_a_fault(directory: Path, client: redis.Redis, redis_url: str) -> None:
    """It is tried with one; what it answers else says little."""
    client.config_set("min-replicas-to-write", "1")
    try:
        code, out, _ = check(directory, "--redis", redis_url)
    finally:
        client.config_set("min-replicas-to-write", "0")

    assert code == 1
    assert "fault  redis  Redis refused the event" in out


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
        # It tries again, and its events have no id; those of Standard Webhooks have one.
        (None, {"verify": calendly("s")}, ["note"]),
        (None, {"verify": standard_webhooks(WHSEC)}, []),
        (None, {"verify": standard_webhooks(WHSEC), "dedupe": None}, ["note"]),
        (None, {"verify": meta("s", verify_token="t"), "dedupe": "data:id"}, []),
        (None, {"verify": meta("s"), "dedupe": "data:id"}, ["note"]),
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


@pytest.mark.parametrize("job", ["echo", "ecko"])
def test_run_says_which_jobs_its_worker_could_not_import_and_starts(directory: Path, job: str) -> None:
    """Whatever their module prints, and without a word where all is well."""
    (directory / "hooks.py").write_text(HOOKS.format(options=""))
    (directory / "jobs.py").write_text(f"print('mine')\n\n\ndef {job}(data):\n    return data\n")
    with Run(directory) as run:
        run.wait_until_up()
        said = run.log.read_text()

    assert ("trafficrelay: /github: Its job jobs.echo would fail: " in said) is (job == "ecko")
    assert ("Did you mean ecko?" in said) is (job == "ecko")
    assert "mine" not in said


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


# Jobs


@pytest.mark.parametrize(
    ("job", "module", "fault"),
    [
        ("jobs.echo", "", ""),
        ("shop.jobs.on_push", "def on_push(data): pass", ""),
        ("shop.jobs.Jobs.on_push", "class Jobs:\n    @staticmethod\n    def on_push(data): pass", ""),
        ("shop.jobs.on_psh", "def on_push(data): pass", "shop/jobs.py has no on_psh. Did you mean on_push?"),
        ("shop.jbos.on_push", "", "There is no module shop.jbos in {here}/shop."),
        ("jobs.more.on_push", "", "There is no module jobs.more in jobs, which is no package ({here}/jobs.py)."),
        ("shopp.jobs.on_push", "", "There is no module shopp in {here}, "),
        ("shop.jobs.on_push", "import nosuch", "shop.jobs cannot be imported: ModuleNotFoundError: No module named"),
        ("shop.jobs.on_push", "1 / 0", "shop.jobs cannot be imported: ZeroDivisionError: division by zero ({here}"),
        ("shop.jobs.on_push", "def (", "shop.jobs cannot be imported: SyntaxError: "),
        ("shop.jobs.on_push", "import sys; sys.exit('no')", "shop.jobs cannot be imported: SystemExit: no"),
        ("shop.jobs.on_push", "on_push = 7", "shop.jobs.on_push is no function; its type is int."),
    ],
)
def test_a_job_that_no_worker_could_import_is_a_fault(
    directory: Path, redis_url: str, job: str, module: str, fault: str
) -> None:
    """With the reason and where it was looked for."""
    (directory / "shop").mkdir()
    (directory / "shop/__init__.py").write_text("")
    (directory / "shop/jobs.py").write_text(module)
    declare(directory, f'job="{job}"')
    code, out, _ = run("--redis", redis_url)

    assert code == bool(fault)
    assert (f"fault  /0  Its job {job} would fail: " in out) is bool(fault)
    assert fault.format(here=directory) in out


def test_jobs_of_a_fan_out_are_imported_too_and_those_chosen_for_each_event_are_not(
    directory: Path, redis_url: str
) -> None:
    declare(directory, 'to=[To("jobs.echo"), To("jobs.gone")]', 'job=lambda event: "jobs.lost"')
    code, out, _ = run("--redis", redis_url)

    assert code == 1
    assert "jobs.gone would fail" in out
    assert "jobs.lost" not in out


def test_jobs_whose_code_is_elsewhere_need_not_be_imported(directory: Path, redis_url: str) -> None:
    declare(directory, 'job="elsewhere.on_push"')

    assert run("--redis", redis_url)[0] == 1
    assert run("--redis", redis_url, "--no-jobs")[0] == 0


def test_what_the_modules_of_jobs_print_is_not_in_the_document(directory: Path, redis_url: str) -> None:
    (directory / "jobs.py").write_text("print('hello')\ndef echo(data): pass\n")
    declare(directory, 'job="jobs.echo"')
    _, out, err = run("--redis", redis_url, "--json")

    assert json.loads(out)["ok"] is True
    assert err == "hello\n"


# Workers


@contextmanager
def listening(kind: type[BaseWorker], url: str, *queues: str, scheduler: bool = False) -> Iterator[None]:
    """Register a worker as one that has just started, with what it says of itself in Redis."""
    connection = redis.Redis.from_url(url)
    worker = kind(list(queues), connection=connection)
    scheduling = RQScheduler(worker.queues, connection=connection) if scheduler else None
    worker.register_birth()
    if scheduling is not None:
        scheduling.acquire_locks()
    if kind is RelayWorker:
        Ledger(connection, worker.name, max_deaths=5).beat([], worker_ttl=60, aloud=False)
    try:
        yield
    finally:
        if scheduling is not None:
            scheduling.release_locks()
        worker.register_death()
        connection.close()


def test_a_queue_without_a_worker_is_a_warning(directory: Path, redis_url: str) -> None:
    """With --strict that counts."""
    declare(directory, 'job="jobs.echo", queue="hooks"')
    code, out, _ = run("--redis", redis_url)

    assert code == 0
    assert "warning  queue hooks  No worker listens on it" in out
    assert "`rq worker hooks`" in out
    assert run("--redis", redis_url, "--strict")[0] == 1


@pytest.mark.parametrize("kind", [Worker, RelayWorker])
def test_a_queue_with_a_worker_is_none(directory: Path, redis_url: str, kind: type[BaseWorker]) -> None:
    declare(directory, 'job="jobs.echo", queue="hooks", failure_ttl=60')
    with listening(kind, redis_url, "hooks"):
        code, out, _ = run("--redis", redis_url, "--strict")

    assert code == 0
    assert "warning" not in out


def test_a_redis_that_does_not_tell_its_workers_is_no_fault(
    directory: Path, client: redis.Redis, redis_url: str
) -> None:
    """A web process may have a user who is allowed what it needs and no more."""
    declare(directory, 'job="jobs.echo", queue="hooks"')
    client.acl_setuser(
        "web", enabled=True, passwords=["+pw"], keys=["*"], channels=["*"], commands=["+@all", "-smembers"]
    )
    try:
        code, out, _ = run("--redis", redis_url.replace("redis://", "redis://web:pw@"))
    finally:
        client.acl_deluser("web")

    assert code == 0
    assert "note  workers  Which workers there are cannot be told. " in out


def test_a_worker_that_has_ended_is_none(directory: Path, redis_url: str) -> None:
    declare(directory, 'job="jobs.echo", queue="hooks"')
    with listening(Worker, redis_url, "hooks"):
        pass

    assert "No worker listens" in run("--redis", redis_url)[1]


def test_a_killed_worker_that_rq_still_lists_is_none(directory: Path, client: redis.Redis, redis_url: str) -> None:
    declare(directory, 'job="jobs.echo", queue="hooks"')
    client.sadd("rq:workers", "rq:worker:gone")

    assert "No worker listens" in run("--redis", redis_url)[1]
    assert client.sismember("rq:workers", "rq:worker:gone")


@pytest.mark.parametrize(
    ("options", "kind", "scheduler", "warned"),
    [
        ("retry=[10]", Worker, False, True),
        ("delay=60", Worker, False, True),
        ("retry=3", Worker, False, False),
        ("retry=[10]", Worker, True, False),
        ("retry=[10]", RelayWorker, False, False),
    ],
)
def test_waits_without_a_scheduler_are_a_warning(
    directory: Path, redis_url: str, options: str, kind: type[BaseWorker], scheduler: bool, warned: bool
) -> None:
    """A RelayWorker always runs one."""
    declare(directory, f'job="jobs.echo", queue="hooks", {options}')
    with listening(kind, redis_url, "hooks", scheduler=scheduler):
        out = run("--redis", redis_url)[1]

    assert ("Jobs of /0 wait for a scheduler, and none runs on this queue" in out) is warned
    assert "Its jobs wait for a scheduler: run" not in out


def test_a_delivery_and_a_target_of_its_own_wait_too(directory: Path, redis_url: str) -> None:
    declare(
        directory,
        'deliver="https://shop.example/in", queue="out"',
        'to=[To("jobs.echo", queue="hooks", delay=5), To("jobs.echo", queue="out")]',
    )
    with listening(Worker, redis_url, "hooks"), listening(Worker, redis_url, "out"):
        out = run("--redis", redis_url)[1]

    assert "queue hooks  Jobs of /1 wait" in out
    assert "queue out  Jobs of /0 wait" in out


@pytest.mark.parametrize(("kind", "warned"), [(Worker, True), (SimpleWorker, True), (RelayWorker, False)])
def test_stock_workers_on_several_queues_are_a_warning(
    directory: Path, redis_url: str, kind: type[BaseWorker], warned: bool
) -> None:
    """A RelayWorker loses nothing, on however many."""
    declare(directory, 'job="jobs.echo", queue="hooks"')
    with listening(kind, redis_url, "hooks", "others"):
        out = run("--redis", redis_url)[1]

    assert ("of RQ's own on several queues" in out) is warned


def test_workers_of_other_programs_are_left_out(directory: Path, redis_url: str) -> None:
    declare(directory, 'job="jobs.echo", queue="hooks"')
    with listening(Worker, redis_url, "hooks"), listening(Worker, redis_url, "others", "more"):
        out = run("--redis", redis_url)[1]

    assert "several queues" not in out


def test_stock_workers_of_a_relay_that_writes_json_are_told_of(directory: Path, redis_url: str) -> None:
    """Which serializer a worker has it says nowhere."""
    with listening(Worker, redis_url, "default"):
        out = check(directory, "--redis", redis_url, options='serializer="json"')[1]

    assert "give --serializer json" in out


def test_queues_that_are_chosen_for_each_event_are_said_to_be_unknown(directory: Path, redis_url: str) -> None:
    declare(directory, 'job="jobs.echo", queue=lambda event: "a"')

    assert "whether those have workers cannot be told" in run("--redis", redis_url)[1]


@pytest.mark.parametrize(("missing", "said"), [((), ""), (("brotli", "multipart"), "multipart or compressed with br ")])
def test_bodies_that_cannot_be_read_here_are_said(
    directory: Path, redis_url: str, missing: tuple[str, ...], said: str
) -> None:
    found = packages.found
    with mock.patch.object(packages, "found", lambda one: None if one.modules[0] in missing else found(one)):
        out = check(directory, "--redis", redis_url)[1]

    assert (f"note  bodies  Bodies that are {said}" in out) is bool(missing)
