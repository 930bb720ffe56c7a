"""What a check gives: why it failed, or which secret matched."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from ..errors import Unverified
from ..event import Event

Verifier: TypeAlias = Callable[[Event], Any]

Cause: TypeAlias = Literal["missing", "malformed", "mismatch", "stale", "unknown", "keys", "other"]
"""Why a request was refused, as logs and counters say it:

- `missing`: a header or field that proves something is not there;
- `malformed`: it is there, and is none;
- `mismatch`: it is another's, or the request was changed on its way;
- `stale`: it is right, and its time is too far from ours;
- `unknown`: no secret is known for this sender;
- `keys`: the provider's keys could not be had (a 503);
- `other`: a verifier of the user's own refused.
"""

MISMATCH: Final = "The signature does not match."


@dataclass(frozen=True, slots=True)
class Verified:
    """A request whose sender is who they should be.

    Attributes:
        key: which of several secrets matched: its name, or its number from 1; `""` where there is one.
    """

    key: str = ""


ONLY: Final = Verified()
"""What is given where there is one secret."""


def missing(header: str) -> Unverified:
    """Say that a header is not there."""
    return Unverified(f"The header {header} is missing.", cause="missing")


def malformed(detail: str) -> Unverified:
    """Say that something cannot be read."""
    return Unverified(detail, cause="malformed")


def mismatch(known: bool = True) -> Unverified:
    """Say that nothing matches. That a sender is not known is said in the log alone."""
    return Unverified(MISMATCH, cause="mismatch" if known else "unknown")
