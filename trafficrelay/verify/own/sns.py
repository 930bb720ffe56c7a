"""AWS SNS: messages that hold their signature, made with a certificate that they name.

https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html, and what the
validators of AWS' SDKs do (aws-sdk-java-v2, services-custom/sns-message-manager; aws-php-sns-message-validator).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Final

import msgspec

from ...body.text import decode_json
from ...event import Event
from ..body_fields import check_plain
from ..certificates import at_urls, read_certificate
from ..clock import read_time, write_time
from ..encodings import CODECS
from ..key_pairs import Rsa
from ..keys import GivenKeys, Keys, Urls, needed, use
from ..message import Outgoing
from ..places import LONGEST
from ..secrets import Held
from ..signature import check_time
from ..verified import malformed, mismatch

_CONFIRMATION: Final = ("Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type")

SIGNED: Final[Mapping[str, tuple[str, ...]]] = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": _CONFIRMATION,
    "UnsubscribeConfirmation": _CONFIRMATION,
}
"""What is signed of each type of message, in this order."""

OPTIONAL: Final = frozenset({"Subject"})
"""What may be missing of it."""

_ALGORITHMS: Final[Mapping[str, Rsa]] = {"1": Rsa("sha1"), "2": Rsa("sha256")}
"""By `SignatureVersion`, which each topic has set; its owner, and no sender, chooses."""

_TOPIC: Final = re.compile(
    r"arn:(?P<partition>aws|aws-cn|aws-us-gov):sns:(?P<region>[a-z0-9-]{3,40}):[0-9]{12}:[A-Za-z0-9_-]{1,256}(\.fifo)?"
)
_PIN: Final = re.compile(
    r"https://sns\.[a-z0-9-]{3,40}\.amazonaws\.com(\.cn)?/SimpleNotificationService-[0-9a-f]{32}\.pem"
)
"""The whole URL. Nothing but a file of hexadecimal digits: the host is that of SNS' API as well, which answers a query
with what was asked."""

_URLS: Final = Urls(_PIN, f"https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-{'0' * 32}.pem")

_BASE64: Final = CODECS["base64"]


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic that may send.

    Attributes:
        arn: its name.
        host: the host of SNS in its region, where its certificates are.
    """

    arn: str
    host: str


