"""Money: payments, subscriptions, invoices."""

from __future__ import annotations

from ...reply import Reply as _Reply
from ..algorithms import Hmac as _Hmac
from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..encodings import from_hex as _from_hex
from ..handshake_kinds import Fixed as _Fixed
from ..own.adyen import AdyenItems as _AdyenItems
from ..own.braintree import BraintreeChallenge as _BraintreeChallenge
from ..own.braintree import BraintreeForm as _BraintreeForm
from ..own.braintree import WithPublicKey as _WithPublicKey
from ..places import Header as _Header
from ..places import Pairs as _Pairs
from ..provider import OfUrl as _OfUrl
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..provider import WithName as _WithName
from ..signature import Signature as _Signature
from ..tokens import NameAndPassword as _NameAndPassword

stripe = _Timed(
    name="stripe",
    title="Stripe",
    docs="https://docs.stripe.com/webhooks/signatures",
    scheme=_Signature(
        place=_Pairs("Stripe-Signature", signature="v1", timestamp="t"),
        content=_Content("{timestamp}.{body}"),
        tolerance=_TOLERANCE,
    ),
    dedupe="data:id",
    content_type="application/json",
    retries=True,
    needs="the endpoint's signing secret, whsec_… (Workbench, Webhooks)",
    note="The secret is the key as it stands, whsec_ with it. The Stripe CLI (stripe listen) signs with a secret of "
    "its own. Each retry is signed anew.",
)
"""Stripe: the endpoint's signing secret, whsec_… with its prefix; `stripe listen` shows one of its own.

Snapshot and thin events. While a secret is rolled Stripe signs with both.
"""

square = _OfUrl(
    name="square",
    title="Square",
    docs="https://developer.squareup.com/docs/webhooks/step3validate",
    scheme=_Signature(
        place=_Header("x-square-hmacsha256-signature"), content=_Content("{url}{body}"), encoding="base64"
    ),
    dedupe="data:event_id",
    retries=True,
    # Whatever its header says: nothing stands between the URL and the body, and text could begin with the URL's end.
    content_type="application/json",
    needs="the subscription's signature key (Developer Console, Webhooks)",
    note="It signs the notification URL as you entered it, to the letter: give it as public_url.",
)
"""Square: the subscription's signature key. It signs the notification URL as entered: give that as `public_url`."""

adyen = _Plain(
    name="adyen",
    title="Adyen",
    docs="https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures",
    scheme=_AdyenItems(),
    # No dedupe: a duplicate has the same eventCode and pspReference, two fields that only together say it.
    retries=True,
    needs="the webhook's HMAC key, in hexadecimal (Customer Area, Developers, Webhooks, Security)",
    note="Standard webhooks; those with a header are adyen_platform's. Only pspReference, originalReference, "
    "merchantAccountCode, merchantReference, amount, eventCode and success are signed: trust nothing else of it. "
    "Duplicates have the same eventCode and pspReference.",
)
"""Adyen's standard webhooks (payments): the webhook's HMAC key, in hexadecimal.

Eight fields are signed, and not the rest: what else there is may have been changed.
"""

adyen_platform = _Plain(
    name="adyen_platform",
    title="Adyen platforms",
    docs="https://docs.adyen.com/development-resources/webhooks/secure-webhooks/verify-hmac-signatures",
    scheme=_Signature(place=_Header("HmacSignature"), algorithm=_Hmac(secret=_from_hex), encoding="base64"),
    retries=True,
    needs="the webhook's HMAC key, in hexadecimal (Customer Area, Developers, Webhooks, Security)",
    note="Adyen for Platforms, issuing, banking, the Management API and token webhooks: those whose signature is in a "
    "header.",
)
"""Adyen's webhooks with a signature in a header (platforms, banking, management): the HMAC key, in hexadecimal."""

razorpay = _Plain(
    name="razorpay",
    title="Razorpay",
    docs="https://razorpay.com/docs/webhooks/validate-test/",
    scheme=_Signature(place=_Header("X-Razorpay-Signature")),
    dedupe="header:x-razorpay-event-id",
    retries=True,
    needs="the webhook's secret, which you chose (Dashboard, Account & Settings, Webhooks)",
    note="Not the API key's secret. After a change of the secret it signs retries of older events with the old one: "
    "keep it for a day.",
)
"""Razorpay: the webhook's own secret, not that of an API key; after a change keep the old one for a day of retries."""

