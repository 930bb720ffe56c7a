"""Messages, mail and people: chat, telephony, e-mail, social networks."""

from __future__ import annotations

from ...reply import EMPTY as _EMPTY
from ...reply import Reply as _Reply
from ..algorithms import Hmac as _Hmac
from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..encodings import from_base64 as _from_base64
from ..encodings import from_hex as _from_hex
from ..handshake_kinds import ABSENT as _ABSENT
from ..handshake_kinds import DIGITS as _DIGITS
from ..handshake_kinds import Echo as _Echo
from ..handshake_kinds import Fixed as _Fixed
from ..handshake_kinds import Hashed as _Hashed
from ..key_pairs import Ecdsa as _Ecdsa
from ..key_pairs import Ed25519 as _Ed25519
from ..own.mailgun_fields import MailgunFields as _MailgunFields
from ..own.mailgun_fields import timestamp_and_token as _timestamp_and_token
from ..own.url_with_port import OfUrlWithPort as _OfUrlWithPort
from ..places import Header as _Header
from ..provider import OfUrl as _OfUrl
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..provider import WithName as _WithName
from ..provider import WithVerifyToken as _WithVerifyToken
from ..signature import Signature as _Signature
from ..signed_bodies import url_and_form as _url_and_form
from ..signed_bodies import url_and_form_or_hash as _url_and_form_or_hash
from ..tokens import NameAndPassword as _NameAndPassword
from ..tokens import Token as _Token

_OK = _Reply(200)

_HUB = _Echo(
    title="hub.challenge",
    method="GET",
    challenge="query:hub.challenge",
    when={"query:hub.mode": "subscribe"},
    token="query:hub.verify_token",  # noqa: S106 - where it is
    characters=_DIGITS,
    signed=False,
)

slack = _Timed(
    name="slack",
    title="Slack",
    docs="https://docs.slack.dev/authentication/verifying-requests-from-slack/",
    scheme=_Signature(
        place=_Header("X-Slack-Signature", "v0="),
        content=_Content("v0:{timestamp}:{body}"),
        time="header:X-Slack-Request-Timestamp",
        tolerance=_TOLERANCE,
    ),
    dedupe="data:event_id",
    # No retries to rely on: three within six minutes, and of events alone.
    # Empty: slash commands and interactivity take a body for a message.
    reply=_OK,
    handshakes=(
        _Echo(
            title="url_verification", challenge="data:challenge", when={"data:type": "url_verification"}, signed=True
        ),
    ),
    needs="the app's signing secret (Basic Information, App Credentials)",
    note="It sends an event again at once, after a minute and after five. Slash commands and interactivity are signed "
    "too, but are forms, have no id, and are never sent again.",
)
"""Slack: the app's signing secret (Basic Information, App Credentials), not its verification token.

Events, slash commands and interactivity alike. Within three seconds, or Slack sends it again: three times.
"""

discord = _Timed(
    name="discord",
    title="Discord",
    docs="https://docs.discord.com/developers/interactions/overview#setting-up-an-endpoint-validating-security-request-headers",
    scheme=_Signature(
        place=_Header("X-Signature-Ed25519"),
        content=_Content("{timestamp}{body}"),
        algorithm=_Ed25519(_from_hex),
        time="header:X-Signature-Timestamp",
        # It sends webhook events again for ten minutes, and does not say whether with a new time.
        tolerance=900,
    ),
    dedupe="data:id",
    content_type="application/json",
    # No retries to rely on: of webhook events for ten minutes, of interactions none.
    reply=_EMPTY,
    handshakes=(
        # A webhook event has type 1 too.
        _Fixed(
            title="PING", when={"data:type": 1, "data:event": _ABSENT}, reply=_Reply(200, body={"type": 1}), signed=True
        ),
        _Fixed(title="PING of webhook events", when={"data:type": 0}, reply=_EMPTY, signed=True),
    ),
    needs="the application's public key, in hexadecimal (General Information)",
    note="Webhook events want 204, have no id, and are sent again for ten minutes. Interactions want a JSON answer "
    'within three seconds and are never sent again: reply=Reply(200, body={"type": 5}) and a follow-up from the job.',
)
"""Discord: the application's public key (General Information); for interactions and for webhook events.

Discord sends wrong signatures on purpose, and takes the URL away from whoever does not answer them 401.
"""

