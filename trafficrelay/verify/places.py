"""Where signatures stand in a request: how they are found there, and put there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple, Protocol

from .body_fields import read_field, with_field
from .message import Message, Outgoing, as_sent
from .verified import malformed, missing

MOST: Final = 16
"""How many signatures a request may have: each is compared with each secret. Providers send one for each of theirs."""

_BLANK: Final = " \t"
"""What may stand around a header's value (RFC 9110, 5.6.3); str.strip() would take bytes of tokens too."""

LONGEST: Final = 8 * 1024
"""Characters that a header with signatures may have; RSA with 4,096 bits has 684."""


class Found(NamedTuple):
    """What is found.

    Attributes:
        signatures: each as written, without its prefix.
        timestamp: the time that stands beside them, `""` where none does.
    """

    signatures: tuple[bytes, ...]
    timestamp: str = ""


class Place(Protocol):
    """Where signatures stand."""

    @property
    def headers(self) -> tuple[str, ...]:
        """The names of the headers that are read."""

    def find(self, message: Message) -> Found:
        """Find the signatures.

        Raises:
            Unverified: there are none, or they cannot be read.
        """

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """Give the request with a signature in it."""


def _value(message: Message, name: str) -> str:
    value = message.headers.get(name)
    if value is None:
        raise missing(name)
    if len(value) > LONGEST:
        raise malformed(f"The header {name} is too long.")
    return value


@dataclass(frozen=True, slots=True)
class Header:
    """One signature, which is the whole header: `X-Hub-Signature-256: sha256=…`.

    Attributes:
        name: the header's name.
        prefix: what stands before the signature.
    """

    name: str
    prefix: str = ""

    @property
    def headers(self) -> tuple[str, ...]:
        """See `Place`."""
        return (self.name,)

    def find(self, message: Message) -> Found:
        """See `Place`."""
        value = _value(message, self.name)
        if not value.startswith(self.prefix):
            raise malformed(f"The header {self.name} does not begin with {self.prefix!r}.")
        # A signature is ASCII, so whatever else there is simply differs.
        return Found((as_sent(value[len(self.prefix) :].strip(_BLANK)),))

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """See `Place`."""
        return message.adding({self.name: self.prefix + signature})


@dataclass(frozen=True, slots=True)
class AnyHeader:
    """Several headers, with a signature for each of the provider's keys: `X-DocuSign-Signature-1` to `-8`.

    Attributes:
        headers: their names; one is enough.
    """

    headers: tuple[str, ...]

    def find(self, message: Message) -> Found:
        """See `Place`."""
        values = [_value(message, name) for name in self.headers if name in message.headers]
        if not values:
            raise missing(self.headers[0])
        return Found(tuple(as_sent(value.strip(_BLANK)) for value in values))

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """See `Place`."""
        return message.adding({self.headers[0]: signature})


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of a name and a value, the time among them: `Stripe-Signature: t=1492774577,v1=…,v1=…,v0=…`.

    Attributes:
        name: the header's name.
        signature: the name of a signature; there may be several.
        timestamp: the name of the time, of which there is one; `""` for none.
        between: what stands between pairs; spaces around it may be missing.
    """

    name: str
    signature: str = "v1"
    timestamp: str = "t"
    between: str = ","

    @property
    def headers(self) -> tuple[str, ...]:
        """See `Place`."""
        return (self.name,)

    def find(self, message: Message) -> Found:
        """See `Place`."""
        pairs = [pair.partition("=") for pair in _value(message, self.name).split(self.between.strip(" "))]
        label = self.signature
        signatures = [value for name, _, value in pairs if name.strip(" ") == label and value]
        times = [value for name, _, value in pairs if self.timestamp and name.strip(" ") == self.timestamp]
        if not signatures or len(signatures) > MOST:
            raise malformed(f"The header {self.name} has no {self.signature}=… in it.")
        if self.timestamp and len(times) != 1:
            raise malformed(f"The header {self.name} has not one {self.timestamp}=… in it.")
        return Found(tuple(as_sent(one.strip(" ")) for one in signatures), times[0].strip(" ") if times else "")

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """See `Place`."""
        time = f"{self.timestamp}={timestamp}{self.between}" if self.timestamp else ""
        return message.adding({self.name: f"{time}{self.signature}={signature}"})


@dataclass(frozen=True, slots=True)
class Listed:
    """Signatures with their version, one after the other: `webhook-signature: v1,… v1a,…`.

    The version stays with the signature: the key tells which one it makes.

    Attributes:
        name: the header's name.
    """

    name: str

    @property
    def headers(self) -> tuple[str, ...]:
        """See `Place`."""
        return (self.name,)

    def find(self, message: Message) -> Found:
        """See `Place`."""
        # Supabase writes a comma after each but the last.
        signatures = [one.rstrip(",") for one in _value(message, self.name).split(" ") if "," in one]
        if not signatures or len(signatures) > MOST:
            raise malformed(f"The header {self.name} has no signature such as v1,… in it.")
        return Found(tuple(as_sent(one) for one in signatures))

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """See `Place`."""
        return message.adding({self.name: signature})


@dataclass(frozen=True, slots=True)
class InBody:
    """A field of the body, which is JSON or a form. What is signed then is other fields of it.

    Attributes:
        path: its path, such as `signature.signature`.
    """

    headers: ClassVar[tuple[str, ...]] = ()
    path: str

    def find(self, message: Message) -> Found:
        """See `Place`."""
        value = read_field(message, self.path)
        if not isinstance(value, str) or not value or len(value) > LONGEST:
            raise malformed(f"The body has no {self.path}.")
        return Found((value.encode("utf-8", "surrogatepass"),))

    def put(self, message: Outgoing, signature: str, timestamp: str) -> Outgoing:
        """See `Place`."""
        return with_field(message, self.path, signature)
