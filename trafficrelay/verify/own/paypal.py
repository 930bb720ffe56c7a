"""PayPal: a signature of a request's id, its time, the webhook's id and the body's CRC32.

https://developer.paypal.com/api/rest/webhooks/rest/, and notifications.py of paypalrestsdk 1.13.3.
"""

from __future__ import annotations

import re
import uuid
import zlib
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import ClassVar, Final

from ...event import Event
from ..certificates import at_urls, read_certificate
from ..clock import read_time
from ..encodings import CODECS
from ..key_pairs import Rsa
from ..keys import GivenKeys, Keys, Urls, needed, use
from ..message import Message, Outgoing, as_sent
from ..places import LONGEST
from ..secrets import Held
from ..signature import check_time
from ..verified import malformed, mismatch, missing

ID: Final = "PAYPAL-TRANSMISSION-ID"
TIME: Final = "PAYPAL-TRANSMISSION-TIME"
SIGNATURE: Final = "PAYPAL-TRANSMISSION-SIG"
CERTIFICATE: Final = "PAYPAL-CERT-URL"
ALGORITHM: Final = "PAYPAL-AUTH-ALGO"

_RSA: Final = Rsa("sha256")
_NAMED: Final = "SHA256withRSA"
"""What `PAYPAL-AUTH-ALGO` has to say. The SDKs know SHA1withRSA as well, which nothing is signed with any more."""

_PIN: Final = re.compile(r"https://api\.(sandbox\.)?paypal\.com/v1/notifications/certs/CERT-[0-9A-Za-z-]{1,100}")
_URLS: Final = Urls(_PIN, "https://api.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-a5cafa77")
_WEBHOOK: Final = re.compile(rb"[0-9A-Za-z_-]{1,100}")
_BASE64: Final = CODECS["base64"]


@dataclass(frozen=True, slots=True)
class PayPal:
    """Requests of PayPal.

    Attributes:
        keys: where certificates come from; `None` in the catalogue, whose rows are shared.
        tolerance: see `Scheme`.
    """

    title: ClassVar[str] = "RSA-SHA256 of `{id}|{timestamp}|{webhook id}|{crc32}`, base64"
    secret_headers: ClassVar[frozenset[str]] = frozenset({SIGNATURE.lower()})
    reveals_secret: ClassVar[bool] = False
    signs_body: ClassVar[bool] = True
    signs_url: ClassVar[bool] = False
    blocks: ClassVar[bool] = True
    keys: Keys | None = field(default=None, repr=False)
    tolerance: int | None = None

    def with_keys(self, owner: str, given: GivenKeys | None) -> PayPal:
        """See `fetched.Fetching`."""
        return replace(self, keys=use(owner, given, read_certificate, lambda: at_urls(_PIN), _URLS))

    def key(self, secret: bytes) -> bytes:
        """See `Scheme`."""
        webhook = secret.strip()
        if not _WEBHOOK.fullmatch(webhook):
            raise ValueError("the secret is the webhook's id, such as 4JH86294D6297924G")
        return webhook

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        sent = read_time(_value(event, TIME), "iso")
        signature = as_sent(_value(event, SIGNATURE))
        if _value(event, ALGORITHM) != _NAMED:
            raise malformed(f"The header {ALGORITHM} does not say {_NAMED}.")
        certificate_url = _value(event, CERTIFICATE)
        if not _PIN.fullmatch(certificate_url):
            raise malformed(f"The header {CERTIFICATE} holds no URL of PayPal's certificates.")
        if not keys:
            raise mismatch(False)
        certificate = needed(self.keys).get(certificate_url)
        certificate.check(event.received_at)
        matched: Held | None = None
        for held in keys:
            matches = _RSA.matches(certificate.pair, _signed(event, held.key), signature, _BASE64)
            matched = held if matches and matched is None else matched
        if matched is None:
            raise mismatch()
        needed(self.keys).proved(certificate_url)
        if tolerance is not None:
            check_time(sent, event, tolerance)
        return matched

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        url, certificate = needed(self.keys).signing()
        made = uuid.uuid5(uuid.NAMESPACE_OID, f"{now} {zlib.crc32(message.body)}")
        message = message.adding(
            {
                ID: message.headers.get(ID) or message_id or str(made),
                TIME: now.isoformat(timespec="seconds").replace("+00:00", "Z"),
                ALGORITHM: _NAMED,
                CERTIFICATE: url,
            }
        )
        signature = _RSA.sign(certificate.pair, _signed(message, key), _BASE64)
        return message.adding({SIGNATURE: signature.decode("ascii")})


def _value(message: Message, name: str) -> str:
    value = message.headers.get(name)
    if not value:
        raise missing(name)
    if len(value) > LONGEST:
        raise malformed(f"The header {name} is too long.")
    return value


def _signed(message: Message, webhook: bytes) -> bytes:
    crc = str(zlib.crc32(message.body)).encode()
    return b"|".join((as_sent(_value(message, ID)), as_sent(_value(message, TIME)), webhook, crc))
