"""A row of the catalogue: one provider, called with the user's secret."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from ..errors import DeclarationError
from .checking import Check, Facts, PublicUrl, check_public_url
from .secrets import Secret, Secrets, as_brought
from .signature import Scheme
from .tokens import named


class Own:
    """Stands for a tolerance that was left out; `None` may be a setting that somebody forgot."""

    def __repr__(self) -> str:
        return "the provider's own"


OWN: Final = Own()


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider(Facts):
    """A provider of webhooks: all that is known of it. Those that are called are of the kinds below.

        stripe = Timed(name="stripe", title="Stripe", docs="https://…", scheme=Signature(…), dedupe="data:id", …)

    Attributes:
        name: the name of the function that it is.
        title: what it calls itself.
        docs: the page that says how it signs.
        scheme: how it signs.
        needs: what `secret=` is, and where the provider shows it.
        note: what else a user needs to know, in a sentence or two.

    And all that `Facts` has.
    """

    # The kinds below are no dataclasses of their own, which would take their time when they are made.

    name: str
    title: str
    docs: str
    scheme: Scheme = field(repr=False)
    needs: str = "the webhook's secret"
    note: str = field(default="", repr=False)

    def _check(
        self,
        secret: Secret,
        *,
        tolerance: int | Own = OWN,
        public_url: PublicUrl | None = None,
        **more: Secret | None,
    ) -> Check:
        own = isinstance(tolerance, Own)
        if not own and (not isinstance(tolerance, int) or isinstance(tolerance, bool) or tolerance <= 0):
            raise DeclarationError(f"{self.name}: tolerance is a positive number of seconds.", option="verify")
        check_public_url(self.name, public_url)
        return Check(
            self.name,
            self.scheme,
            Secrets(self.name, secret, self.scheme.key),
            self,
            self.scheme.tolerance if isinstance(tolerance, Own) else tolerance,
            public_url,
            {name: Secrets(f"{self.name}({name}=…)", value) for name, value in more.items() if value is not None},
        )


class Plain(Provider):
    """A provider that needs nothing but a secret."""

    __slots__ = ()

    def __call__(self, secret: Secret) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the webhook's secret, or several, or a function of the event.

        Raises:
            DeclarationError: the secret is empty or none.
        """
        return self._check(secret)


class Timed(Provider):
    """A provider that signs when it sent a request."""

    __slots__ = ()

    def __call__(self, secret: Secret, *, tolerance: int | Own = OWN) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the webhook's secret, or several, or a function of the event.
            tolerance: seconds by which the signed time may be off; the provider's own where left out.

        Raises:
            DeclarationError: the secret is empty or none.
        """
        return self._check(secret, tolerance=tolerance)


class OfUrl(Provider):
    """A provider that signs the URL that it sends to."""

    __slots__ = ()

    def __call__(self, secret: Secret, *, public_url: PublicUrl | None = None) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the webhook's secret, or several, or a function of the event.
            public_url: the URL that the provider was given; what the request says where left out, which a proxy may
                have changed.

        Raises:
            DeclarationError: the secret is empty or none.
        """
        return self._check(secret, public_url=public_url)


class TimedOfUrl(Provider):
    """A provider that signs the URL that it sends to, and when."""

    __slots__ = ()

    def __call__(self, secret: Secret, *, public_url: PublicUrl | None = None, tolerance: int | Own = OWN) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the webhook's secret, or several, or a function of the event.
            public_url: the URL that the provider was given; what the request says where left out, which a proxy may
                have changed.
            tolerance: seconds by which the signed time may be off; the provider's own where left out.

        Raises:
            DeclarationError: the secret is empty or none.
        """
        return self._check(secret, public_url=public_url, tolerance=tolerance)


class WithVerifyToken(Provider):
    """A provider whose challenge carries a token that the user chose."""

    __slots__ = ()

    def __call__(self, secret: Secret, *, verify_token: Secret | None = None) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the webhook's secret, or several, or a function of the event.
            verify_token: what the user gave the provider to send in its challenge; without it challenges are refused.

        Raises:
            DeclarationError: the secret is empty or none.
        """
        return self._check(secret, verify_token=verify_token)


class BringsSecret(Provider):
    """A provider that chooses the secret itself, and sends it when the webhook is made."""

    __slots__ = ()

    def __call__(self, secret: Secret = as_brought) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the webhook's secret, or several, or a function of the event. Left out, it is the one that the
                provider sends first, which is kept in Redis; another one is refused until that is forgotten.

        Raises:
            DeclarationError: the secret is empty or none.
        """
        return self._check(secret)


class WithName(Provider):
    """A provider that sends a name and a password, both chosen by the user."""

    __slots__ = ()

    def __call__(self, secret: Secret, *, username: str) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: the password, or several, or a function of the event.
            username: the name.

        Raises:
            DeclarationError: the password is empty, or the name holds a colon.
        """
        return replace(self._check(secret), scheme=named(self.name, username))
