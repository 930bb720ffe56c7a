"""How known senders sign, in terms of `schemes`."""

from __future__ import annotations

from .schemes import HmacSignature, Secret, Secrets


def github(secret: Secret) -> HmacSignature:
    """Verify webhooks of GitHub: HMAC-SHA256 in `X-Hub-Signature-256` (GitHub, "Validating webhook deliveries").

    GitHub never tries again by itself (GitHub, "Handling failed webhook deliveries").

    Args:
        secret: the webhook's secret, or several, or a function of the event.

    Raises:
        DeclarationError: the secret is empty.
    """
    return HmacSignature(
        Secrets("github", secret), "X-Hub-Signature-256", "sha256", "hex", "sha256=", sender_retries=False
    )
