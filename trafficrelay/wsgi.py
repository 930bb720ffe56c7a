"""`app`: the WSGI application of `trafficrelay.configured`, for any WSGI server: `gunicorn trafficrelay.wsgi:app`."""

from __future__ import annotations

from .configured import file, relay
from .errors import ConfigError
from .relay import URL_VARIABLE

if not relay.bound:
    raise ConfigError(
        f'{file} names no Redis. Say redis = "redis://localhost:6379/0" or redis_env = "…" under [relay], or set '
        f"{URL_VARIABLE}.",
        file=str(file),
        table="[relay]",
    )

app = relay.app
"""The application."""
