"""The systemd units, the Procfile and the Dockerfile: their commands are run as plain processes."""

from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from rq import Queue

from .deploying_support import (
    DEPLOY,
    PUSH,
    answers,
    make_certificate,
    program,
    push_headers,
    running,
    shop,
)
from .standalone_support import ROOT, free_port_number, post
from .support import jobs_in
from .test_connection import a_tls_proxy
from .waiting import wait_until

pytestmark = pytest.mark.rq

UNITS = ["trafficrelay@.service", "trafficrelay-worker.service"]
PROGRAM = "/srv/shop/.venv/bin/trafficrelay"
DONE = "ada/engine: 2 commits"


def unit(name: str) -> str:
    return (DEPLOY / "systemd" / name).read_text("utf-8")


def settings(name: str) -> dict[str, str]:
    """Read a unit's settings; of several with one name the last counts."""
    return dict(re.findall(r"^(\w+)=(.*)$", unit(name), re.MULTILINE))


def exec_start(name: str, port: int = 0) -> str:
    return "exec " + settings(name)["ExecStart"].replace(PROGRAM, "trafficrelay").replace("%i", str(port))


def relay_env(directory: Path, url: str) -> dict[str, str]:
    """Read relay.env as systemd does, with the Redis and the directory of a test."""
    lines = [line for line in (DEPLOY / "relay.env").read_text("utf-8").splitlines() if not line.startswith("#")]
    said = {name: " ".join(shlex.split(value)) for name, value in (line.split("=", 1) for line in lines)}
    assert said.pop("GITHUB_SECRET") == "change-me"
    state = "/var/lib/" + settings(UNITS[0])["StateDirectory"]
    assert Path(said["SHOP_SPOOL"]).parent == Path(state)
    return said | {"TRAFFICRELAY_REDIS_URL": url, "SHOP_SPOOL": said["SHOP_SPOOL"].replace(state, str(directory))}


def option(command: str, name: str) -> int:
    words = shlex.split(command)
    return int(words[words.index(name) + 1])


