"""Plaid: a token with the body's hash, signed with a key that Plaid gives to whoever has an account.

https://plaid.com/docs/api/webhooks/webhook-verification/; how a key that does not exist is answered: the tests of
plaid-node ("webhookVerificationKeyGet").
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeAlias

import msgspec

from ...body.text import decode_json
from ...errors import DeclarationError
from ...event import Event
from ..checking import Check
from ..jwt import ES256, check_hash, check_times, point_of, read_token, write_token
from ..key_pairs import PEM, Pair
from ..keys import GivenKeys, Keys, NoSuchKey, NotHad, needed, use
from ..message import Outgoing
from ..places import Header
from ..provider import OWN, Own, Provider
from ..secrets import Held, Secret
from ..verified import malformed, mismatch

if TYPE_CHECKING:
    from ..fetching import Https

Environment: TypeAlias = Literal["production", "sandbox"]

CLAIM: Final = "request_body_sha256"

_PLACE: Final = Header("Plaid-Verification")
_KEY_ID: Final = re.compile(r"[0-9A-Za-z-]{1,64}")
_PIN: Final = re.compile(r"https://(production|sandbox)\.plaid\.com/webhook_verification_key/get")
_NO_SUCH_KEY: Final = "INVALID_WEBHOOK_VERIFICATION_KEY_ID"


@dataclass(frozen=True, slots=True)
class PlaidKey:
    """A key of Plaid's.

    Attributes:
        pair: the key.
        expired: whether Plaid says that it is.
    """

    pair: Pair = field(repr=False)
    expired: bool = False


def read_key(document: bytes) -> PlaidKey:
    """Read what Plaid answers, or a key in PEM.

    Raises:
        ValueError: it is neither.
    """
    if document.lstrip().startswith(PEM):
        return PlaidKey(ES256.algorithm.key(document))
    try:
        found = decode_json(document)
    except (ValueError, RecursionError):
        # Without its words: what was answered may be in them.
        raise ValueError("the key is no JSON") from None
    jwk = found.get("key", found) if isinstance(found, dict) else {}
    pair = ES256.algorithm.key(point_of(jwk))
    return PlaidKey(pair, jwk.get("expired_at") is not None)


@dataclass(frozen=True, slots=True)
class KeyEndpoint:
    """Where Plaid gives its keys.

    Attributes:
        https: asks it.
        url: its URL.
        client_id: who asks.
    """

    https: Https
    url: str
    client_id: str

    def fetch(self, name: str, secrets: Sequence[bytes]) -> bytes:
        """See `keys.Source`. With several secrets, each is tried until one is taken."""
        why = "no secret is known to ask with"
        for secret in secrets:
            asked = {"client_id": self.client_id, "secret": secret.decode("utf-8", "replace"), "key_id": name}
            answer = self.https.ask(self.url, msgspec.json.encode(asked))
            if answer.status == 200:
                return answer.body
            code = _error_code(answer.body)
            if code == _NO_SUCH_KEY:
                raise NoSuchKey
            why = f"Plaid answered {answer.status} {code}".rstrip()
        raise NotHad(why)


def _error_code(body: bytes) -> str:
    try:
        found = decode_json(body)
    except (ValueError, RecursionError):
        return ""
    code = found.get("error_code") if isinstance(found, dict) else None
    return code if isinstance(code, str) and re.fullmatch("[A-Z_]{1,64}", code) else ""


@dataclass(frozen=True, slots=True)
class PlaidToken:
    """Requests of Plaid.

    Attributes:
        keys: where keys come from; `None` in the catalogue, whose rows are shared.
        tolerance: see `Scheme`.
    """

    title: ClassVar[str] = f"JWT (ES256) with the body's SHA-256 as `{CLAIM}`"
    secret_headers: ClassVar[frozenset[str]] = frozenset({"plaid-verification"})
    reveals_secret: ClassVar[bool] = False
    signs_body: ClassVar[bool] = True
    signs_url: ClassVar[bool] = False
    blocks: ClassVar[bool] = True
    keys: Keys | None = field(default=None, repr=False)
    tolerance: int | None = None

    def key(self, secret: bytes) -> bytes:
        """See `Scheme`."""
        return secret

    def check(self, event: Event, keys: tuple[Held, ...], tolerance: int | None, url: str) -> Held:
        """See `Scheme`. The secret signs nothing: with several, the first one counts as the one that matched."""
        token = read_token(_PLACE.find(event).signatures[0], ES256)
        name = token.header.get("kid")
        if not isinstance(name, str) or not _KEY_ID.fullmatch(name):
            raise malformed("The token names no key of Plaid's.")
        if not keys:
            raise mismatch(False)
        # Before the key is fetched: what does not fit its own body needs none.
        check_hash(token.claims, CLAIM, event.body)
        key = needed(self.keys).get(name, [held.key for held in keys])
        if key.expired or not token.verified_by(ES256, key.pair):
            raise mismatch()
        needed(self.keys).proved(name)
        check_times(token.claims, event, tolerance)
        return keys[0]

    def sign(self, message: Outgoing, key: bytes, now: datetime, message_id: str) -> Outgoing:
        """See `Scheme`."""
        name, held = needed(self.keys).signing()
        claims = {"iat": int(now.timestamp()), CLAIM: hashlib.sha256(message.body).hexdigest()}
        return _PLACE.put(message, write_token({"kid": name}, claims, ES256, held.pair), "")


def _endpoint(environment: str, client_id: str) -> KeyEndpoint:
    # It takes ssl and http.client along, 25 ms, which relays need not whose providers publish nothing.
    from ..fetching import Https

    return KeyEndpoint(Https(_PIN), f"https://{environment}.plaid.com/webhook_verification_key/get", client_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class ForClient(Provider):
    """A provider that gives its keys to its clients alone: Plaid."""

    scheme: PlaidToken = field(repr=False)

    def __call__(
        self,
        secret: Secret,
        *,
        client_id: str,
        environment: Environment = "production",
        tolerance: int | Own = OWN,
        keys: GivenKeys | None = None,
    ) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the secret of the API, which its keys are asked for with; or several, or a function of the event.
            client_id: the client that it belongs to.
            environment: where the webhooks come from.
            tolerance: seconds by which the signed time may be off; the provider's own where left out.
            keys: keys that are used in place of those that would be fetched, for tests.

        Raises:
            DeclarationError: an argument is none, or what is needed is not installed.
        """
        if not isinstance(client_id, str) or not client_id:
            raise DeclarationError(f"{self.name}: client_id is the client's id, a string.", option="verify")
        if environment not in ("production", "sandbox"):
            raise DeclarationError(f'{self.name}: environment is "production" or "sandbox".', option="verify")
        check = self._check(secret, tolerance=tolerance)
        made: Any = use(self.name, keys, read_key, lambda: _endpoint(environment, client_id))
        return replace(check, scheme=replace(self.scheme, keys=made))
