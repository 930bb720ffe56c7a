"""SIGHUP takes new code while senders go on; code that does not load, and a closed terminal."""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import termios
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from trafficrelay.standalone.leaving import has_connections, stop_accepting
from trafficrelay.standalone.reload import changes, try_target

from .standalone_support import Run, embedded_client, environment, free_port_number, process_table
from .waiting import wait_until

pytestmark = pytest.mark.rq

CODE = """\
import logging
import multiprocessing
import os
import sys
import time
from pathlib import Path

from trafficrelay import DROP, Relay, Reply

IN_SERVER = multiprocessing.current_process().name == "granian-worker"
{more}
relay = Relay()


class Note(logging.NullHandler):
    def close(self):
        Path(f"left-{{os.getpid()}}").touch()
        super().close()


logging.getLogger("trafficrelay").addHandler(Note())


def tell(event):
    return Reply(200, body={{"id": event.id, "version": {version}}})


@relay.route("/in", verify=None, job="jobs.echo", queue="{queue}", reply=tell)
def take(event):
    return event.data


@relay.route("/version", verify=None, job="jobs.echo", queue="{queue}", reply=tell)
def drop(event):
    return DROP


@relay.route("/gate", verify=None, job="jobs.echo", queue="{queue}", reply=tell)
def wait_for_the_gate(event):
    Path("waiting").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return event.data


if IN_SERVER:
    Path(f"loaded-{{os.getpid()}}").touch()
"""

HANGS = "Path('hangs').touch()\ntime.sleep(600)"
SERVER_HANGS = f"if IN_SERVER:\n    {HANGS.splitlines()[0]}\n    time.sleep(600)"


def write(directory: Path, version: int, more: str = "", *, queue: str = "hooks") -> None:
    """Write the user's module, as a whole, and never twice with one length: a .pyc is known by that and the second."""
    text = CODE.format(version=version, more=more, queue=queue) + "#" * version
    (directory / "new").write_text(text)
    (directory / "new").rename(directory / "hooks.py")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write(tmp_path, 1)
    return tmp_path


@contextmanager
def serving(directory: Path, *options: str) -> Iterator[Run]:
    with Run(directory, "--no-worker", *options) as run:
        run.wait_until_up()
        # One that loads the code later would load what the test has made of it.
        processes = int(options[options.index("--processes") + 1]) if "--processes" in options else 1
        wait_until(lambda: len([*directory.glob("loaded-*")]) == processes, 20)
        yield run


def said(run: Run, text: str) -> int:
    """How often the run has said something."""
    return run.log.read_text().count(text)


def hang_up(run: Run) -> None:
    os.kill(run.process.pid, signal.SIGHUP)


def reload(run: Run) -> None:
    """Send SIGHUP and wait until the new code serves and the old processes have gone."""
    before, old = said(run, "serves."), run.find("multiprocessing.spawn")
    hang_up(run)
    wait_until(lambda: said(run, "serves.") > before, 20)
    wait_until(lambda: not old & set(process_table()), 20)


def send(connection: http.client.HTTPConnection, path: str = "/in") -> tuple[int, dict[str, Any]]:
    connection.request("POST", path, b'{"a": 1}', {"Content-Type": "application/json"})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def ask(run: Run, path: str) -> tuple[int, int]:
    """Send a request on a connection of its own, and give the status and which code answered."""
    with contextlib.closing(connect(run)) as connection:
        status, answer = send(connection, path)
        return status, int(answer["version"])


def version(run: Run) -> int:
    """Which code answers a new connection."""
    return ask(run, "/version")[1]


def connect(run: Run) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=20)
    connection.connect()
    return connection


