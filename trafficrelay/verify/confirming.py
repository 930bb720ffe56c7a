"""The job that confirms a subscription, by fetching the URL that its provider sent. Its workers need urllib3."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

from ..delivery.guard import Guard
from ..errors import AddressForbidden, ConnectionFailed, DeliveryError, DeliveryFailed
from .confirms import SUBSCRIBE_URL

try:
    from ..delivery.transport import Request, Transport
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "urllib3":
        raise
    raise DeliveryError("Workers that confirm need urllib3: pip install 'trafficrelay[deliver]' there.") from error

log: Final = logging.getLogger("trafficrelay")

CONNECT_TIMEOUT: Final = 5.0
READ_TIMEOUT: Final = 5.0


def confirm(order: Mapping[str, Any]) -> dict[str, Any]:
    """Confirm a subscription.

    Args:
        order: its `url`, as the intake wrote it.

    Returns:
        What was confirmed (`topic`) and the answer's `status`.

    Raises:
        DeliveryFailed: it was turned down, or the order's URL is none of SNS'.
        AddressForbidden: the host leads to an address that is not public.
        ConnectionFailed: there was no answer; RQ tries it again.
    """
    transport = Transport(Guard(), max_connections=0)
    try:
        return fetched(order, transport, SUBSCRIBE_URL)
    finally:
        transport.close()


def fetched(order: Mapping[str, Any], transport: Transport, urls: re.Pattern[str]) -> dict[str, Any]:
    """Confirm through a transport, a URL of those that match; errors as `confirm` raises them."""
    url = order.get("url") if isinstance(order, Mapping) else None
    # Again: what is in a queue may have come there by another way.
    if not isinstance(url, str) or not urls.fullmatch(url):
        raise DeliveryFailed(
            "The job names no URL of SNS to confirm a subscription with; nothing was fetched.",
            destination="AWS SNS",
            status=0,
            tries=0,
        )
    topic = _topic(url)
    request = Request(
        method="GET", url=url, headers={}, body=b"", connect_timeout=CONNECT_TIMEOUT, read_timeout=READ_TIMEOUT
    )
    try:
        response = transport.send(request)
    except AddressForbidden as error:
        raise AddressForbidden(f"AWS SNS: {error}", host=error.host, address=error.address) from None
    except ConnectionFailed as error:
        # Without what it came of, whose words may hold the URL, and the URL a token.
        raise ConnectionFailed(f"AWS SNS: {error}", sent=error.sent) from None
    # Redirects are not followed: they would lead to where nobody looked.
    if not 200 <= response.status < 300:
        raise DeliveryFailed(
            f"AWS SNS answered {response.status}, so the subscription to {topic} is not confirmed. Its token is good "
            "for some days; ask for a new one with `aws sns subscribe`.",
            destination="AWS SNS",
            status=response.status,
            tries=1,
        )
    log.info("the subscription to %s is confirmed", topic)
    return {"topic": topic, "status": response.status}


def _topic(url: str) -> str:
    topic = parse_qs(urlsplit(url).query).get("TopicArn", [""])[0]
    return topic if re.fullmatch(r"[A-Za-z0-9:_.-]{1,300}", topic) else "its topic"
