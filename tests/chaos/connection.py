"""A sender's connection to the relay: HTTP/1.1 as plain as it goes."""

from __future__ import annotations

import json
import socket
from dataclasses import dataclass
from typing import Final

from .payload import Sent

ANSWER_TIMEOUT: Final = 10.0
"""Seconds that a sender waits for an answer; GitHub gives up after as many."""


class NoAnswer(Exception):
    """The connection broke, or nothing came in time: the event may have been taken or not."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the relay said.

    Attributes:
        status: the HTTP status.
        id: the event's id, where the answer has one.
    """

    status: int
    id: str

    @property
    def good(self) -> bool:
        """Whether the event was acknowledged."""
        return 200 <= self.status < 300


class Connection:
    """A connection to the relay that stays open between requests, and is made again when it broke."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._socket: socket.socket | None = None

    def send(self, event: Sent, attempt: int) -> None:
        """Send the request, and say in it which try it is.

        Raises:
            NoAnswer: nobody listens, or the connection broke.
        """
        head = (
            f"POST {event.path} HTTP/1.1\r\nHost: relay\r\nX-Id: {event.id}\r\nX-Try: {attempt}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(event.body)}\r\n\r\n"
        )
        try:
            if self._socket is None:
                self._socket = socket.create_connection(("127.0.0.1", self._port), timeout=ANSWER_TIMEOUT)
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(head.encode() + event.body)
        except OSError as error:
            self.close()
            raise NoAnswer from error

    def read(self) -> Answer:
        """Read the answer.

        Raises:
            NoAnswer: the connection broke, or nothing came in time.
        """
        try:
            return self._read()
        except (OSError, ValueError) as error:
            self.close()
            raise NoAnswer from error

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> Answer:
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._received()
        head, _, body = data.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        length = int(headers["content-length"]) if "content-length" in headers else 0
        while len(body) < length:
            body += self._received()
        status = int(lines[0].split(" ", 2)[1])
        if headers.get("connection", "").lower() == "close":
            self.close()
        said = json.loads(body) if body else {}
        return Answer(status, str(said.get("id", "")))

    def _received(self) -> bytes:
        if self._socket is None:
            raise ConnectionError("not connected")
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("closed by the relay")
        return data