class Senders:
    """Senders that go on: each request on a connection of its own, one after the other on one, now and then on one.

    Attributes:
        accepted: the ids of the events that were answered 2xx.
        failures: whatever else came of a request.
        versions: which code answered.
    """

    def __init__(self, run: Run) -> None:
        self.accepted: list[str] = []
        self.failures: list[str] = []
        self.versions: set[int] = set()
        self._run = run
        self._stop = threading.Event()
        pauses = [(True, 0.0), (True, 0.0), (False, 0.0), (False, 0.01), (False, 0.2), (False, 0.3)]
        self._threads = [threading.Thread(target=self._go_on, args=one) for one in pauses]

    def _go_on(self, new: bool, pause: float) -> None:
        connection: http.client.HTTPConnection | None = None
        while not self._stop.wait(pause):
            try:
                connection = connection or connect(self._run)
                status, answer = send(connection)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection = None
                continue
            if status == 200:
                self.accepted.append(answer["id"])
                self.versions.add(answer["version"])
            else:
                self.failures.append(str(status))
            if new or connection.sock is None:
                connection.close()
                connection = None
        if connection:
            connection.close()

    def __enter__(self) -> Senders:
        for thread in self._threads:
            thread.start()
        wait_until(lambda: len(self.accepted) > 20)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def queued(run: Run, queue: str = "hooks") -> list[str]:
    with embedded_client(run.directory / ".trafficrelay") as client:
        return [key.decode() for key in client.lrange(f"rq:queue:{queue}", 0, -1)]


@pytest.mark.parametrize("processes", [1, 2])
def test_new_code_is_taken_without_a_lost_request(directory: Path, processes: int) -> None:
    """While senders go on, SIGHUP takes new code several times: each request is answered 200, each event is queued."""
    with serving(directory, "--processes", str(processes)) as run:
        with Senders(run) as senders:
            for number in (2, 3):
                write(directory, number)
                reload(run)
                assert version(run) == number
        jobs = queued(run)

    assert senders.failures == []
    assert senders.versions == {1, 2, 3}
    assert sorted(jobs) == sorted(f"{id_}-1" for id_ in senders.accepted)


def test_an_old_process_takes_no_new_senders_and_waits_for_those_it_has(directory: Path) -> None:
    """Once it is said that the new code serves, it answers all new connections; kept ones are asked to come again."""
    with serving(directory) as run, contextlib.closing(connect(run)) as kept:
        assert send(kept)[1]["version"] == 1
        for number in (2, 3):
            write(directory, number)
            hang_up(run)
            wait_until(lambda: said(run, "serves."), 20)
        # There are two generations of processes at most.
        wait_until(lambda: said(run, "The next reload waits until the old server processes have ended."))
        versions = {version(run) for _ in range(100)}
        status, answer = send(kept)
        wait_until(lambda: said(run, "serves.") == 2, 20)

        assert versions == {2}
        assert (status, answer["version"]) == (200, 1)
        assert kept.sock is None  # it was told that the connection ends
        assert version(run) == 3


