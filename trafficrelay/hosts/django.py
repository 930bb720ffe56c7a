"""Relays for programs with Django and django-rq: `settings.RQ_QUEUES` says where their jobs go.

Read against django-rq 4.2 (`connection_utils.get_redis_connection`, `queues.get_queue`). django-rq makes the clients,
so all ways of naming a Redis that it knows are known here.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from ..errors import DeclarationError
from .queues import HostQueue, HostQueues, default_or
from .relay import HostedRelay

try:
    from django.core.exceptions import ImproperlyConfigured  # type: ignore[import-untyped, unused-ignore]
    from django_rq import settings as rq_settings
    from django_rq.connection_utils import get_connection
    from django_rq.queues import get_result_ttl
except ImportError as error:
    raise DeclarationError(
        f"trafficrelay.hosts.django needs Django and django-rq: pip install django-rq ({error})."
    ) from error
except Exception as error:
    # Only now can it be named: it may have been django itself that was not there.
    raise DeclarationError(
        "Django has no settings yet. Set DJANGO_SETTINGS_MODULE before trafficrelay.hosts.django is imported."
    ) from error

from rq.utils import parse_timeout

log = logging.getLogger("trafficrelay")


def relay_from_django(queue: str = "default", **options: Any) -> HostedRelay:
    """Make a relay that writes to the queues of `settings.RQ_QUEUES`.

        relay = relay_from_django()

        @relay.route("/github", verify=github(secret=...), job="shop.jobs.on_push", queue="low")

    The jobs are those of `django_rq.get_queue(name).enqueue(...)`: the Redis, the serializer, `DEFAULT_TIMEOUT` and
    `DEFAULT_RESULT_TTL` are the settings'. `manage.py rqworker` runs them. An event is written at once, whatever
    `COMMIT_MODE` says, and `ASYNC` is not looked at.

    Args:
        queue: the queue whose Redis is used, and that routes go to which name none. Routes may name each queue on the
            same Redis.
        options: as for `Relay`, but for its source and serializer.

    Raises:
        DeclarationError: the settings have no such queue, or its Redis cannot be used.
    """
    try:
        names = tuple(rq_settings.QUEUES)
    except ImproperlyConfigured as error:
        raise DeclarationError(f"The relay's queues are those of settings.RQ_QUEUES. {error}.") from error
    queues = HostQueues(names, _look, main=queue, setting="settings.RQ_QUEUES", maker='relay_from_django("{}")')
    if not rq_settings.QUEUES[queue].get("ASYNC", True):
        log.warning('The queue "%s" has ASYNC=False; the jobs of the relay wait for a worker all the same.', queue)
    return HostedRelay(queues, caller=sys._getframe(1).f_globals, options=options)


def _look(name: str) -> HostQueue:
    config = rq_settings.QUEUES[name]
    try:
        return HostQueue(
            name,
            client=get_connection(name),
            serializer=default_or(config.get("SERIALIZER")),
            timeout=parse_timeout(config.get("DEFAULT_TIMEOUT")),
            result_ttl=get_result_ttl(name),
        )
    except Exception as error:
        # Its words may hold a URL with a password.
        raise DeclarationError(
            f'settings.RQ_QUEUES["{name}"] cannot be used: django-rq fails with {type(error).__name__}. '
            f'Try django_rq.get_queue("{name}") in `manage.py shell`.'
        ) from None
