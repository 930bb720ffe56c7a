"""What people work with: their customers, documents, tasks, notes and forms."""

from __future__ import annotations

from ...reply import EMPTY as _EMPTY
from ...reply import Reply as _Reply
from ..algorithms import Hmac as _Hmac
from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..handshake_kinds import ABSENT as _ABSENT
from ..handshake_kinds import BringsKey as _BringsKey
from ..handshake_kinds import Fixed as _Fixed
from ..places import AnyHeader as _AnyHeader
from ..places import Header as _Header
from ..provider import BringsSecret as _BringsSecret
from ..provider import OfUrl as _OfUrl
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..provider import TimedOfUrl as _TimedOfUrl
from ..signature import Signature as _Signature

hubspot = _TimedOfUrl(
    name="hubspot",
    title="HubSpot",
    docs="https://developers.hubspot.com/docs/apps/developer-platform/build-apps/authentication/request-validation",
    scheme=_Signature(
        place=_Header("X-HubSpot-Signature-v3"),
        content=_Content("{method}{plainurl}{body}{timestamp}"),
        encoding="base64",
        time="header:X-HubSpot-Request-Timestamp",
        unit="ms",
        tolerance=_TOLERANCE,
    ),
    # No dedupe: the body is a list of up to 100 events, whose eventId "is not guaranteed to be unique".
    retries=True,
    # Whatever its header says: nothing stands between the URL and the body, and text could begin with the URL's end.
    content_type="application/json",
    needs="the app's client secret",
    note="Version 3 of its signatures; 1 and 2, which it sends beside it, are plain hashes without a time, and are not "
    "read. The body is a list of events: split=True makes an event of each.",
)
"""HubSpot, version 3 of its signatures: the app's client secret, and the URL as the app's settings have it.

The body is a list of up to 100 events (`split=True`).
"""

docusign = _Plain(
    name="docusign",
    title="DocuSign Connect",
    docs="https://developers.docusign.com/platform/webhooks/connect/validate",
    scheme=_Signature(
        # One for each key of the account, of which there may be 100; each is compared with each secret.
        place=_AnyHeader(tuple(f"X-DocuSign-Signature-{number}" for number in range(1, 17))),
        encoding="base64",
    ),
    needs="an HMAC key of the account (eSignature Admin, Connect, Connect keys), as it is",
    note="It tries again only where the configuration requires an acknowledgement. With several keys in use it signs "
    "with all; the first 16 signatures are read. Its messages have no id.",
)
"""DocuSign Connect: an HMAC key of the account, which looks like base64 and is taken as text."""

zendesk = _Timed(
    name="zendesk",
    title="Zendesk",
    docs="https://developer.zendesk.com/documentation/webhooks/verifying/",
    scheme=_Signature(
        place=_Header("X-Zendesk-Webhook-Signature"),
        content=_Content("{timestamp}{body}"),
        encoding="base64",
        time="header:X-Zendesk-Webhook-Signature-Timestamp",
        unit="iso",
        tolerance=_TOLERANCE,
    ),
    # No dedupe: the invocation's id is a number outside of the signature, and a trigger's body is what its user made.
    needs="the webhook's signing secret (Admin Center, Webhooks, Reveal secret), as it is",
    note='It tries again for moments only. A webhook of Zendesk events has an id: dedupe="data:id". Tests before a '
    "webhook is saved are signed with the secret that the docs print.",
)
"""Zendesk: the webhook's signing secret, which looks like base64 and is taken as text.

Webhooks of Zendesk events have an id (`dedupe="data:id"`); those of triggers send what their user wrote.
"""

asana = _BringsSecret(
    name="asana",
    title="Asana",
    docs="https://developers.asana.com/docs/webhooks-guide",
    scheme=_Signature(place=_Header("X-Hook-Signature")),
    # No dedupe: an event is a list of what changed, and has no id.
    retries=True,
    # Only 200 and 204 count: after a day of others the webhook is deleted.
    reply=_EMPTY,
    handshakes=(
        _BringsKey(
            title="X-Hook-Secret",
            secret="header:X-Hook-Secret",  # noqa: S106 - where it is
            header="X-Hook-Secret",
            when={"header:X-Hook-Signature": _ABSENT},
        ),
        # Every eight hours; nothing to queue.
        _Fixed(title="heartbeat", when={"data:events": []}, reply=_EMPTY, signed=True),
    ),
    needs="the webhook's X-Hook-Secret; left out, the one that its handshake brings",
    note="Each webhook has a secret of its own, and so wants a URL of its own: /asana/<project>. Only 200 and 204 "
    "count as delivered: a route whose reply= says otherwise loses its webhook after a day.",
)
"""Asana: nothing, or the X-Hook-Secret of the webhook. Without it the first one that comes is kept.

Each webhook has a secret of its own, and so wants a URL of its own: `/asana/<project>`.
"""

trello = _OfUrl(
    name="trello",
    title="Trello",
    docs="https://developer.atlassian.com/cloud/trello/guides/rest-api/webhooks/",
    scheme=_Signature(
        place=_Header("X-Trello-Webhook"),
        content=_Content("{body}{url}"),
        algorithm=_Hmac("sha1"),
        encoding="base64",
    ),
    dedupe="data:action.id",
    reply=_Reply(200),
    # Whatever its header says: nothing stands between the URL and the body, and text could begin with the URL's end.
    content_type="application/json",
    needs="the application's OAuth secret (Power-Up admin, API key), neither the key nor a token",
    note="Signed with the callbackURL, to the letter, its query with it. It tries three times more, for minutes; 410 "
    "deletes the webhook.",
)
"""Trello: the application's OAuth secret, and `public_url=` as the webhook's callbackURL has it, its query too.

The HEAD with which Trello tries a callbackURL is answered.
"""

notion = _BringsSecret(
    name="notion",
    title="Notion",
    docs="https://developers.notion.com/reference/webhooks",
    scheme=_Signature(place=_Header("X-Notion-Signature", "sha256=")),
    dedupe="data:id",
    content_type="application/json",
    retries=True,
    handshakes=(
        _BringsKey(
            title="verification_token",
            secret="data:verification_token",  # noqa: S106 - where it is
            when={"data:type": _ABSENT},
        ),
    ),
    needs="the subscription's verification_token, secret_… and all; left out, the one that its handshake brings",
    note="Notion wants its token back: paste it into the subscription's page (Verify), or nothing is sent.",
)
"""Notion: nothing, or the subscription's verification_token. Without it the first one that comes is kept.

Notion wants it back: paste it into the subscription's page (Verify).
"""

typeform = _Plain(
    name="typeform",
    title="Typeform",
    docs="https://www.typeform.com/developers/webhooks/secure-your-webhooks/",
    scheme=_Signature(place=_Header("Typeform-Signature", "sha256="), encoding="base64"),
    # Not form_response.token: a partial response and the whole one share it.
    dedupe="data:event_id",
    content_type="application/json",
    retries=True,
    needs="the secret that the webhook was given; without one nothing is signed",
    note="404 and 410 switch the webhook off at once.",
)
"""Typeform: the secret that the webhook was given (Connect, Webhooks, Edit). The signature is in base64."""
