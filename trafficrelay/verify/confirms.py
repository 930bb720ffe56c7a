"""Subscriptions that are confirmed by fetching a URL: AWS SNS. The fetching is a job: see `confirming`."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from ..errors import Unverified
from ..event import Event
from ..reply import Reply
from .handshake_kinds import ABSENT, Looked, When
from .handshakes import Answered

if TYPE_CHECKING:
    from .checking import Check

CONFIRM: Final = "trafficrelay.verify.confirming.confirm"
"""The dotted name of the job that confirms; a name, because only workers import what is behind it."""

# One way to write it: no user, no port, no fragment, nothing that has to be decoded before it is compared.
SUBSCRIBE_URL: Final = re.compile(
    r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?/"
    r"\?(?=(.*&)?Action=ConfirmSubscription(&|$))[A-Za-z0-9_.~:%&=+-]{1,2000}"
)
"""What SNS' SubscribeURL looks like."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirms:
    """A message that asks to fetch a URL. It is verified first, and the URL has to be one of the provider's.

    Attributes:
        title: what its provider calls it.
        when: by what it is known.
        url: where the URL is.
        method: the method on which it comes.
        urls: what its URLs look like; `confirming` knows no others.
    """

    title: str
    when: When = field(hash=False)
    url: str
    method: str = "POST"
    signed: bool = field(default=True, init=False)
    urls: re.Pattern[str] = field(default=SUBSCRIBE_URL, init=False, repr=False)
    job: str = field(default=CONFIRM, init=False)

    def answer(self, event: Event, check: Check) -> Answered | None:
        """See `Handshake`."""
        look = Looked(event)
        if not look.holds(self.when):
            return None
        url = look.at(self.url)
        if url is ABSENT or not isinstance(url, str) or not self.urls.fullmatch(url):
            raise Unverified("The URL to confirm with is none of the provider's.", cause="malformed")
        return Answered(Reply(200), job=(self.job, {"url": url}))