@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_wrong_with_a_unit(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    # That the program is not installed here is all that it may say.
    file.write_text(unit(name).replace(PROGRAM, "/bin/true"))
    found = subprocess.run(
        [program("systemd-analyze"), "verify", str(file)], capture_output=True, text=True, check=False, timeout=60
    )

    assert (found.returncode, found.stdout + found.stderr) == (0, "")


@pytest.mark.parametrize("name", UNITS)
def test_systemd_calls_a_units_exposure_low(name: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(unit(name))
    # From 0, none, to 100. Without any of these settings it is 96.
    command = [program("systemd-analyze"), "security", "--offline=true", "--threshold=20", "--no-pager", str(file)]
    found = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    if "unrecognized option" in found.stderr:
        pytest.skip("this systemd is older than 250")

    assert found.returncode == 0, found.stdout[-300:] + found.stderr


def test_the_units_commands_take_a_webhook_and_run_its_job(tmp_path: Path, redis_url: str, client: redis.Redis) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "relay.log"
    env = relay_env(tmp_path, redis_url)
    with running(exec_start(UNITS[0], port), tmp_path, "relay.log", **env) as relay:
        wait_until(lambda: answers(port, relay, log, "/-/ready"), 20)
        answered, _ = post(port, "/github", PUSH, push_headers())
        assert (answered, jobs_in(client, "hooks")) == (202, 1)

        with running(exec_start(UNITS[1]), tmp_path, "worker.log", **env) as worker:
            wait_until(lambda: DONE in (tmp_path / "worker.log").read_text(), 20)
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(20) == 0
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(20) == 0

    assert (tmp_path / "spool.db").exists()


def test_sigterm_lets_the_request_that_is_on_its_way_be_answered(tmp_path: Path, redis_url: str) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "relay.log"
    lines = {"Host": "x", "Content-Type": "application/json", "Content-Length": str(len(PUSH)), **push_headers()}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    with running(exec_start(UNITS[0], port), tmp_path, "relay.log", **relay_env(tmp_path, redis_url)) as relay:
        wait_until(lambda: answers(port, relay, log), 20)
        with socket.create_connection(("127.0.0.1", port), 20) as sender:
            sender.sendall(f"POST /github HTTP/1.1\r\n{head}\r\n".encode() + PUSH[:10])
            # Its header has been read when a later request has been answered.
            wait_until(lambda: answers(port, relay, log))
            relay.send_signal(signal.SIGTERM)
            wait_until(lambda: _refused(port))
            sender.sendall(PUSH[10:])
            answer = sender.recv(1000)
        code = relay.wait(20)

    assert answer.startswith(b"HTTP/1.1 202 ")
    assert code == 0


def _refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def test_the_units_reload_brings_new_code(tmp_path: Path, redis_url: str) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "relay.log"
    with running(exec_start(UNITS[0], port), tmp_path, "relay.log", **relay_env(tmp_path, redis_url)) as relay:
        wait_until(lambda: answers(port, relay, log), 20)
        hooks = tmp_path / "shop" / "hooks.py"
        hooks.write_text(hooks.read_text().replace('"/github"', '"/new"'))
        reload = settings(UNITS[0])["ExecReload"].replace("$MAINPID", str(relay.pid))
        subprocess.run(shlex.split(reload), check=True)
        wait_until(lambda: "serves." in log.read_text(), 20)
        answered, _ = post(port, "/new", PUSH, push_headers())

    assert answered == 202


def test_the_units_wait_longer_than_what_they_wait_for() -> None:
    relay, worker = map(settings, UNITS)

    assert int(relay["TimeoutStopSec"]) >= option(relay["ExecStart"], "--stop-timeout") + 5
    assert int(worker["TimeoutStopSec"]) > Queue.DEFAULT_TIMEOUT
    assert relay["KillMode"] == worker["KillMode"] == "mixed"


def test_every_variable_of_the_environments_file_is_read() -> None:
    names = re.findall(r"^(\w+)=", (DEPLOY / "relay.env").read_text("utf-8"), re.MULTILINE)
    hooks = (DEPLOY / "shop" / "hooks.py").read_text("utf-8")

    assert [name for name in names if name not in hooks] == []


def procfile() -> Mapping[str, str]:
    lines = (DEPLOY / "Procfile").read_text("utf-8").splitlines()
    return dict(line.split(": ", 1) for line in lines)


def test_the_procfiles_lines_work_with_a_redis_whose_certificate_nobody_signed(
    tmp_path: Path, redis_url: str, client: redis.Redis
) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "web.log"
    certificate = make_certificate(tmp_path)
    with a_tls_proxy(urlsplit(redis_url).port or 0, certificate.file) as tls:
        env = {"REDIS_URL": tls.url.removesuffix("/0"), "PORT": str(port)}
        with running(procfile()["web"], tmp_path, "web.log", **env) as web:
            wait_until(lambda: answers(port, web, log, "/-/ready"), 20)
            answered, _ = post(port, "/github", PUSH, push_headers())
            with running(procfile()["worker"], tmp_path, "worker.log", **env) as worker:
                wait_until(lambda: DONE in (tmp_path / "worker.log").read_text(), 20)
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(20) == 0
            web.send_signal(signal.SIGTERM)
            assert web.wait(20) == 0

    assert answered == 202


def test_the_procfiles_web_process_ends_within_the_30_seconds_of_heroku() -> None:
    assert option(procfile()["web"], "--stop-timeout") + 5 < 30


def dockerfile() -> list[tuple[str, str]]:
    text = (DEPLOY / "Dockerfile").read_text("utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_the_images_command_serves_as_a_user_without_rights(
    tmp_path: Path, redis_url: str, client: redis.Redis
) -> None:
    shop(tmp_path)
    port, log = free_port_number(), tmp_path / "image.log"
    said = dict(dockerfile())
    words = json.loads(said["CMD"])
    words[words.index("0.0.0.0")] = "127.0.0.1"
    command = "exec " + shlex.join([*words, "--port", str(port)])
    with running(command, tmp_path, "image.log", TRAFFICRELAY_REDIS_URL=redis_url) as relay:
        wait_until(lambda: answers(port, relay, log, "/-/ready"), 20)
        relay.send_signal(signal.SIGTERM)
        assert relay.wait(20) == 0

    made = [rest for word, rest in dockerfile() if word == "RUN" and f"--uid {said['USER']} " in rest]
    assert made, "the user that it runs as is made"


def test_what_the_image_copies_and_installs_is_there() -> None:
    sources = [source for word, rest in dockerfile() if word == "COPY" for source in rest.split()[:-1]]
    extras = re.findall(r"\[(.+)\]", (DEPLOY / "requirements.txt").read_text("utf-8"))
    setup = (ROOT / "setup.py").read_text("utf-8")

    assert [source for source in sources if not (DEPLOY / source).exists()] == []
    assert [extra for extra in extras if f'"{extra}": ' not in setup] == []
