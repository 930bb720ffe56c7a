"""Reads the bodies of the standalone server: each in a bounded time, all together in a bounded room."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterable, AsyncIterator, Callable
from types import TracebackType
from typing import Final, Self

from ..errors import BodyTooLarge, Malformed, RequestTimeout, Unavailable

MOST_BYTES: Final = 128 * 1024 * 1024
"""How many bytes of bodies a server process holds at once, unless one alone may be half as large."""

MOST_INCOMING: Final = 1_024
"""How many bodies may be on their way at once. It is half of the requests that a relay lets in unless it is told
otherwise, so that those who send slowly never take all places."""

# A chunk costs some 50 µs, whatever is in it (measured with granian 2.8): a megabyte in single bytes would keep a
# process busy for a minute. This many are free, and one more for every so many bytes: a line of text each is not many.
_FREE_CHUNKS: Final = 1_000
_BYTES_PER_CHUNK: Final = 16


# After a refusal the rest of the body is read and thrown away for so long, and so much of it. A connection that is
# closed with bytes unread is reset, and most senders of a large body would never see the 413 (RFC 9112, 9.6).
_LINGER_SECONDS: Final = 2.0
_LINGER_CHUNKS: Final = 1_000


class Bodies:
    """The bodies that a server process holds, from the first byte to the answer.

    When there is no room for more, those give way of which nothing has come for the longest: a sender who means it is
    done in no time, and one who stalls on purpose cannot keep the others out. Belongs to one event loop.

    Args:
        timeout: seconds within which a whole body must have arrived.
        most_bytes: how many bytes are held.
        most_incoming: how many bodies may be on their way.
    """

    def __init__(self, *, timeout: float, most_bytes: int = MOST_BYTES, most_incoming: int = MOST_INCOMING) -> None:
        self.timeout = timeout
        self._most_bytes = most_bytes
        self._most_incoming = most_incoming
        self._fair_bytes = most_bytes // most_incoming // 2
        self._held = 0
        self._incoming: dict[Body, None] = {}  # the one that has been silent for the longest comes first

    def body(self, on_left: Callable[[], None] | None = None) -> Body:
        """Begin with a request's body: `with bodies.body() as body: await body.read(…)`; it is held until the end.

        Args:
            on_left: called at the end, or as soon as the body has to give way.
        """
        return Body(self, on_left)

    def began(self, body: Body) -> None:
        """Count a body that is on its way."""
        if len(self._incoming) >= self._most_incoming:
            self._give_up(next(iter(self._incoming)))
        self._incoming[body] = None

    def grew(self, body: Body, count: int) -> None:
        """Count bytes of a body that is on its way.

        Raises:
            Unavailable: there is no room for them, and nobody who could give way.
        """
        if body not in self._incoming:
            return  # it has to give way, and has not been told yet
        del self._incoming[body]
        self._incoming[body] = None
        self.became(body, count)

    def became(self, body: Body, count: int) -> None:
        """Count more bytes of a body.

        Raises:
            Unavailable: as `grew`.
        """
        body.size += count
        self._held += count
        while self._held > self._most_bytes:
            # A small one would not make much room.
            slowest = next((one for one in self._incoming if one.size >= self._fair_bytes), body)
            if slowest is body:
                raise Unavailable("There is no room for this body now; send it again.")
            self._give_up(slowest)

    def arrived(self, body: Body) -> None:
        """Count a body as held that was on its way, or whose sender gave up."""
        self._incoming.pop(body, None)

    def left(self, body: Body) -> None:
        """Forget a body's bytes."""
        self._held -= body.size
        body.size = 0

    def _give_up(self, body: Body) -> None:
        del self._incoming[body]
        body.give_up()


class Body:
    """The body of one request.

    Attributes:
        size: how many bytes of it are held.
    """

    __slots__ = ("_bodies", "_deadline", "_given_up", "_on_left", "size")

    def __init__(self, bodies: Bodies, on_left: Callable[[], None] | None) -> None:
        self.size = 0
        self._bodies = bodies
        self._on_left = on_left
        self._given_up = False
        self._deadline: asyncio.Timeout | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave()

    async def read(self, chunks: AsyncIterable[bytes], limit: int) -> bytes:
        """Read all of it.

        Raises:
            BodyTooLarge: there is more than `limit` bytes of it; no more than a chunk beyond the limit was read.
            Malformed: it broke off before its end, or comes in too many chunks.
            RequestTimeout: it was not there in time.
            Unavailable: it was slow, and gave way to others.
        """
        try:
            async with asyncio.timeout(self._bodies.timeout) as self._deadline:
                self._bodies.began(self)
                try:
                    return await self._collect(chunks, limit)
                finally:
                    self._bodies.arrived(self)
        except TimeoutError:
            if self._given_up:
                raise Unavailable("The body came too slowly while many others came; send it again.") from None
            raise RequestTimeout(f"The body did not arrive within {self._bodies.timeout:g} seconds.") from None

    def reserve(self, size: int) -> None:
        """Count a body that has been read as one of this size.

        Raises:
            Unavailable: there is no room for it, and nobody who could give way.
        """
        if size > self.size:
            self._bodies.became(self, size - self.size)

    def give_up(self) -> None:
        """Have `read` end. Called for a body that is on its way."""
        self._given_up = True
        self._leave()
        if self._deadline is not None and not self._deadline.expired():
            self._deadline.reschedule(asyncio.get_running_loop().time())

    def _leave(self) -> None:
        self._bodies.left(self)
        on_left, self._on_left = self._on_left, None
        if on_left is not None:
            on_left()

    async def _collect(self, chunks: AsyncIterable[bytes], limit: int) -> bytes:
        body = bytearray()
        count = 0
        ended = False
        async for chunk in chunks:
            # granian 2.8 ends every body with one empty chunk and gives a read error as an empty chunk too, so whatever
            # follows the first empty one says that the body broke off. Without this a chunked body that is cut short
            # looks whole. (A trailer looks the same and is refused with it; HTTP/1 has no other empty chunks.)
            if ended:
                raise Malformed("The body broke off before its end.")
            ended = not chunk
            if len(body) + len(chunk) > limit:
                raise BodyTooLarge(limit)
            count += 1
            if count > _FREE_CHUNKS + len(body) // _BYTES_PER_CHUNK:
                raise Malformed("The body comes in too many small chunks.")
            self._bodies.grew(self, len(chunk))
            body += chunk
        return bytes(body)


async def throw_away(chunks: AsyncIterator[bytes]) -> None:
    """Read what is left of a body that has been refused already, within bounds, for its sender to see the answer."""
    with contextlib.suppress(Exception):  # granian's, where reading has begun
        chunks.__aiter__()
    with contextlib.suppress(Exception):  # whatever it is, nobody waits for it
        async with asyncio.timeout(_LINGER_SECONDS):
            for _ in range(_LINGER_CHUNKS):
                await chunks.__anext__()
