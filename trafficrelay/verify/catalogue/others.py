"""Calendars, content and voices: what fits nowhere else."""

from __future__ import annotations

from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..places import Header as _Header
from ..places import Pairs as _Pairs
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..signature import Signature as _Signature

sanity = _Timed(
    name="sanity",
    title="Sanity",
    docs="https://www.sanity.io/docs/content-lake/webhooks",
    scheme=_Signature(
        place=_Pairs("sanity-webhook-signature", signature="v1"),
        content=_Content("{timestamp}.{body}"),
        encoding="base64url",
        unit="ms",
        tolerance=_TOLERANCE,
    ),
    dedupe="header:idempotency-key",
    # No retries to rely on: two, 30 seconds apart (its changelog, 29 April 2026).
    needs="the webhook's secret (sanity.io/manage, API, Webhooks), as it is",
    note="It tries twice more, 30 seconds apart, after 429 and 5xx alone.",
)
"""Sanity: the webhook's secret (sanity.io/manage, API, Webhooks). The time is in milliseconds."""

elevenlabs = _Timed(
    name="elevenlabs",
    title="ElevenLabs",
    docs="https://elevenlabs.io/docs/eleven-api/resources/webhooks",
    scheme=_Signature(
        place=_Pairs("ElevenLabs-Signature", signature="v0"),
        content=_Content("{timestamp}.{body}"),
        # Its SDKs' own.
        tolerance=1_800,
    ),
    # No dedupe: a conversation has several events, and none has an id.
    retries=False,
    needs="the webhook's shared secret, which is shown when it is made",
    note="It tries again only where the webhook says so, and then after 408, 429 and 5xx. Audio (post_call_audio) is "
    "large: raise max_body.",
)
"""ElevenLabs: the webhook's shared secret, which is shown when it is made (auth type HMAC)."""

calendly = _Timed(
    name="calendly",
    title="Calendly",
    docs="https://developer.calendly.com/api-docs/overview/webhooks/webhook-signatures",
    scheme=_Signature(
        place=_Pairs("Calendly-Webhook-Signature", signature="v1"),
        content=_Content("{timestamp}.{body}"),
        # That of the example in its docs.
        tolerance=180,
    ),
    # No dedupe: its events have no id.
    retries=True,
    needs="the webhook's signing key: the one that it was made with, or the OAuth app's",
    note="It tries again for a day, then switches the webhook off.",
)
"""Calendly: the signing key that the webhook subscription was made with, or the OAuth app's."""

cal_com = _Plain(
    name="cal_com",
    title="Cal.com",
    docs="https://cal.com/docs/developing/guides/automation/webhooks",
    scheme=_Signature(place=_Header("X-Cal-Signature-256")),
    # No dedupe: payload.uid is the booking's.
    retries=False,
    needs="the webhook's secret (Settings, Developer, Webhooks), as it is; without one nothing is signed",
    note="No time is signed, and its events have no id: whoever has one can send it again.",
)
"""Cal.com: the webhook's secret (Settings, Developer, Webhooks). Without one Cal.com signs nothing."""