paddle = _Timed(
    name="paddle",
    title="Paddle",
    docs="https://developer.paddle.com/webhooks/about/signature-verification",
    scheme=_Signature(
        place=_Pairs("Paddle-Signature", signature="h1", timestamp="ts", between=";"),
        content=_Content("{timestamp}:{body}"),
        tolerance=5,
    ),
    dedupe="data:event_id",
    content_type="application/json",
    retries=True,
    reply=_Reply(200),
    needs="the notification destination's secret key, pdl_ntfset_… (Developer Tools, Notifications)",
    note="Paddle Billing; Paddle Classic signs otherwise. Its tolerance is 5 seconds: keep your clock right, or give a "
    "longer one.",
)
"""Paddle Billing: the notification destination's secret key, pdl_ntfset_… Paddle's own tolerance is 5 seconds."""

lemon_squeezy = _Plain(
    name="lemon_squeezy",
    title="Lemon Squeezy",
    docs="https://docs.lemonsqueezy.com/help/webhooks/signing-requests",
    scheme=_Signature(place=_Header("X-Signature")),
    # No dedupe: a body has the id of the order or subscription that it is about, and none of its own.
    # No retries to rely on: those of three minutes.
    reply=_Reply(200),
    needs="the webhook's signing secret, which you chose (Settings, Webhooks)",
    note="It tries three times more, within three minutes, and takes nothing but 200.",
)
"""Lemon Squeezy: the webhook's signing secret. Three retries within three minutes; an event has no id of its own."""

coinbase_commerce = _Plain(
    name="coinbase_commerce",
    title="Coinbase Commerce",
    docs="https://docs.cdp.coinbase.com/commerce/api-arcitecture/webhooks-security",
    scheme=_Signature(place=_Header("X-CC-Webhook-Signature")),
    dedupe="data:event.id",
    content_type="application/json",
    retries=True,
    reply=_Reply(200),
    needs="the webhook shared secret (Settings, Notifications)",
)
"""Coinbase Commerce: the webhook shared secret (Settings, Notifications)."""

xero = _Plain(
    name="xero",
    title="Xero",
    docs="https://developer.xero.com/documentation/guides/webhooks/configuring-your-server/",
    scheme=_Signature(place=_Header("x-xero-signature"), encoding="base64"),
    # No dedupe: a body is a batch of events, and has no id of its own.
    retries=True,
    reply=_Reply(200),
    bare=True,
    handshakes=(_Fixed(title="intent to receive", when={"data:events": []}, signed=True),),
    needs="the app's webhooks key (My Apps, Webhooks)",
    note="The key is used as it stands, although it looks like base64. Before it sends anything it tries out whether "
    "wrong signatures get 401: that is answered here, and becomes no job.",
)
"""Xero: the app's webhooks key, as it stands although it looks like base64.

It wants 200, and 401 for the wrong signatures that it tries on purpose, both without a body.
"""

chargebee = _WithName(
    name="chargebee",
    title="Chargebee",
    docs="https://www.chargebee.com/docs/billing/2.0/site-configuration/webhook_settings",
    scheme=_NameAndPassword(""),
    dedupe="data:id",
    retries=True,
    needs="the password that you gave the webhook (Settings, Configure Chargebee, Webhooks)",
    note="It signs nothing: basic authentication is all there is. It tries again for more than three days: a "
    "dedupe_window of 4d knows all duplicates.",
)
"""Chargebee: `secret` is the password and `username` the name that the webhook was given. Nothing is signed."""

braintree = _WithPublicKey(
    name="braintree",
    title="Braintree",
    docs="https://developer.paypal.com/braintree/docs/guides/webhooks/parse",
    scheme=_BraintreeForm(),
    # No dedupe: a notification has no id.
    retries=True,
    handshakes=(_BraintreeChallenge(),),
    needs="the API private key (Control Panel, API)",
    note="bt_payload is base64 of XML: decode it in a transform or in the job. A notification has no id; its time "
    "stands in the XML, and is not checked.",
)
"""Braintree: `secret` is the API private key and `public_key` the public one. `bt_payload` is base64 of XML."""
