"""Shops."""

from __future__ import annotations

import re as _re

from ...reply import Reply as _Reply
from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..handshake_kinds import ABSENT as _ABSENT
from ..handshake_kinds import Fixed as _Fixed
from ..places import Header as _Header
from ..places import Listed as _Listed
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..signature import Signature as _Signature
from ..standard import StandardKeys as _StandardKeys

shopify = _Plain(
    name="shopify",
    title="Shopify",
    docs="https://shopify.dev/docs/apps/build/webhooks/verify-deliveries",
    scheme=_Signature(place=_Header("X-Shopify-Hmac-SHA256"), encoding="base64"),
    # Not X-Shopify-Event-Id: the topics that one action sets off share it.
    dedupe="header:X-Shopify-Webhook-Id",
    retries=True,
    needs="the app's client secret; of webhooks made in a shop's admin, the key shown below them",
    note="Only the body is signed: whoever has your app installed can send theirs with another X-Shopify-Shop-Domain "
    "or X-Shopify-Topic. After a rotation it takes up to an hour until the new secret signs: give both.",
)
"""Shopify: the app's client secret, or the key that a shop's admin shows (Settings, Notifications, Webhooks).

Only the body is signed, and not the headers that name the shop and the topic.
"""

woocommerce = _Plain(
    name="woocommerce",
    title="WooCommerce",
    docs="https://developer.woocommerce.com/docs/apis/rest-api/v3/webhooks/",
    scheme=_Signature(place=_Header("X-WC-Webhook-Signature"), encoding="base64"),
    # No dedupe: X-WC-Webhook-Delivery-ID is made of the webhook's id and the second, which two orders may share.
    retries=False,
    handshakes=(
        # When the webhook is made; nothing but 200 will do.
        _Fixed(
            title="ping",
            body=_re.compile(rb"webhook_id=[0-9]{1,20}"),
            when={"header:X-WC-Webhook-Signature": _ABSENT},
            signed=False,
        ),
    ),
    needs="the webhook's secret (WooCommerce, Settings, Advanced, Webhooks)",
    note="It never tries again, and switches a webhook off after more than five failures in a row. Its delivery id is "
    "the same for all deliveries of a webhook within a second, and so no key for duplicates.",
)
"""WooCommerce: the webhook's secret. It never tries again; its delivery id tells no duplicates."""

bigcommerce = _Timed(
    name="bigcommerce",
    title="BigCommerce",
    docs="https://developer.bigcommerce.com/docs/integrations/webhooks/https",
    scheme=_Signature(
        place=_Listed("webhook-signature"),
        content=_Content("{header:webhook-id}.{timestamp}.{body}"),
        algorithm=_StandardKeys(plain=True),
        encoding="base64",
        time="header:webhook-timestamp",
        tolerance=_TOLERANCE,
        message_id="webhook-id",
    ),
    dedupe="header:webhook-id",
    retries=True,
    reply=_Reply(200),
    needs="the client secret of the app that made the webhook, as it is",
    note="Standard Webhooks, but for the key: its text is the key, and no base64. It asks for 200, and for no body.",
)
"""BigCommerce: the client secret of the app whose token made the webhook, as it is (their docs encode it first only
because the library decodes it). Standard Webhooks otherwise.
"""
