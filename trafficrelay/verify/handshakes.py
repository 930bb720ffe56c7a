"""The challenges that providers send before or between events; they are answered at once, and become no jobs.

What kinds there are `handshake_kinds` says, which those alone import who have one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from ..event import Event
from ..reply import Reply
from .verified import mismatch

if TYPE_CHECKING:
    from .checking import Check


@dataclass(frozen=True, slots=True)
class Answered:
    """How a challenge is met.

    Attributes:
        reply: the answer.
        job: the dotted name and the argument of a job of ours that goes with it; `None` for none.
        keep: a secret that the challenge brings, which is kept in Redis.
        title: what the challenge is called.
    """

    reply: Reply
    job: tuple[str, Any] | None = field(default=None, repr=False)
    keep: bytes | None = field(default=None, repr=False)
    title: str = ""


class Handshake(Protocol):
    """A kind of challenge."""

    @property
    def title(self) -> str:
        """What it is called, for tables."""

    @property
    def method(self) -> str:
        """The HTTP method on which it comes."""

    @property
    def signed(self) -> bool:
        """Whether it is verified as events are, before it is answered."""

    def answer(self, event: Event, check: Check) -> Answered | None:
        """Meet a challenge; `None` of what is none.

        Raises:
            Unverified: it is one, and not of who it should be.
            Malformed: it is one, and cannot be answered.
        """


def meet(handshakes: Iterable[Handshake], event: Event, check: Check, *, signed: bool) -> Answered | None:
    """Meet the challenge that a request is; `None` of one that is none.

    Args:
        handshakes: those that its sender may send.
        event: the request, without data.
        check: the route's verifier.
        signed: whether the request has been verified: others are asked then.

    Raises:
        Unverified, Malformed: see `Handshake`.
    """
    for handshake in handshakes:
        if handshake.signed is signed and handshake.method == event.method:
            answered = handshake.answer(event, check)
            if answered is not None:
                return replace(answered, title=handshake.title)
    return None


def job_with(handshake: Handshake) -> str:
    """Give the dotted name of the job of ours that goes with a challenge; `""` where none does."""
    return str(getattr(handshake, "job", ""))


def check_no_echo(handshakes: Iterable[Handshake], event: Event) -> None:
    """Check that the signature of a verified event is not one that anybody could have got as a challenge's answer.

    Raises:
        Unverified: it may be.
    """
    for handshake in handshakes:
        signs = getattr(handshake, "signs", None)
        if signs is not None and signs(event.body):
            raise mismatch()
