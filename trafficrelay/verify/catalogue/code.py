"""Where code lives, is built, runs and is watched."""

from __future__ import annotations

from ...reply import Reply as _Reply
from ..algorithms import Hmac as _Hmac
from ..clock import TOLERANCE as _TOLERANCE
from ..content import Content as _Content
from ..places import Header as _Header
from ..places import Listed as _Listed
from ..places import Pairs as _Pairs
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..signature import Signature as _Signature
from ..standard import StandardKeys as _StandardKeys
from ..tokens import Token as _Token

github = _Plain(
    name="github",
    title="GitHub",
    docs="https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
    scheme=_Signature(place=_Header("X-Hub-Signature-256", "sha256=")),
    dedupe="header:X-GitHub-Delivery",
    retries=False,
    needs="the secret that the webhook was made with",
    note="GitHub never tries again by itself; “Redeliver” sends the same delivery id.",
)
"""GitHub: the secret that you gave the webhook (or the GitHub App).

It never tries again by itself; “Redeliver” sends the same delivery id.
"""

gitlab = _Plain(
    name="gitlab",
    title="GitLab (secret token)",
    docs="https://docs.gitlab.com/user/project/integrations/webhooks/",
    scheme=_Token(_Header("X-Gitlab-Token")),
    # A UUID, which older versions do not send (gitlab-org/gitlab#388692).
    dedupe="header:Idempotency-Key",
    # A failed request is logged, and that is all (app/services/web_hook_service.rb, execute).
    retries=False,
    needs="the webhook's secret token",
    note="The token itself is sent and nothing is signed; with a signing token it is gitlab_signed. Four failures in a "
    "row disable a webhook, for a while or for good.",
)
"""GitLab with a secret token, which it sends as it is. With a signing token, which is better, it is `gitlab_signed`."""

gitlab_signed = _Timed(
    name="gitlab_signed",
    title="GitLab (signing token)",
    docs="https://docs.gitlab.com/user/project/integrations/webhooks/",
    scheme=_Signature(
        place=_Listed("webhook-signature"),
        content=_Content("{header:webhook-id}.{timestamp}.{body}"),
        algorithm=_StandardKeys(),
        encoding="base64",
        time="header:webhook-timestamp",
        tolerance=_TOLERANCE,
        message_id="webhook-id",
    ),
    dedupe="header:webhook-id",
    retries=False,
    needs="the webhook's signing token, whsec_…",
    note="Standard Webhooks, with its tools; the id is that of the header Idempotency-Key.",
)
"""GitLab with a signing token, `whsec_…`: Standard Webhooks. The secret token of older versions is `gitlab`."""

bitbucket = _Plain(
    name="bitbucket",
    title="Bitbucket",
    docs="https://support.atlassian.com/bitbucket-cloud/docs/manage-webhooks/",
    scheme=_Signature(place=_Header("X-Hub-Signature", "sha256=")),
    dedupe="header:X-Request-UUID",
    # No retries to rely on: two.
    needs="the webhook's secret",
    note="It tries twice more after a 5xx or when nothing came for 10 seconds. Bitbucket Data Center signs alike, and "
    'has no X-Request-UUID: say dedupe="header:X-Request-Id".',
)
"""Bitbucket: the secret that you gave the webhook; without one it signs nothing.

Bitbucket Data Center signs alike, with `dedupe="header:X-Request-Id"`.
"""

jira = _Plain(
    name="jira",
    title="Jira",
    docs="https://developer.atlassian.com/cloud/jira/platform/webhooks/",
    scheme=_Signature(place=_Header("X-Hub-Signature", "sha256=")),
    dedupe="header:X-Atlassian-Webhook-Identifier",
    # No retries to rely on: those of half an hour ("New Jira Cloud Webhook Retry Policy").
    needs="the secret of a webhook that an administrator made",
    note="For webhooks that an administrator made, with a secret; those of Connect and OAuth apps come with a JWT. An "
    "event's id is unique within a site: give each site a route, or a wildcard of its own. It sends again for half "
    "an hour, after 408, 409, 425, 429, 5xx and when nothing came.",
)
"""Jira Cloud's webhooks that an administrator made: the secret that was given; without one it signs nothing.

Those that an app registered (Connect, OAuth) come with a JWT, and are refused here.
"""

gitea = _Plain(
    name="gitea",
    title="Gitea",
    docs="https://docs.gitea.com/usage/webhooks",
    scheme=_Signature(place=_Header("X-Gitea-Signature")),
    dedupe="header:X-Gitea-Delivery",
    retries=False,
    needs="the webhook's secret",
    note="Choose application/json: of a form, Gitea signs the JSON within it and not what it sends. A replay has a new "
    "delivery id.",
)
"""Gitea: the webhook's secret. Choose the content type application/json: of a form it signs the JSON within."""