@dataclass(frozen=True, slots=True)
class Sns:
    """Messages of SNS.

    Attributes:
        keys: where certificates come from; `None` in the catalogue, whose rows are shared.
        tolerance: see `Scheme`.
    """

    title: ClassVar[str] = "RSA-SHA1 or RSA-SHA256 of the message's fields, base64"
    secret_headers: ClassVar[frozenset[str]] = frozenset()
    reveals_secret: ClassVar[bool] = False
    # Not UnsubscribeURL and MessageAttributes, nor how the JSON is written.
    signs_body: ClassVar[bool] = False
    signs_url: ClassVar[bool] = False
    blocks: ClassVar[bool] = True
    keys: Keys | None = field(default=None, repr=False)
    tolerance: int | None = None

    def with_keys(self, owner: str, given: GivenKeys | None) -> Sns:
        """See `fetched.Fetching`."""
        return replace(self, keys=use(owner, given, read_certificate, lambda: at_urls(_PIN), _URLS))

    def key(self, secret: bytes) -> Topic:
        """See `Scheme`."""
        arn = secret.strip().decode("utf-8", "replace")
        matched = _TOPIC.fullmatch(arn)
        if matched is None:
            raise ValueError("the secret is the topic's ARN, such as arn:aws:sns:us-east-1:123456789012:orders")
        suffix = ".cn" if matched["partition"] == "aws-cn" else ""
        return Topic(arn, f"sns.{matched['region']}.amazonaws.com{suffix}")

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`."""
        fields = _read(event)
        # Any AWS account can have SNS sign messages, and send them here: the topic is who they are from. It comes
        # before the certificate, so that nothing is fetched for those who do not know it.
        held = _of_topic(keys, fields["TopicArn"])
        topic: Topic = held.key
        sent = read_time(fields["Timestamp"], "iso")
        algorithm = _ALGORITHMS.get(fields["SignatureVersion"])
        if algorithm is None:
            raise malformed("The message has a SignatureVersion that is not known.")
        certificate_url = fields["SigningCertURL"]
        if not certificate_url.startswith(f"https://{topic.host}/"):
            raise malformed("The message's SigningCertURL is none of its topic's region.")
        if not _PIN.fullmatch(certificate_url):
            raise malformed("The path of the message's SigningCertURL is none of SNS'.")
        certificate = needed(self.keys).get(certificate_url)
        certificate.check(event.received_at)
        given = fields["Signature"].encode("utf-8", "surrogatepass")
        if not algorithm.matches(certificate.pair, _signed(fields), given, _BASE64):
            raise mismatch()
        needed(self.keys).proved(certificate_url)
        if tolerance is not None:
            check_time(sent, event, tolerance)
        return held

    def sign(self, message: Outgoing, key: Topic, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`. A body that is no message of SNS becomes the `Message` of a notification."""
        url, certificate = needed(self.keys).signing()
        made = hashlib.sha256(message.body + str(now).encode()).digest()
        fields = {
            "Type": "Notification",
            "MessageId": message_id or str(uuid.UUID(bytes=made[:16])),
            "Message": message.body.decode("utf-8", "replace"),
            **_own(message.body),
            "TopicArn": key.arn,
            "Timestamp": write_time(now, "iso"),
            "SignatureVersion": "2",
            "SigningCertURL": url,
        }
        signature = _ALGORITHMS["2"].sign(certificate.pair, _signed(fields), _BASE64)
        fields["Signature"] = signature.decode("ascii")
        whole = replace(message, body=msgspec.json.encode(fields))
        return whole.adding(
            {
                "Content-Type": "text/plain; charset=UTF-8",
                "x-amz-sns-message-type": fields["Type"],
                "x-amz-sns-message-id": fields["MessageId"],
                "x-amz-sns-topic-arn": key.arn,
            }
        )


def _own(body: bytes) -> dict[str, Any]:
    """Give the fields of a body that is a message of SNS; none of any other."""
    try:
        found = decode_json(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) and found.get("Type") in SIGNED else {}


def _read(event: Event) -> dict[str, str]:
    """Read the fields that are signed, and those that say how. SNS calls its JSON text/plain.

    Raises:
        Unverified: one is missing, or no string.
    """
    check_plain(event)
    try:
        found = decode_json(event.body)
    except (ValueError, RecursionError):
        # msgspec's errors are ValueErrors.
        found = None
    type_ = found.get("Type") if isinstance(found, dict) else None
    signed = SIGNED.get(type_) if isinstance(type_, str) else None
    if signed is None:
        # Raw messages have no signature at all: those are what an operator should hear of.
        raise malformed("The body is no message of SNS. Raw message delivery has to be off: raw ones are not signed.")
    needed = [name for name in signed if name not in OPTIONAL or name in found]
    fields = {name: found.get(name) for name in (*needed, "SignatureVersion", "Signature", "SigningCertURL")}
    wrong = next((name for name, value in fields.items() if not isinstance(value, str)), None)
    if wrong is not None:
        raise malformed(f"The message has no {wrong}.")
    if max(len(fields[name]) for name in ("Signature", "SigningCertURL", "Timestamp", "TopicArn")) > LONGEST:
        raise malformed("A field of the message is too long.")
    return fields


def _signed(fields: Mapping[str, str]) -> bytes:
    names = SIGNED[fields["Type"]]
    lines = [f"{name}\n{fields[name]}\n" for name in names if name not in OPTIONAL or name in fields]
    return "".join(lines).encode("utf-8", "surrogatepass")


def _of_topic(keys: tuple[Held, ...], arn: str) -> Held:
    found: Held | None = None
    for held in keys:
        matches = hmac.compare_digest(held.key.arn.encode(), arn.encode("utf-8", "surrogatepass"))
        found = held if matches and found is None else found
    if found is None:
        raise mismatch(bool(keys))
    return found