zoom = _Timed(
    name="zoom",
    title="Zoom",
    docs="https://developers.zoom.us/docs/api/webhooks/#verify-webhook-events",
    scheme=_Signature(
        place=_Header("x-zm-signature", "v0="),
        content=_Content("v0:{timestamp}:{body}"),
        time="header:x-zm-request-timestamp",
        tolerance=_TOLERANCE,
    ),
    # No retries to rely on: the first comes as late as the tolerance, perhaps with the time of the first try, and what
    # gets a 401 never comes again.
    reply=_EMPTY,
    handshakes=(
        _Hashed(
            title="endpoint.url_validation",
            challenge="data:payload.plainToken",
            when={"data:event": "endpoint.url_validation"},
            answers={"plainToken": "{challenge}", "encryptedToken": "{hash}"},
            signed=True,
        ),
    ),
    needs="the app's secret token (Features, Access)",
    note="It takes 200 and 204 alone. After a 5xx it sends an event again 5, 25 and 85 minutes later, after a 4xx "
    "never. It names no tolerance, and no id that stays the same.",
)
"""Zoom: the app's secret token (Features, Access), which answers its URL validation too.

What was refused with 401 does not come again; what was answered 5xx does, three times.
"""

meta = _WithVerifyToken(
    name="meta",
    title="Meta (Messenger, Instagram, Pages)",
    docs="https://developers.facebook.com/docs/graph-api/webhooks/getting-started/",
    scheme=_Signature(place=_Header("X-Hub-Signature-256", "sha256=")),
    retries=True,
    reply=_OK,
    handshakes=(_HUB,),
    needs="the app's secret (App settings, Basic); verify_token= is what you typed in beside the callback URL",
    note="Events come in batches without an id of their own; it tries again for 36 hours.",
)
"""Meta's Webhooks: the app secret (App settings, Basic), and the verify token that you chose for the callback URL.

Up to 1,000 changes come in one event, which has no id: the receiver tells duplicates by those of its entries.
"""

whatsapp = _WithVerifyToken(
    name="whatsapp",
    title="WhatsApp",
    docs="https://developers.facebook.com/docs/whatsapp/cloud-api/guides/set-up-webhooks",
    scheme=_Signature(place=_Header("X-Hub-Signature-256", "sha256=")),
    retries=True,
    reply=_OK,
    handshakes=(_HUB,),
    needs="the app's secret (App settings, Basic); verify_token= is what you typed in beside the callback URL",
    note="Messages have an id each, and the event around them none.",
)
"""WhatsApp: the Meta app's secret (App settings, Basic), and the verify token of the callback URL."""

twilio = _OfUrl(
    name="twilio",
    title="Twilio",
    docs="https://www.twilio.com/docs/usage/webhooks/webhooks-security",
    scheme=_OfUrlWithPort(
        place=_Header("X-Twilio-Signature"),
        content=_url_and_form_or_hash,
        algorithm=_Hmac("sha1"),
        encoding="base64",
        covers_url=True,
    ),
    dedupe="header:I-Twilio-Idempotency-Token",
    retries=False,
    # Neither JSON, which is its error 12300, nor text, which it would send as an SMS.
    reply=_EMPTY,
    needs="the account's auth token (Console, Account Info), or the secret of a SharedKey",
    note="204 acknowledges a message; a call wants TwiML: "
    "reply=Reply(200, {'Content-Type': 'text/xml'}, '<Response/>'). It tries again only where no connection was made, "
    "unless the URL's fragment says more: #rc=3&rp=all.",
)
"""Twilio: the account's auth token (Console, Account Info). Forms, JSON (bodySHA256) and GET.

It signs the URL as you gave it, so behind a proxy give public_url=, without the fragment of connection overrides.
"""

