"""Relays from relay.toml in real processes: the standalone server, gunicorn, workers and commands."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from rq.registry import FailedJobRegistry, FinishedJobRegistry

from trafficrelay.config.finding import CONFIG_VARIABLE
from trafficrelay.errors import ConfigError, TargetError
from trafficrelay.standalone.target import load_target

from .config_support import write
from .receiver import receiving
from .standalone_support import ROOT, Run, environment, free_port_number, get, post, process_table
from .waiting import wait_until

pytestmark = pytest.mark.rq

HOOKS = """\
from pathlib import Path


def mended(event):
    if not Path("mended").exists():
        raise ValueError("not yet")
    return event.data
"""

JOBS = """\
from pathlib import Path


def note(data):
    with Path("done").open("a") as file:
        file.write(f"{data}\\n")
"""

RELAY = """\
[[route]]
path = "/in"
verify = "none"
job = "toml_jobs.note"
queue = "hooks"
reply = { body = { version = VERSION } }

[[route]]
path = "/broken"
verify = { provider = "bearer", token_env = "TOKEN" }
job = "toml_jobs.note"
queue = "hooks"
transforms = ["toml_hooks.mended"]
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "toml_hooks.py").write_text(HOOKS)
    (tmp_path / "toml_jobs.py").write_text(JOBS)
    write_relay(tmp_path, 1)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    monkeypatch.setenv("TOKEN", "t0ken")
    # Set and taken away, so that what `load_target` sets does not outlast the test.
    monkeypatch.setenv(CONFIG_VARIABLE, "")
    monkeypatch.delenv(CONFIG_VARIABLE)
    yield tmp_path
    for name in ("toml_hooks", "toml_jobs", "trafficrelay.configured"):
        sys.modules.pop(name, None)


def write_relay(folder: Path, version: int, more: str = "") -> Path:
    write(folder, RELAY.replace("VERSION", str(version)) + more, "new")
    return (folder / "new").rename(folder / "relay.toml")


