"""Those who sign with keys that they publish, and those who send a token with the body's hash."""

from __future__ import annotations

from ...reply import Reply as _Reply
from ..clock import TOLERANCE as _TOLERANCE
from ..confirms import Confirms as _Confirms
from ..fetched import Fetched as _Fetched
from ..jwt import BodyHashToken as _BodyHashToken
from ..own.paypal import PayPal as _PayPal
from ..own.plaid import ForClient as _ForClient
from ..own.plaid import PlaidToken as _PlaidToken
from ..own.sns import Sns as _Sns
from ..places import Header as _Header
from ..provider import Plain as _Plain

aws_sns = _Fetched(
    name="aws_sns",
    title="AWS SNS",
    docs="https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message-verify-message-signature.html",
    # A retry comes with the time of the first try, and an hour later at most ("Amazon SNS message delivery retries").
    scheme=_Sns(tolerance=3_900),
    dedupe="data:MessageId",
    # No retries to rely on: unless its policy says more, three, 20 seconds apart ("Set the delivery policy").
    content_type="application/json",
    handshakes=(
        _Confirms(
            title="SubscriptionConfirmation", when={"data:Type": "SubscriptionConfirmation"}, url="data:SubscribeURL"
        ),
    ),
    needs="the topic's ARN, arn:aws:sns:…: any AWS account can have SNS send here, so others' topics are refused",
    note="Raw message delivery has to be off: raw messages are not signed. SNS tries again after a 5xx alone, three "
    "times within a minute unless the subscription's policy says more. A subscription that is throttled "
    "(maxReceivesPerSecond) may need a longer tolerance.",
)
"""AWS SNS. `secret` is the topic's ARN, or several; data is the whole message, and what was published its `Message`."""

paypal = _Fetched(
    name="paypal",
    title="PayPal",
    docs="https://developer.paypal.com/api/rest/webhooks/rest/",
    # It names no tolerance, and tries again for three days, perhaps with the time of the first try.
    scheme=_PayPal(tolerance=3 * 86_400 + _TOLERANCE),
    dedupe="data:id",
    content_type="application/json",
    retries=True,
    needs="the webhook's id (Developer Dashboard, Apps & Credentials, the app, Webhooks)",
    note="PayPal signs the body's CRC32, and whoever saw one signed event can make another body with the same one: ask "
    "its API before money moves. What is signed is good for the three days in which PayPal may try again.",
)
"""PayPal. `secret` is the webhook's id, not the app's secret. Events of the simulator have the id `WEBHOOK_ID`."""

plaid = _ForClient(
    name="plaid",
    title="Plaid",
    docs="https://plaid.com/docs/api/webhooks/webhook-verification/",
    scheme=_PlaidToken(tolerance=_TOLERANCE),
    retries=True,
    reply=_Reply(200),
    needs="the secret of the API (Dashboard, Developers, Keys), which Plaid's keys are asked for with",
    note="What is proved is that Plaid sent it, to somebody: look the item_id up. A try again later than the tolerance "
    "is refused if Plaid signs it with the time of the first, which it does not say.",
)
"""Plaid. `secret` and `client_id` are those of the API; keys are fetched with them from the `environment`."""

netlify = _Plain(
    name="netlify",
    title="Netlify",
    docs="https://docs.netlify.com/deploy/deploy-notifications/#payload-signature",
    scheme=_BodyHashToken(place=_Header("X-Webhook-Signature"), claim="sha256", claims={"iss": "netlify"}),
    needs="the notification's JWS secret token",
)
"""Netlify's HTTP POST notifications. Without a secret token in the notification's settings nothing is signed."""
