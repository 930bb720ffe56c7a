"""Clouds: what happens in their accounts, directories and files."""

from __future__ import annotations

from ...reply import EMPTY as _EMPTY
from ...reply import Reply as _Reply
from ..content import Content as _Content
from ..handshake_kinds import TEXT as _TEXT
from ..handshake_kinds import Echo as _Echo
from ..handshake_kinds import Fixed as _Fixed
from ..own.graph import ClientState as _ClientState
from ..places import Header as _Header
from ..places import Pairs as _Pairs
from ..provider import Plain as _Plain
from ..provider import Timed as _Timed
from ..signature import Signature as _Signature
from ..tokens import Token as _Token

microsoft_graph = _Plain(
    name="microsoft_graph",
    title="Microsoft Graph",
    docs="https://learn.microsoft.com/en-us/graph/change-notifications-delivery-webhooks",
    scheme=_ClientState(),
    # No dedupe: a request holds several notifications, and their ids are optional.
    retries=True,
    handshakes=(_Echo(title="validationToken", challenge="query:validationToken", characters=_TEXT, signed=False),),
    needs="the clientState that the subscription was made with; of several subscriptions all of them",
    note="Nothing is signed: clientState is a token, and stands in the body, so your job sees it too. Lifecycle "
    "notifications are events (data.value[].lifecycleEvent). What comes with resource data is encrypted, and its "
    "validationTokens are not checked.",
)
"""Microsoft Graph's change and lifecycle notifications: `secret` is the `clientState` of the subscription.

It stands in each notification of the request's `value`; each has to be known, so give those of all subscriptions.
"""

okta = _Plain(
    name="okta",
    title="Okta event hooks",
    docs="https://developer.okta.com/docs/concepts/event-hooks/",
    scheme=_Token(_Header("Authorization")),
    dedupe="data:eventId",
    content_type="application/json",
    # No retries to rely on: it tries once more, at once.
    # "Should all be empty", 200 or 204.
    reply=_EMPTY,
    handshakes=(
        _Echo(
            title="one-time verification",
            method="GET",
            challenge="header:X-Okta-Verification-Challenge",
            json="verification",
            # "Okta provides it in every request", of the Authorization header.
            signed=True,
        ),
    ),
    needs="the hook's authentication secret as it was typed, the word Basic with it if there is one",
    note="Nothing is signed. The hook's authentication field is authorization. It waits for 3 seconds and tries once "
    "more, not after a 4xx. One request holds several events (data.events of the body).",
)
"""Okta's event hooks: `secret` is the whole value of the Authorization header (Workflow, Event Hooks).

Its verification request is answered, on the same URL.
"""

auth0 = _Plain(
    name="auth0",
    title="Auth0 log streams",
    docs="https://auth0.com/docs/customize/log-streams/custom-log-streams",
    scheme=_Token(_Header("Authorization")),
    # In the format “JSON object”; a list has none.
    dedupe="data:log_id",
    # No retries to rely on: three, and it does not say over which time.
    needs="the stream's authorization token as it was typed, the word Bearer with it if there is one",
    note="Nothing is signed. Choose the content format “JSON object”, or “JSON array” with split=True; “JSON lines” "
    "needs the content type application/x-ndjson. It tries three times more.",
)
"""Auth0's custom log streams: `secret` is the whole value of the Authorization header (Monitoring, Streams)."""

workos = _Timed(
    name="workos",
    title="WorkOS",
    docs="https://workos.com/docs/events/data-syncing/webhooks",
    scheme=_Signature(
        place=_Pairs("WorkOS-Signature", signature="v1", between=", "),
        content=_Content("{timestamp}.{body}"),
        unit="ms",
        # Its SDKs' own.
        tolerance=180,
    ),
    dedupe="data:id",
    content_type="application/json",
    retries=True,
    # "You should respond with an HTTP 200 OK".
    reply=_Reply(200),
    needs="the endpoint's signing secret (Dashboard, Webhooks), as it is",
    note="It tries again for up to three days.",
)
"""WorkOS: the endpoint's signing secret (Dashboard, Webhooks). The time is in milliseconds."""

dropbox = _Plain(
    name="dropbox",
    title="Dropbox",
    docs="https://www.dropbox.com/developers/reference/webhooks",
    scheme=_Signature(place=_Header("X-Dropbox-Signature")),
    # No dedupe: it says whose files changed, and no more; the same words again are news.
    # No retries to rely on: those of ten minutes.
    # "Each request that results in a non-200 response code or times out will be re-attempted".
    reply=_Reply(200),
    handshakes=(_Echo(title="challenge", method="GET", challenge="query:challenge", signed=False),),
    needs="the app's secret (App Console, Settings)",
    note="It tries again for ten minutes.",
)
"""Dropbox: the app's secret (App Console). It says whose files changed, not what: ask `list_folder/continue`."""

google_channel = _Plain(
    name="google_channel",
    title="Google push channels",
    docs="https://developers.google.com/workspace/calendar/api/guides/push",
    scheme=_Token(_Header("X-Goog-Channel-Token")),
    # No dedupe: X-Goog-Message-Number counts within a channel.
    # No retries to rely on: it does not say how many there are, nor when.
    # Calendar's and those of Drive's files have no body, and say that it is JSON.
    empty=True,
    handshakes=(_Fixed(title="sync message", when={"header:X-Goog-Resource-State": "sync"}, signed=True),),
    needs="the token that watch() was given",
    note="For Calendar, Drive and Admin SDK. Nothing is signed, and all that is said is in the X-Goog-… headers: most "
    "bodies are empty. The sync message with which a channel begins is answered, and is no event. It tries again after "
    "500, 502, 503 and 504 alone.",
)
"""Google's notification channels (Calendar, Drive, Admin SDK): `secret` is the token that `watch` was given.

What changed is said by headers (`x-goog-resource-state`, `x-goog-resource-uri`); the body is mostly empty.
"""