def test_an_old_process_leaves_in_order_when_its_last_request_has_been_answered(directory: Path) -> None:
    """A request that the old code works on is answered however long it takes, and then the old process shuts down."""
    answers: list[tuple[int, int]] = []
    with serving(directory, "--threads", "2") as run:
        (old,) = run.find("multiprocessing.spawn")
        sender = threading.Thread(target=lambda: answers.append(ask(run, "/gate")))
        sender.start()
        wait_until((directory / "waiting").exists)
        write(directory, 2)
        hang_up(run)
        wait_until(lambda: said(run, "serves."), 20)
        assert version(run) == 2
        assert not (directory / f"left-{old}").exists()
        (directory / "gate").touch()
        sender.join(10)
        wait_until(lambda: old not in process_table())

        assert answers == [(200, 1)]
        assert (directory / f"left-{old}").exists()


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A run whose code is broken and mended."""
    directory = tmp_path_factory.mktemp("steady")
    write(directory, 1)
    with serving(directory, "--processes", "2") as run:
        yield run


@pytest.mark.parametrize(
    ("number", "more", "reason"),
    [
        (2, "def", "hooks cannot be imported: SyntaxError"),
        (3, "sys.exit(7)", "hooks cannot be imported: SystemExit: 7 ("),
        (4, "os._exit(7)", "Loading it ended the process with code 7."),
        (5, "if IN_SERVER: raise ValueError", "A server process ended before it was ready; the reason is above."),
        (6, "del Relay; from trafficrelay import Event as Relay", "hooks cannot be imported: TypeError"),
    ],
    ids=["a syntax error", "exits", "ends its process", "fails in the server processes alone", "raises"],
)
def test_code_that_does_not_load_leaves_the_old_one_running(steady: Run, number: int, more: str, reason: str) -> None:
    """It is said why, and the same processes go on with the code that they have."""
    now = version(steady)
    before = steady.find("multiprocessing.spawn")
    write(steady.directory, number, more)
    with Senders(steady) as senders:
        hang_up(steady)
        sentence = f"trafficrelay: The new hooks:relay cannot be loaded; the old one goes on. {reason}"
        wait_until(lambda: said(steady, sentence), 20)
        wait_until(lambda: steady.find("multiprocessing.spawn") == before, 20)
        assert version(steady) == now

    assert senders.failures == []
    assert senders.versions == {now}


def test_mended_code_is_taken(steady: Run) -> None:
    """After code that did not load the next SIGHUP tries again."""
    before = said(steady, "cannot be loaded")
    write(steady.directory, 10, "def")
    hang_up(steady)
    wait_until(lambda: said(steady, "cannot be loaded") > before, 20)
    write(steady.directory, 11)
    reload(steady)

    assert version(steady) == 11


def test_many_hangups_are_one_reload_more(steady: Run) -> None:
    """SIGHUP that comes several times while a reload is under way leads to one more, with the newest code."""
    tried, served = said(steady, "Loading"), said(steady, "serves.")
    write(steady.directory, 21, "while not Path('go').exists(): time.sleep(0.01)")
    hang_up(steady)
    wait_until(lambda: said(steady, "Loading") > tried)
    for number in range(22, 26):
        write(steady.directory, number)
        hang_up(steady)
    (steady.directory / "go").touch()
    wait_until(lambda: said(steady, "serves.") == served + 2, 30)
    wait_until(lambda: len(steady.find("multiprocessing.spawn")) == 2, 20)

    assert version(steady) == 25
    assert said(steady, "Loading") == tried + 2


def test_queues_without_a_worker_are_named(steady: Run) -> None:
    """New code with a queue that the code before had not is told to need a worker."""
    write(steady.directory, 31, queue="more")
    reload(steady)

    assert ask(steady, "/in") == (200, 31)
    assert said(steady, "trafficrelay: New queues: more. They need workers")
    assert len(queued(steady, "more")) == 1


def test_what_workers_have_to_fit_is_compared() -> None:
    """Queues that are new and a serializer that is another one are worth a sentence; what is unknown is not."""
    before = {"queues": ["a"], "serializer": None}

    assert changes(before, {"queues": [], "serializer": None}) == []
    assert changes({}, {"queues": ["b"], "serializer": "json"}) == []
    (queues, serializer) = changes(before, {"queues": ["a", "b", "c"], "serializer": "json"})
    assert queues.startswith("New queues: b, c.")
    assert serializer.startswith("The serializer is another one.")


def test_new_code_is_not_said_to_serve_before_the_old_processes_have_left(steady: Run) -> None:
    """As long as an old process may still accept a connection, nobody is told that the new code answers them all."""
    old, before = steady.find("multiprocessing.spawn"), said(steady, "serves.")
    loaded = len([*steady.directory.glob("loaded-*")])
    write(steady.directory, 32)
    for pid in old:
        os.kill(pid, signal.SIGSTOP)
    hang_up(steady)
    wait_until(lambda: len([*steady.directory.glob("loaded-*")]) == loaded + 2, 20)
    versions = {version(steady) for _ in range(300)}
    told = said(steady, "serves.") - before
    for pid in old:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: said(steady, "serves.") > before)

    assert versions == {32}
    assert told == 0


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_ends_while_old_processes_leave(directory: Path, signum: signal.Signals) -> None:
    """An old process that waits for its senders ends with the run."""
    with serving(directory, "--stop-timeout", "2") as run, contextlib.closing(connect(run)) as kept:
        send(kept)
        write(directory, 2)
        hang_up(run)
        wait_until(lambda: said(run, "serves."), 20)
        run.processes()
        run.process.send_signal(signum)
        code = run.process.wait(15)
        wait_until(run.children_gone, 15)

    assert code == (0 if signum == signal.SIGTERM else -signal.SIGKILL)


@pytest.mark.parametrize("more", [HANGS, SERVER_HANGS], ids=["while it is tried", "while new processes start"])
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_run_that_ends_during_a_reload(directory: Path, more: str, signum: signal.Signals) -> None:
    """SIGTERM and SIGKILL of the main process end everything, whatever the new code is at."""
    with serving(directory, "--stop-timeout", "2") as run:
        write(directory, 2, more)
        hang_up(run)
        wait_until((directory / "hangs").exists, 20)
        run.processes()
        assert ask(run, "/in") == (200, 1)
        run.process.send_signal(signum)
        code = run.process.wait(15)
        wait_until(run.children_gone, 15)

    assert code == (0 if signum == signal.SIGTERM else -signal.SIGKILL)
    assert "Traceback" not in run.log.read_text()


def test_code_that_hangs_is_given_up(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that tries it is killed, with whatever the import has started."""
    monkeypatch.chdir(directory)
    write(directory, 2, "os.fork()\nwith open('pids', 'a') as file: file.write(f'{os.getpid()}\\n')\n" + HANGS)

    def both_hang() -> bool:
        return (directory / "pids").exists() and len((directory / "pids").read_text().split()) == 2

    reason = try_target("hooks:relay", "redis://127.0.0.1:1", given_up=both_hang)
    pids = {int(pid) for pid in (directory / "pids").read_text().split()}
    wait_until(lambda: not pids & set(process_table()))

    assert reason == "It was given up."
    assert try_target("hooks:relay", None, timeout=0.1) == "It does not load within 0.1 seconds."


