"""Standard Webhooks, and those who sign by it."""

from __future__ import annotations

from dataclasses import replace as _replace

from ...reply import EMPTY as _EMPTY
from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..own.polar import PolarKeys as _PolarKeys
from ..places import Listed as _Listed
from ..provider import Timed as _Timed
from ..signature import Signature as _Signature
from ..standard import StandardKeys as _StandardKeys

# Each time that it is sent again a message has its id still, and a time and a signature of its own (the specification,
# "Webhook Headers"; https://docs.svix.com/receiving/verifying-payloads/how-manual).
_STANDARD = _Signature(
    place=_Listed("webhook-signature"),
    content=_Content("{header:webhook-id}.{timestamp}.{body}"),
    algorithm=_StandardKeys(),
    encoding="base64",
    time="header:webhook-timestamp",
    tolerance=_TOLERANCE,
    message_id="webhook-id",
)

_SVIX = _replace(
    _STANDARD,
    place=_Listed("svix-signature"),
    content=_Content("{header:svix-id}.{timestamp}.{body}"),
    time="header:svix-timestamp",
    message_id="svix-id",
)

standard_webhooks = _Timed(
    name="standard_webhooks",
    title="Standard Webhooks",
    docs="https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    retries=True,
    needs="the key, whsec_…; or the public key, whpk_…",
    note="For every sender of Standard Webhooks that has no name of its own here, and for those who send through Svix "
    "under their own name, with the headers webhook-….",
)
"""Standard Webhooks, symmetric (v1) and asymmetric (v1a): whichever the secret is for.

`whsec_…` is a key that both sides know, `whpk_…` the sender's public one.
"""

svix = _Timed(
    name="svix",
    title="Svix",
    docs="https://docs.svix.com/receiving/verifying-payloads/how-manual",
    scheme=_SVIX,
    dedupe="header:svix-id",
    retries=True,
    needs="the endpoint's signing secret, whsec_…",
    note="For every sender whose headers are svix-…; where they are webhook-…, it is standard_webhooks. It sends again "
    "for more than a day, and disables an endpoint that fails for five.",
)
"""Svix, and every sender with the headers `svix-…`: the endpoint's signing secret, `whsec_…`.

Where Svix sends under its customer's name, the headers are `webhook-…`: use `standard_webhooks`.
"""

clerk = _Timed(
    name="clerk",
    title="Clerk",
    docs="https://clerk.com/docs/guides/development/webhooks/overview",
    scheme=_SVIX,
    dedupe="header:svix-id",
    retries=True,
    needs="the endpoint's signing secret, whsec_… (Clerk Dashboard, Webhooks)",
    note="It sends through Svix.",
)
"""Clerk: the endpoint's signing secret, `whsec_…`, on its page in the Clerk Dashboard. It sends through Svix."""

resend = _Timed(
    name="resend",
    title="Resend",
    docs="https://resend.com/docs/webhooks/verify-webhooks-requests",
    scheme=_SVIX,
    dedupe="header:svix-id",
    retries=True,
    needs="the webhook's signing secret, whsec_…",
    note="It sends through Svix.",
)
"""Resend: the webhook's signing secret, `whsec_…`, on its page. It sends through Svix."""

openai = _Timed(
    name="openai",
    title="OpenAI",
    docs="https://platform.openai.com/docs/guides/webhooks",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    retries=True,
    needs="the endpoint's signing secret, whsec_…, which is shown once",
    note="It sends again for up to 72 hours; a redirect counts as a failure.",
)
"""OpenAI: the webhook endpoint's signing secret, `whsec_…`, which is shown when the endpoint is made."""

replicate = _Timed(
    name="replicate",
    title="Replicate",
    docs="https://replicate.com/docs/topics/webhooks/verify-webhook",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    # No retries to rely on: those of what has ended, for a minute; of what is under way none ("Receive webhooks").
    needs="the signing key, whsec_…, of GET /v1/webhooks/default/secret",
    note="It tries again for a minute, and what says that a prediction is under way never.",
)
"""Replicate: the account's signing key, `whsec_…`, as `GET /v1/webhooks/default/secret` gives it."""

polar = _Timed(
    name="polar",
    title="Polar",
    docs="https://polar.sh/docs/integrate/webhooks/delivery",
    scheme=_replace(_STANDARD, algorithm=_PolarKeys()),
    dedupe="header:webhook-id",
    retries=True,
    needs="the endpoint's secret, whole as it is shown",
    note="The key is the secret's own bytes, or what is base64 in it, as Standard Webhooks says: Polar has both.",
)
"""Polar: the endpoint's secret, whole as it is shown, with what it begins with.

Of older secrets the own bytes are the key, of newer ones what is base64 in them; Polar's SDK tries both, and so do we.
"""

dodo_payments = _Timed(
    name="dodo_payments",
    title="Dodo Payments",
    docs="https://docs.dodopayments.com/developer-resources/webhooks",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    retries=True,
    needs="the webhook's secret key, whsec_…",
    note="When the secret is rotated, the old one is good for 24 hours more: give both.",
)
"""Dodo Payments: the webhook's secret key, of its page in the dashboard."""

anthropic = _Timed(
    name="anthropic",
    title="Anthropic",
    docs="https://platform.claude.com/docs/managed-agents/webhooks",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    # No retries to rely on: two, within minutes (github.com/anthropics/skills, managed-agents-webhooks.md).
    needs="the endpoint's signing secret, whsec_…, which is shown once",
    note="It tries twice more, within four minutes, then drops the event; a redirect disables the endpoint.",
)
"""Anthropic (Claude Platform): the webhook endpoint's signing secret, `whsec_…`, which is shown when it is made."""

liveblocks = _Timed(
    name="liveblocks",
    title="Liveblocks",
    docs="https://liveblocks.io/docs/platform/webhooks",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    retries=True,
    needs="the endpoint's signing secret, whsec_…",
    note="An endpoint that fails for five days is disabled.",
)
"""Liveblocks: the endpoint's signing secret, `whsec_…`, on its page in the project's dashboard."""

render = _Timed(
    name="render",
    title="Render",
    docs="https://render.com/docs/webhooks",
    scheme=_STANDARD,
    dedupe="header:webhook-id",
    retries=True,
    needs="the webhook's signing secret (Integrations, Webhooks)",
    note="It tries eight times in 33 hours; when the last one fails, the webhook is disabled.",
)
"""Render: the webhook's signing secret, on its settings page (Integrations, Webhooks)."""

supabase = _Timed(
    name="supabase",
    title="Supabase Auth hooks",
    docs="https://supabase.com/docs/guides/auth/auth-hooks",
    scheme=_STANDARD,
    # No dedupe: each attempt has an id of its own (supabase/auth, internal/hooks/v0hooks/v0http/v0http.go).
    retries=False,
    # The same file: of 200, 202 and 204, which it takes, 204 alone may be without a JSON body.
    reply=_EMPTY,
    needs="the hook's secret, v1,whsec_…",
    note="For the hooks whose answer may be empty, such as Send SMS and Send Email; others decide something, and a job "
    "is too late for that. Whoever signs in waits for the answer, five seconds at most.",
)
"""Supabase's HTTP Auth hooks whose answer may be empty (Send SMS, Send Email): the hook's secret, `v1,whsec_…`.

A hook that has to answer with something, such as Custom Access Token, is nothing for a queue.
"""
