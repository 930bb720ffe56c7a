"""Finds what SQLite does not see in a damaged write-ahead log, and mends the log so that it does.

Whoever opens a log first believes its frames up to the first whose checksum does not fit, and forgets the rest: that
is where a commit was torn by a failing power supply. But a flipped bit has the same effect, and then everything behind
it was acknowledged. The two can be told apart: a commit is begun when the one before is on the disk, so where another
commit was begun behind the frame that does not fit, nothing was torn. (Of the last commit it cannot be told.)

Mending means new checksums for what is there. The page with the flipped bit becomes visible with it; the entries'
digests and SQLite's own check are there for that.

The format: https://sqlite.org/fileformat2.html, 4.
"""

from __future__ import annotations

import struct
import sys
from dataclasses import dataclass
from typing import Final, Self, TypeAlias

_MAGIC: Final = 0x377F_0682  # and 1 where checksums are of big-endian words
_VERSION: Final = 3_007_000
_PAGE: Final = 4096
_HEADER: Final = struct.Struct(">8I")  # magic, version, page size, checkpoint, two salts, two parts of a checksum
_FRAME: Final = struct.Struct(">6I")  # page, pages after a commit or 0, two salts, two parts of a checksum
_SIZE: Final = _FRAME.size + _PAGE
_ALL: Final = 0xFFFF_FFFF

_Sum: TypeAlias = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Log:
    """A log, with the header that it has or should have.

    Attributes:
        raw: the file's bytes.
        count: how many frames there is room for.
        big: whether checksums are of big-endian words.
        checkpoint: a number from the header that is kept.
        salts: what frames have in common that were written since the log was last begun.
        start: the header's own checksum, from which the first frame's goes on.
        fits: whether the header fits it.
    """

    raw: bytes
    count: int
    big: bool
    checkpoint: int
    salts: tuple[int, int]
    start: _Sum
    fits: bool

    @classmethod
    def of(cls, raw: bytes) -> Self | None:
        """Read a log's header; of a damaged one the salts are those of the first frame."""
        count = (len(raw) - _HEADER.size) // _SIZE
        if count < 1:
            return None
        magic, version, page, checkpoint, *salts, first, second = _HEADER.unpack_from(raw)
        big = magic == _MAGIC + 1
        summed = _summed(raw[:24], (0, 0), big=big)
        fits = (version, page, magic & ~1, *summed) == (_VERSION, _PAGE, _MAGIC, first, second)
        if not fits:
            big = sys.byteorder == "big"
            salts = list(_FRAME.unpack_from(raw, _HEADER.size)[2:4])
        return cls(raw, count, big, checkpoint, (salts[0], salts[1]), (first, second), fits)

    def frame(self, number: int) -> tuple[int, int, tuple[int, int], _Sum]:
        """Give a frame's page, pages after it, salts and checksum."""
        page, pages, *rest = _FRAME.unpack_from(self.raw, _HEADER.size + number * _SIZE)
        return page, pages, (rest[0], rest[1]), (rest[2], rest[3])

    def goes_on(self, number: int) -> bool:
        """Say whether a frame goes on where the one before it ends."""
        _, _, salts, own = self.frame(number)
        before = self.frame(number - 1)[3] if number else self.start
        # The salts first: behind what is seen mostly lies what was left of an earlier log, with others.
        return salts == self.salts and self._sum(number, before) == own

    def is_commit(self, number: int) -> bool:
        """Say whether a commit ends with a frame. The header counts as one before the first."""
        return number < 0 or self.frame(number)[1] > 0

    def mended(self, count: int) -> bytes:
        """Give a log of as many frames, with checksums that fit. A page 0, which there is not, is left out."""
        head = _HEADER.pack(_MAGIC + self.big, _VERSION, _PAGE, self.checkpoint, *self.salts, 0, 0)[:24]
        last = _summed(head, (0, 0), big=self.big)
        parts = [head, struct.pack(">2I", *last)]
        for number in range(count):
            page, pages, _, _ = self.frame(number)
            if not page:
                continue
            last = self._sum(number, last)
            parts += [_FRAME.pack(page, pages, *self.salts, *last), self._page(number)]
        return b"".join(parts)

    def _sum(self, number: int, before: _Sum) -> _Sum:
        place = _HEADER.size + number * _SIZE
        return _summed(self.raw[place : place + 8] + self._page(number), before, big=self.big)

    def _page(self, number: int) -> bytes:
        place = _HEADER.size + number * _SIZE + _FRAME.size
        return self.raw[place : place + _PAGE]


def mended(raw: bytes, seen: int) -> bytes | None:
    """Give a log of which SQLite sees all that was acknowledged, `None` where it does so already.

    Args:
        raw: the log's bytes.
        seen: how many of its frames SQLite sees; less than 0 where it did not say.
    """
    log = _Log.of(raw)
    if log is None or not 0 <= seen < log.count:
        return None
    # What is at once behind may be the whole commit of a process that was killed before it could say so.
    for number in range(seen + log.fits, log.count):
        if log.is_commit(number - 1) and log.goes_on(number):
            # Another commit was begun here, so all before it was acknowledged; and as much of it as is whole.
            end = number
            for later in range(number, log.count):
                if not log.goes_on(later):
                    break
                if log.is_commit(later):
                    end = later + 1
            if end > seen:
                return log.mended(end)
    return None


def recoverable(raw: bytes) -> int:
    """Say how many frames of a log SQLite sees when it opens it first."""
    log = _Log.of(raw)
    seen = 0
    for number in range(log.count if log is not None and log.fits else 0):
        if log is None or not log.goes_on(number):
            break
        if log.is_commit(number):
            seen = number + 1
    return seen


def _summed(data: bytes, before: _Sum, *, big: bool) -> _Sum:
    first, second = before
    words = struct.unpack(f"{'>' if big else '<'}{len(data) // 4}I", data)
    for one, two in zip(words[::2], words[1::2], strict=True):
        first = (first + one + second) & _ALL
        second = (second + two + first) & _ALL
    return first, second
