"""What is sent: ids and payloads that anybody can make again from the seed and a number."""

from __future__ import annotations

import base64
import binascii
import json
import random
from dataclasses import dataclass, field
from typing import Any, Final

FAN: Final = 3
"""How many jobs an event of the route /fan becomes."""

DEAD: Final = 0
"""The part of a dead letter; jobs count from 1."""

_TEXTS: Final = ("plain", "Größe 12 µm", "日本語", 'quotes " and \\ and \u2028', "\u0000\u0001", "😀" * 3)


@dataclass(frozen=True, slots=True)
class Sent:
    """One event as a sender sends it, each time it tries.

    Attributes:
        number: which one of the run it is.
        id: what the header X-Id says.
        path: the route: /in, /small (whose jobs a worker runs), /fan (several jobs), /broken (a dead letter), or /bare
            (without a duplicate key: each try is an event of its own).
        body: the request's body.
        parts: the numbers of the jobs that it becomes; of /bare those of its tries, which nobody knows before: none.
    """

    number: int
    id: str
    path: str
    body: bytes = field(repr=False)
    parts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Manners:
    """How a sender goes about one event.

    Attributes:
        impatient: it hangs up on its first try before the answer comes, and tries again.
        twin: it sends on two connections at once.
        again: it sends once more after the 2xx, at once.
        later: seconds after the 2xx after which it sends once more; 0 for not.
    """

    impatient: bool
    twin: bool
    again: bool
    later: float


@dataclass(frozen=True, slots=True)
class Recognised:
    """What a job's argument turns out to be.

    Attributes:
        number: the number of the event; -1 if nobody sent such a thing.
        part: which job of it; `DEAD` for its dead letter; of /bare the number of the try, which counts from 1.
        intact: whether it is what was sent, to the last character.
    """

    number: int
    part: int
    intact: bool


def make(seed: int, number: int) -> Sent:
    """Make an event; the same one each time."""
    path, parts = _route(number)
    dice = random.Random(f"{seed}:{number}")
    data = {
        "number": number,
        "text": dice.choice(_TEXTS),
        "hex": dice.randbytes(4096 if dice.random() < 0.02 else dice.randrange(20, 200)).hex(),
        "float": dice.random(),
        "nested": [{"deep": [None, True, dice.getrandbits(60)]}],
    }
    return Sent(number, f"{seed}-{number}", path, json.dumps(data, ensure_ascii=False).encode(), parts)


def manners(seed: int, number: int) -> Manners:
    """Say how the event is sent."""
    dice = random.Random(f"{seed}:{number}:manners")
    bare = is_bare(number)
    return Manners(
        impatient=dice.random() < 0.02,
        twin=dice.random() < 0.02 and not bare,
        again=dice.random() < 0.02 and not bare,
        later=dice.uniform(0.2, 6) if dice.random() < 0.02 and not bare else 0.0,
    )


def parts_of(number: int) -> tuple[int, ...]:
    """Give the numbers of the jobs that an event becomes; see `Sent`."""
    return _route(number)[1]


def is_bare(number: int) -> bool:
    """Say whether each try of an event is an event of its own."""
    return _route(number)[0] == "/bare"


def recognise(data: Any, seed: int) -> Recognised:
    """Tell which event a job's argument, or a dead letter's, belongs to, and whether it is what was sent."""
    match data:
        case {"id": str(id_), "part": int(part), "sent": sent}:
            number = _number(id_, seed)
            if number >= 0:
                wanted = make(seed, number)
                fits = part > 0 if is_bare(number) else part in wanted.parts
                return Recognised(number, part, fits and _same(sent, json.loads(wanted.body)))
        case {"event": {"headers": {"x-id": str(id_)}, "body": str(body)}}:
            number = _number(id_, seed)
            if number >= 0:
                return Recognised(number, DEAD, _decoded(body) == make(seed, number).body)
    return Recognised(-1, -1, False)


def _route(number: int) -> tuple[str, tuple[int, ...]]:
    if number % 100 == 50:
        return "/small", (1,)
    if number % 50 == 7:
        return "/broken", (DEAD,)
    if number % 10 == 6:
        return "/bare", ()
    if number % 10 == 3:
        return "/fan", tuple(range(1, FAN + 1))
    return "/in", (1,)


def _number(id_: str, seed: int) -> int:
    head, _, tail = id_.rpartition("-")
    return int(tail) if head == str(seed) and tail.isdecimal() else -1


def _same(one: Any, other: Any) -> bool:
    # As text: 1 == 1.0 == True in Python.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