sendgrid = _Timed(
    name="sendgrid",
    title="SendGrid",
    docs="https://www.twilio.com/docs/sendgrid/for-developers/tracking-events/getting-started-event-webhook-security-features",
    scheme=_Signature(
        place=_Header("X-Twilio-Email-Event-Webhook-Signature"),
        content=_Content("{timestamp}{body}"),
        algorithm=_Ecdsa(_from_base64),
        encoding="base64",
        time="header:X-Twilio-Email-Event-Webhook-Timestamp",
        tolerance=_TOLERANCE,
    ),
    dedupe="data:sg_event_id",
    content_type="application/json",
    retries=True,
    needs="the verification key, MFkw… (Settings, Mail Settings, Event Webhooks, Signature Verification)",
    note="Events come as an array: split=True makes each one an event of its own, with its id. It tries again for 24 "
    "hours, names no tolerance, and does not say whether with a new time.",
)
"""SendGrid's Event Webhook: the verification key (Mail Settings, Event Webhooks), base64 without PEM's lines.

Events come as an array, in which each has its id: declare the route with split=True.
"""

mailgun = _Timed(
    name="mailgun",
    title="Mailgun",
    docs="https://documentation.mailgun.com/docs/mailgun/user-manual/webhooks/securing-webhooks",
    scheme=_Signature(
        place=_MailgunFields(),
        content=_timestamp_and_token,
        covers_body=False,
        # That of its own library (mailgun 1.10, verify_webhook): it sends events late.
        tolerance=900,
    ),
    dedupe="data:event-data.id",
    # No retries to rely on: for eight hours, "other than for delivery notification" ("Automatic Retries").
    # 202 is no success to it: it would send all of it again.
    reply=_OK,
    needs="the HTTP webhook signing key (Settings, API security), which is not an API key",
    note="Only a time and a token are signed: whoever has seen one event can send another one for 15 minutes. It sends "
    "again for eight hours, but never that something was delivered. Routes that forward mail with attachments send "
    "multipart, whose signature is not read.",
)
"""Mailgun: the HTTP webhook signing key (Settings, API security). Events (JSON) and forwarded mail (forms).

Only a time and a token in the body are signed, and nothing else of it.
"""

intercom = _Plain(
    name="intercom",
    title="Intercom",
    docs="https://developers.intercom.com/docs/references/webhooks/webhook-models#signed-notifications",
    scheme=_Signature(place=_Header("X-Hub-Signature", "sha1="), algorithm=_Hmac("sha1")),
    dedupe="data:id",
    content_type="application/json",
    # No retries to rely on: one, after a minute.
    needs="the app's client secret (Developer Hub, Basic information)",
    note="It tries again once, after a minute, and gives up a subscription that answers 410.",
)
"""Intercom: the app's client secret (Developer Hub, Basic information). It tries again once, after a minute."""

twitch = _Timed(
    name="twitch",
    title="Twitch EventSub",
    docs="https://dev.twitch.tv/docs/eventsub/handling-webhook-events/",
    scheme=_Signature(
        place=_Header("Twitch-Eventsub-Message-Signature", "sha256="),
        content=_Content("{header:Twitch-Eventsub-Message-Id}{timestamp}{body}"),
        time="header:Twitch-Eventsub-Message-Timestamp",
        unit="iso",
        tolerance=600,
        message_id="Twitch-Eventsub-Message-Id",
    ),
    dedupe="header:Twitch-Eventsub-Message-Id",
    # No retries to rely on: it does not say how many there are, nor when.
    handshakes=(
        _Echo(
            title="webhook_callback_verification",
            challenge="data:challenge",
            when={"header:Twitch-Eventsub-Message-Type": "webhook_callback_verification"},
            signed=True,
        ),
    ),
    needs="the secret that you gave when you subscribed, 10 to 100 characters",
    note="A revocation is an event too: its Twitch-Eventsub-Message-Type says so.",
)
"""Twitch EventSub: the secret of the subscription's transport. Its challenge is answered; a revocation is an event."""

