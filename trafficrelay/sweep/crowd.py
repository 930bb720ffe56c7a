"""Which jobs lie in queues, in a few bits for each, so that a million fit in eight megabytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from random import SystemRandom
from typing import Final

_LEAST_BITS: Final = 24
_BITS_EACH: Final = 64


class Crowd:
    """A set of ids that may take an id for one of its own that is none: about one in a thousand.

    An id that it wrongly holds has the same bits as others. Which bits those are differs from one crowd to the next, so
    that the same id is not passed over again and again.

    Args:
        size: about how many ids will be added. More of them only make it err more.
    """

    def __init__(self, size: int) -> None:
        width = max((size * _BITS_EACH).bit_length(), _LEAST_BITS)
        self._mask = (1 << width) - 1
        # A Bloom filter with two bits for each, both cut out of the 64 that Python's hash of bytes has.
        self._first, self._second = SystemRandom().sample(range(64 - width), 2)
        self._bits = bytearray(1 << (width - 3))

    def add(self, ids: Iterable[bytes]) -> None:
        """Add ids."""
        bits, first, second, mask = self._bits, self._first, self._second, self._mask
        for id_ in ids:
            drawn = hash(id_)
            place = drawn >> first & mask
            bits[place >> 3] |= 1 << (place & 7)
            place = drawn >> second & mask
            bits[place >> 3] |= 1 << (place & 7)

    def strangers(self, ids: Iterable[bytes]) -> Iterator[bytes]:
        """Give those ids that were certainly not added."""
        bits, first, second, mask = self._bits, self._first, self._second, self._mask
        for id_ in ids:
            drawn = hash(id_)
            place, other = drawn >> first & mask, drawn >> second & mask
            if not (bits[place >> 3] >> (place & 7) & 1 and bits[other >> 3] >> (other & 7) & 1):
                yield id_