forgejo = _Plain(
    name="forgejo",
    title="Forgejo",
    docs="https://forgejo.org/docs/latest/user/webhooks/",
    scheme=_Signature(place=_Header("X-Forgejo-Signature")),
    dedupe="header:X-Forgejo-Delivery",
    retries=False,
    needs="the webhook's secret",
    note="Choose application/json: of a form, Forgejo signs the JSON within it and not what it sends. A replay has a "
    "new delivery id.",
)
"""Forgejo: the webhook's secret. Choose application/json: of a form it signs the JSON within."""

circleci = _Plain(
    name="circleci",
    title="CircleCI",
    docs="https://circleci.com/docs/guides/integration/outbound-webhooks/",
    scheme=_Signature(place=_Pairs("circleci-signature", signature="v1", timestamp="")),
    dedupe="data:id",
    # No retries to rely on: "at a later time" is all that it says.
    needs="the webhook's secret token",
    note="It tries again what got no 2xx within 5 seconds, and does not say for how long.",
)
"""CircleCI's outbound webhooks: the secret token that you gave the webhook; without one it signs nothing."""

vercel = _Plain(
    name="vercel",
    title="Vercel",
    docs="https://vercel.com/docs/webhooks/webhooks-api",
    scheme=_Signature(place=_Header("x-vercel-signature"), algorithm=_Hmac("sha1")),
    dedupe="data:id",
    content_type="application/json",
    needs="the webhook's secret, which is shown once; of an integration its Client Secret",
)
"""Vercel: the webhook's secret, which is shown when it is made; of an integration's webhooks its Client Secret."""

heroku = _Plain(
    name="heroku",
    title="Heroku",
    docs="https://devcenter.heroku.com/articles/app-webhooks",
    scheme=_Signature(place=_Header("Heroku-Webhook-Hmac-SHA256"), encoding="base64"),
    dedupe="data:webhook_metadata.delivery.id",
    # No retries to rely on: at the level sync for three days, at notify none.
    needs="the webhook's secret, as given or as the answer's header Heroku-Webhook-Secret had it",
    note="Subscribe with --level sync: at the level notify it does not send again.",
)
"""Heroku's app webhooks: the secret that you gave, or that the answer's header `Heroku-Webhook-Secret` had.

It sends again at the level `sync` alone.
"""

sentry = _Plain(
    name="sentry",
    title="Sentry",
    docs="https://docs.sentry.io/integrations/integration-platform/webhooks/",
    scheme=_Signature(place=_Header("Sentry-Hook-Signature")),
    # No dedupe: Request-ID is made anew for each request. Sentry-Hook-Timestamp is not signed.
    needs="the integration's Client Secret",
    note="It waits one second for an answer, and may disable an integration whose answers are late. Its Request-ID is "
    "the request's, not the event's.",
)
"""Sentry's integration platform: the integration's Client Secret. It waits one second for an answer."""

pagerduty = _Plain(
    name="pagerduty",
    title="PagerDuty",
    docs="https://github.com/PagerDuty/developer-docs/blob/main/docs/webhooks/04-Signatures.md",
    scheme=_Signature(place=_Pairs("X-PagerDuty-Signature", signature="v1", timestamp="")),
    # Signed, which the header X-Webhook-Id is not.
    dedupe="data:event.id",
    content_type="application/json",
    # No retries to rely on: four within 20 minutes, and three events that were dropped disable the webhook.
    needs="the subscription's secret, which is shown once",
    note="Version 3 of its webhooks. It sends again four times within 20 minutes, after a 5xx, a 429 or when nothing "
    "came; after any other 4xx it drops the event. After three dropped ones it disables the webhook for a day.",
)
"""PagerDuty, version 3 of its webhooks: the subscription's secret, which is shown when it is made.

After any 4xx but 429 it drops an event: with a wrong secret events are lost.
"""

linear = _Timed(
    name="linear",
    title="Linear",
    docs="https://linear.app/developers/webhooks",
    scheme=_Signature(
        place=_Header("Linear-Signature"),
        time="data:webhookTimestamp",
        unit="ms",
        tolerance=60,
    ),
    dedupe="header:Linear-Delivery",
    retries=True,
    reply=_Reply(200),
    needs="the webhook's signing secret",
    note="It takes 200 alone, within 5 seconds, and tries again after a minute, an hour and six hours.",
)
"""Linear: the webhook's signing secret, on its page. The time that counts is in the body, and may be a minute off."""
