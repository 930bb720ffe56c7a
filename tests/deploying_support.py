"""Runs what examples/deploy shows: its proxies, with its configurations, and its commands as plain processes."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPResponse, HTTPSConnection
from pathlib import Path

import pytest

from trafficrelay.verify import github

from .standalone_support import ROOT, environment, free_port_number, get
from .waiting import wait_until

DEPLOY = ROOT / "examples" / "deploy"

# Where distributions put servers; not on every user's path.
_PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"

HOOKS = """\
import os
import time
from pathlib import Path

from trafficrelay import Relay, Reply
from trafficrelay.verify import github

relay = Relay(trusted_proxies=os.environ["SHOP_PROXIES"].split(), spool=os.environ.get("SHOP_SPOOL"))


def show(event):
    seen = {"path": event.params["rest"], "query": event.query, "remote_addr": event.remote_addr}
    return Reply(200, body={**seen, "size": len(event.body)})


@relay.route("/show/<rest:path>", verify=None, job="jobs.on", queue="hooks", methods=["GET", "POST"], reply=show)
def seen(event):
    return {}


@relay.route("/slow", verify=None, job="jobs.on", queue="hooks")
def slow(event):
    Path("slow").touch()
    while not Path("gate").exists():
        time.sleep(0.01)
    return {}


@relay.route("/signed", verify=github("secret"), job="jobs.on", queue="hooks")
def signed(event):
    return event.data


@relay.route("/full", verify=None, job="jobs.on", queue="full", max_queued=1)
def full(event):
    return {}
"""


def program(name: str) -> str:
    """Find a program, or skip the test."""
    found = shutil.which(name, path=_PATH)
    if found is None:
        pytest.skip(f"needs {name}, which is not installed here")
    return found


def shown(name: str, changes: Mapping[str, str]) -> str:
    """Read a file of examples/deploy, with what a test has to change for this machine; each must be there once."""
    text = (DEPLOY / name).read_text("utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, f"{old!r} is {text.count(old)} times in {name}"
        text = text.replace(old, new)
    return text


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate that its maker signed, for localhost.

    Attributes:
        file: the certificate.
        key: its key.
    """

    file: Path
    key: Path


def make_certificate(directory: Path) -> Certificate:
    made = Certificate(directory / "cert.pem", directory / "cert.key")
    words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost"
    names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(made.key), "-out", str(made.file)]
    subprocess.run([program("openssl"), *words.split(), *names, *files], check=True, capture_output=True)
    return made