telegram = _Plain(
    name="telegram",
    title="Telegram",
    docs="https://core.telegram.org/bots/api#setwebhook",
    scheme=_Token(_Header("X-Telegram-Bot-Api-Secret-Token")),
    dedupe="data:update_id",
    content_type="application/json",
    retries=True,
    needs="the secret_token that you gave to setWebhook, which is not the bot's token",
    note="Nothing is signed. Bots count their updates each for itself: give each a route, or a wildcard of its own.",
)
"""Telegram: the secret_token that you gave to setWebhook, not the bot's token. Nothing is signed."""

x = _Plain(
    name="x",
    title="X (Twitter)",
    docs="https://docs.x.com/x-api/webhooks/quickstart",
    scheme=_Signature(place=_Header("x-twitter-webhooks-signature", "sha256="), encoding="base64"),
    reply=_OK,
    handshakes=(
        _Hashed(
            title="crc_token",
            method="GET",
            challenge="query:crc_token",
            encoding="base64",
            answers={"response_token": "sha256={hash}"},
            signed=False,
        ),
    ),
    needs="the app's consumer secret (API key secret)",
    note="Events have no id of their own, and may come twice. Use the secret for nothing else: X's challenge has it "
    "sign any word, for anybody.",
)
"""X, which was Twitter: the app's consumer secret (API key secret), not its bearer token."""

postmark = _WithName(
    name="postmark",
    title="Postmark",
    docs="https://postmarkapp.com/developer/webhooks/webhooks-overview",
    scheme=_NameAndPassword(""),
    dedupe="header:X-PM-Webhook-Trace-Id",
    retries=True,
    # It takes nothing else, and tests it when a webhook is made.
    reply=_OK,
    needs="the password in the webhook's URL, https://username:password@…",
    note="It signs nothing. After a 401 an event is gone; after a 5xx it comes again six times within 70 minutes.",
)
"""Postmark: the password of the webhook's URL, https://username:password@…; the name is username=. It signs nothing."""

mandrill = _OfUrl(
    name="mandrill",
    title="Mailchimp Transactional (Mandrill)",
    docs="https://mandrill.zendesk.com/hc/en-us/articles/360039232513-How-to-Authenticate-Webhook-Requests",
    scheme=_Signature(
        place=_Header("X-Mandrill-Signature"),
        content=_url_and_form,
        algorithm=_Hmac("sha1"),
        encoding="base64",
        covers_url=True,
    ),
    retries=True,
    reply=_OK,
    needs="the webhook's key (Settings, Webhooks)",
    note="Up to 1,000 events come as JSON in one field of a form, mandrill_events, without an id of the whole.",
)
"""Mandrill: the webhook's key. It signs the URL exactly as you entered it: give it as public_url= behind a proxy."""

customerio = _Timed(
    name="customerio",
    title="Customer.io",
    docs="https://docs.customer.io/api/webhooks/",
    scheme=_Signature(
        place=_Header("X-CIO-Signature"),
        content=_Content("v0:{timestamp}:{body}"),
        time="header:X-CIO-Timestamp",
        tolerance=_TOLERANCE,
    ),
    dedupe="data:event_id",
    content_type="application/json",
    retries=True,
    needs="the reporting webhook's signing key, as it is shown (Integrations, Reporting Webhooks)",
    note="It tries again for seven days, and keeps later events back until then; it names no tolerance.",
)
"""Customer.io: the reporting webhook's signing key, as it is shown. Later events wait behind one that fails."""