def test_what_was_not_answered_is_logged(directory: Path) -> None:
    """A request that is not answered within --stop-timeout is cut off, and the log says so."""
    with (
        serving(directory, "--stop-timeout", "1", "--threads", "2") as run,
        contextlib.closing(connect(run)) as connection,
    ):
        connection.request("POST", "/gate", b"{}", {"Content-Type": "application/json"})
        wait_until((directory / "waiting").exists)
        code = run.end()

    assert code == 0
    assert "Cut off after 1 s, unanswered requests: 1.\n" in run.log.read_text()


class TerminalRun(Run):
    """A run in a terminal of its own, as its session's leader."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port_number()
        self.known = set()
        self.log = directory / "log"
        self.terminal, inside = pty.openpty()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "trafficrelay", "run", "hooks:relay", "--port", str(self.port), "--no-worker"],
                cwd=directory,
                env=environment(),
                stdin=inside,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509 - it holds no lock
            )
        os.close(inside)


def test_a_closed_terminal_ends_the_run(directory: Path) -> None:
    """SIGHUP takes new code while the terminal is there, and ends the run once it is closed."""
    with TerminalRun(directory) as run:
        run.wait_until_up()
        write(directory, 2)
        reload(run)
        assert version(run) == 2
        os.close(run.terminal)  # of which the kernel tells by SIGHUP
        code = run.process.wait(15)
        wait_until(run.children_gone)

    assert code == 0
    assert said(run, "Loading") == 1


def test_nohup_stays(directory: Path) -> None:
    """A run that was started with SIGHUP ignored goes on ignoring it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with serving(directory) as run:
            hang_up(run)
            assert ask(run, "/in") == (200, 1)
            code = run.end()
    finally:
        signal.signal(signal.SIGHUP, before)

    assert code == 0
    assert said(run, "Loading") == 0


def test_a_socket_that_is_left_goes_on_for_others() -> None:
    """Who stops accepting resets no connection that waits; the others who have the socket take it."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(fileno=os.dup(listener.fileno())) as other:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as sender:
            stop_accepting(other.fileno())
            other.setblocking(False)
            with pytest.raises(BlockingIOError):
                other.accept()
            taken, _ = wait_until(listener.accept)
            with taken:
                sender.sendall(b"x")

                assert taken.recv(1) == b"x"
                assert has_connections(port)
        assert not has_connections(port)