@dataclass(frozen=True, slots=True)
class Front:
    """A proxy that runs.

    Attributes:
        name: the program.
        port: where it speaks TLS.
        certificate: what it shows.
        log: what it says.
        process: its main process.
    """

    name: str
    port: int
    certificate: Certificate
    log: Path
    process: subprocess.Popen[bytes]

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate.file))

    def connection(self, timeout: float = 30) -> HTTPSConnection:
        return HTTPSConnection("localhost", self.port, timeout=timeout, context=self.context())

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[HTTPResponse, bytes]:
        connection = self.connection()
        try:
            connection.request(method, path, body, {"Content-Type": "application/json", **(headers or {})})
            response = connection.getresponse()
            return response, response.read()
        finally:
            connection.close()

    def socket(self, timeout: float = 30) -> ssl.SSLSocket:
        """Connect, to say byte for byte what HTTP's own client would not."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout)
        return self.context().wrap_socket(plain, server_hostname="localhost")


@contextmanager
def nginx(directory: Path, *upstreams: int, changes: Mapping[str, str] | None = None) -> Iterator[Front]:
    """Run nginx with examples/deploy/nginx.conf in front of relays on two ports."""
    first, second = upstreams
    binary, port, certificate = program("nginx"), free_port_number(), make_certificate(directory)
    site = shown(
        "nginx.conf",
        {
            "listen 443 ssl http2;  #": f"listen 127.0.0.1:{port} ssl http2;  #",
            "    listen [::]:443 ssl http2;\n": "",
            "/etc/letsencrypt/live/hooks.shop.example/fullchain.pem": str(certificate.file),
            "/etc/letsencrypt/live/hooks.shop.example/privkey.pem": str(certificate.key),
            "127.0.0.1:8080": f"127.0.0.1:{first}",
            "127.0.0.1:8081": f"127.0.0.1:{second}",
            **(changes or {}),
        },
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory / kind};\n" for kind in kinds)
    user = "user root;\n" if os.geteuid() == 0 else ""  # its processes read a directory that is ours alone
    main = directory / "nginx.conf"
    main.write_text(
        f"{user}daemon off;\npid {directory / 'nginx.pid'};\nerror_log stderr info;\nevents {{}}\n"
        f"http {{\naccess_log off;\n{places}{site}}}\n"
    )
    command = [binary, "-c", str(main), "-p", str(directory), "-e", "stderr"]
    subprocess.run([*command, "-t"], check=True, capture_output=True, timeout=20)
    with _running(command, directory, port, certificate) as front:
        yield front


@contextmanager
def caddy(directory: Path, *upstreams: int, changes: Mapping[str, str] | None = None) -> Iterator[Front]:
    """Run Caddy with examples/deploy/Caddyfile in front of relays on two ports."""
    first, second = upstreams
    binary, port, certificate = program("caddy"), free_port_number(), make_certificate(directory)
    text = shown(
        "Caddyfile",
        {
            "{\n\tservers {": "{\n\tadmin off\n\tauto_https disable_redirects\n\tservers {",
            "hooks.shop.example {": f"https://localhost:{port} {{\n\ttls {certificate.file} {certificate.key}",
            "127.0.0.1:8080": f"127.0.0.1:{first}",
            "127.0.0.1:8081": f"127.0.0.1:{second}",
            **(changes or {}),
        },
    )
    file = directory / "Caddyfile"
    file.write_text(text)
    with _running(
        [binary, "run", "--config", str(file), "--adapter", "caddyfile"], directory, port, certificate
    ) as front:
        yield front


@contextmanager
def _running(command: list[str], directory: Path, port: int, certificate: Certificate) -> Iterator[Front]:
    log = directory / "proxy.log"
    # Caddy keeps its state where these say; nothing of it outlives the test.
    homes = {name: str(directory) for name in ("HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME")}
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, stderr=out, cwd=directory, env={**os.environ, **homes})
    try:
        front = Front(Path(command[0]).name, port, certificate, log, process)
        wait_until(lambda: _listens(front), 20)
        yield front
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(10)


def _listens(front: Front) -> bool:
    assert front.process.poll() is None, front.log.read_text()
    try:
        socket.create_connection(("127.0.0.1", front.port), 1).close()
    except OSError:
        return False
    return True


SECRET = "its GitHub secret"

PUSH = b'{"repository": {"full_name": "ada/engine"}, "commits": [1, 2]}'


def push_headers(delivery: str = "1") -> dict[str, str]:
    """Sign PUSH as GitHub does."""
    return {"X-GitHub-Event": "push", "X-GitHub-Delivery": delivery, **github(SECRET).sign(PUSH)}


def shop(directory: Path) -> Path:
    """Lay out the shop's code, and a `trafficrelay` that is this one; give back the directory of that program."""
    shutil.copytree(DEPLOY / "shop", directory / "shop", ignore=shutil.ignore_patterns("__pycache__"))
    programs = directory / "programs"
    programs.mkdir()
    shim = programs / "trafficrelay"
    shim.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m trafficrelay "$@"\n')
    shim.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    return programs


@contextmanager
def running(command: str, directory: Path, log: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a shell's line, which begins with exec, in the shop's directory; killed at the end."""
    path = f"{directory / 'programs'}:{os.environ['PATH']}"
    env = environment(**({"PATH": path, "GITHUB_SECRET": SECRET} | variables))
    with (directory / log).open("wb") as out:
        process = subprocess.Popen(["/bin/sh", "-c", command], cwd=directory, env=env, stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def answers(port: int, process: subprocess.Popen[bytes], log: Path, path: str = "/-/health") -> bool:
    """Say whether a relay answers 200 there by now; it must not have ended."""
    assert process.poll() is None, log.read_text()
    try:
        return get(port, path)[0] == 200
    except OSError:
        return False