def command(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run `trafficrelay`."""
    return subprocess.run(
        [sys.executable, "-m", "trafficrelay", *words],
        cwd=folder,
        env=environment(TOKEN="t0ken", **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def stock_worker(folder: Path, url: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run RQ's own worker until there is no more work."""
    return subprocess.run(
        [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", url, "hooks"],
        cwd=folder,
        env=environment(TOKEN="t0ken", **more),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@contextlib.contextmanager
def gunicorn(folder: Path, **more: str) -> Iterator[int]:
    """Serve `trafficrelay.wsgi:app`, and give the port."""
    pytest.importorskip("gunicorn")
    port = free_port_number()
    words = ["-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--no-control-socket", "trafficrelay.wsgi:app"]
    with (folder / "gunicorn.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, *words], cwd=folder, env=environment(TOKEN="t0ken", **more), stdout=log, stderr=log
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "gunicorn.log").read_text()
        with contextlib.suppress(OSError):
            return get(port, "/-/health")[0] == 200
        return False

    try:
        wait_until(answers, 20)
        yield port
    finally:
        process.terminate()
        process.wait(20)


# As a target


def test_a_file_is_a_target(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it names is found beside it and in the working directory, and processes that are started find it too."""
    (folder / "inner").mkdir()
    monkeypatch.chdir(folder / "inner")
    relay = load_target("../relay.toml")

    assert [route.rule for route in relay.routes] == ["/in", "/broken"]
    assert os.environ[CONFIG_VARIABLE] == str(folder / "inner" / ".." / "relay.toml")
    assert {str(folder / "inner" / ".."), str(folder / "inner")} <= set(sys.path)
    assert relay._module == "trafficrelay.configured"


def test_a_target_is_read_anew_each_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    first = load_target("relay.toml")
    write_relay(folder, 2, '\n[[route]]\npath = "/more"\nverify = "none"\njob = "a.b"\n')

    assert len(load_target("relay.toml").routes) == len(first.routes) + 1


def test_what_is_wrong_with_a_file_is_said_as_such(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    write_relay(folder, 1, "qeue = 1\n")

    with pytest.raises(TargetError, match=r"There is no file 'other\.toml' here"):
        load_target("other.toml")
    with pytest.raises(ConfigError, match=r"relay\.toml, line 14, \[\[route\]\] 2 \(/broken\), qeue: There is no such"):
        load_target("relay.toml")


# The standalone server


def test_run_serves_it_and_its_worker_finds_the_jobs_beside_it(folder: Path) -> None:
    """From another directory too; and it runs a dead letter again by the file's relay."""
    here = folder / "elsewhere"
    here.mkdir()
    with Run(here, target="../relay.toml", TOKEN="t0ken") as run:
        run.wait_until_up()
        answer = post(run.port, "/in", b'{"n": 1}')
        wait_until(lambda: (here / "done").exists() and (here / "done").read_text() == "{'n': 1}\n", 20)
        post(run.port, "/broken", b'{"n": 2}', {"Authorization": "Bearer t0ken"})
        (here / "mended").touch()
        replayed = command(here, "replay", "../relay.toml")
        wait_until(lambda: "{'n': 2}" in (here / "done").read_text(), 20)

    assert answer == (200, {"version": 1})
    assert replayed.returncode == 0, replayed.stderr


def test_the_lines_that_run_prints_can_be_pasted(folder: Path, redis_url: str) -> None:
    """The worker's line is for this file."""
    with Run(folder, "--redis", redis_url, target="relay.toml", TOKEN="t0ken") as run:
        run.wait_until_up()
        post(run.port, "/in", b'{"n": 1}')
        (line,) = [line for line in run.log.read_text().splitlines() if line.startswith("  trafficrelay worker")]
        done = command(folder, *shlex.split(line)[1:], "--burst")

    assert line.split()[2] == "relay.toml"
    assert done.returncode == 0, done.stderr
    assert (folder / "done").read_text() == "{'n': 1}\n"


def test_a_changed_file_counts_after_sighup_and_a_broken_one_leaves_the_old(folder: Path) -> None:
    def said(text: str) -> int:
        return run.log.read_text().count(text)

    with Run(folder, "--no-worker", target="relay.toml", TOKEN="t0ken") as run:
        run.wait_until_up()
        before = _version(run.port)
        write_relay(folder, 2)
        old = run.find("multiprocessing.spawn")
        os.kill(run.process.pid, signal.SIGHUP)
        wait_until(lambda: said("The new relay.toml serves."), 20)
        wait_until(lambda: not old & set(process_table()), 20)
        changed = _version(run.port)
        write_relay(folder, 3, "qeue = 1\n")
        os.kill(run.process.pid, signal.SIGHUP)
        wait_until(lambda: said("The new relay.toml cannot be loaded; the old one goes on."), 20)
        kept = _version(run.port)

    assert (before, changed, kept) == (1, 2, 2)
    assert said("[[route]] 2 (/broken), qeue: There is no such key. Did you mean queue?") == 1


def _version(port: int) -> int:
    return int(post(port, "/in", b"{}")[1]["version"])


def imported(folder: Path, code: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a line of Python."""
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(**more), capture_output=True, text=True, check=False
    )


# WSGI servers and workers


def test_gunicorn_serves_it_and_a_stock_worker_finds_it_again(
    folder: Path, redis_url: str, client: redis.Redis
) -> None:
    """From another directory: the file says where it lies. The dead letter is run by the file's relay."""
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    where = {CONFIG_VARIABLE: str(folder / "relay.toml"), "TRAFFICRELAY_REDIS_URL": redis_url}
    with gunicorn(elsewhere, **where) as port:
        refused = post(port, "/broken", b'{"n": 1}', {"Authorization": "Bearer wrong"})
        taken = post(port, "/broken", b'{"n": 1}', {"Authorization": "Bearer t0ken"})
    letters = FailedJobRegistry("hooks", connection=client)
    (letter,) = letters.get_job_ids()
    letters.requeue(letter)
    (elsewhere / "mended").touch()
    # The jobs are the worker's own business: it has to be able to import them.
    done = stock_worker(elsewhere, redis_url, PYTHONPATH=f"{ROOT}{os.pathsep}{folder}", **where)

    assert (refused[0], taken[0]) == (401, 202)
    assert letters.get_job_ids() == [], done.stderr
    assert (elsewhere / "done").read_text() == "{'n': 1}\n"


def test_a_stock_worker_makes_the_deliveries_of_a_file(folder: Path, redis_url: str, client: redis.Redis) -> None:
    """It looks the URL and the headers up in the file again, and their secrets in its own environment."""
    with receiving() as receiver:
        write(
            folder,
            f"""
            [relay]
            redis_env = "REDIS"

            [[route]]
            path = "/out"
            verify = "none"
            queue = "hooks"
            transforms = [{{ keep = ["n"] }}]

            [[route.deliver]]
            url = "{receiver.url}/hook"
            allow = ["127.0.0.1"]
            headers = {{ X-Token = {{ env = "TOKEN" }} }}
            """,
        )
        with Run(folder, "--no-worker", target="relay.toml", TOKEN="t0ken", REDIS=redis_url) as run:
            run.wait_until_up()
            post(run.port, "/out", b'{"n": 1, "more": 2}')
        done = stock_worker(folder, redis_url, REDIS=redis_url)
        (request,) = receiver.requests

    assert (request.path, request.body, request.headers["x-token"]) == ("/hook", b'{"n":1}', "t0ken")
    assert len(FinishedJobRegistry("hooks", connection=client)) == 1, done.stderr


def test_gunicorn_says_what_is_missing(folder: Path) -> None:
    """In a directory without a file, and with a file that cannot be."""
    (folder / "elsewhere").mkdir()
    bare = imported(folder / "elsewhere", "import trafficrelay.wsgi")
    empty = imported(folder, "import trafficrelay.wsgi", TOKEN="")
    unbound = imported(folder, "import trafficrelay.wsgi")

    assert f"ConfigError: There is no file {folder}/elsewhere/relay.toml. Name another one with {CONFIG_VARIABLE}." in (
        bare.stderr
    )
    assert "relay.toml, line 10, [[route]] 2 (/broken), verify.token_env: The environment variable TOKEN is empty." in (
        empty.stderr
    )
    assert 'relay.toml names no Redis. Say redis = "redis://localhost:6379/0" or redis_env = "…"' in unbound.stderr


# Commands


def test_worker_works_off_what_a_file_names(folder: Path, redis_url: str) -> None:
    with Run(folder, "--redis", redis_url, target="relay.toml", TOKEN="t0ken") as run:
        run.wait_until_up()
        post(run.port, "/in", b'{"n": 1}')
    done = command(folder, "worker", "relay.toml", "--redis", redis_url, "--burst")

    assert done.returncode == 0, done.stderr
    assert (folder / "done").read_text() == "{'n': 1}\n"


def test_check_looks_at_a_file(folder: Path, redis_url: str) -> None:
    """What it finds in Redis; and a faulty file is wrong usage."""
    good = command(folder, "check", "relay.toml", "--redis", redis_url)
    write_relay(folder, 1, 'qeue = "x"\ntimeout = "soon"\n')
    bad = command(folder, "check", "relay.toml", "--redis", redis_url)

    assert good.returncode == 0, good.stdout + good.stderr
    assert bad.returncode == 2
    first, second = bad.stderr.splitlines()
    assert first == (
        "trafficrelay: relay.toml, line 14, [[route]] 2 (/broken), qeue: There is no such key. Did you mean queue?"
    )
    assert second.startswith("relay.toml, line 15, [[route]] 2 (/broken), timeout: This is a time, in whole seconds or")


def test_the_relay_of_a_file_costs_workers_no_more_than_one_in_python(folder: Path) -> None:
    """Importing the package imports nothing of configurations."""
    code = "import sys, trafficrelay; print([name for name in sys.modules if 'config' in name and 'relay' in name])"
    done = imported(folder, code)

    assert done.stdout.strip() == "[]"
