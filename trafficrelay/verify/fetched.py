"""Rows of providers whose keys are fetched: each call gives a verifier with a cache of its own."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from .checking import Check
from .keys import GivenKeys
from .provider import OWN, Own, Provider
from .secrets import Secret
from .signature import Scheme


class Fetching(Scheme, Protocol):
    """A scheme that needs keys of its provider."""

    def with_keys(self, owner: str, given: GivenKeys | None) -> Scheme:
        """Give the same scheme with keys: those that are given, or a new cache of those that are fetched.

        Raises:
            DeclarationError: what was given is none, or what is needed is not installed.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched(Provider):
    """A provider that publishes the keys that it signs with."""

    scheme: Fetching = field(repr=False)

    def __call__(self, secret: Secret, *, tolerance: int | Own = OWN, keys: GivenKeys | None = None) -> Check:
        """Verify this provider's webhooks.

        Args:
            secret: what tells the user's webhooks from those of others, or several, or a function of the event.
            tolerance: seconds by which the signed time may be off; the provider's own where left out.
            keys: keys that are used in place of those that would be fetched, for tests.

        Raises:
            DeclarationError: the secret is empty or none, or what is needed is not installed.
        """
        check = self._check(secret, tolerance=tolerance)
        return replace(check, scheme=self.scheme.with_keys(self.name, keys))
