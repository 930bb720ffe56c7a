"""relay.toml -> Relay.

    [relay]
    redis_env = "REDIS_URL"

    [[route]]
    path = "/github"
    verify = { provider = "github", secret_env = "GITHUB_SECRET" }
    job = "shop.jobs.on_push"
    queue = "hooks"

`Relay.from_config` reads such a file; `loading` does it. `relays` and `routes` hold the tables of all keys: out of
these a file is read and checked, described to editors (`relay.schema.json`, made by `schema`), and to people
(docs/configuration.md, which a test holds against them). What is imported here is light: it reads no file.
"""

from __future__ import annotations

from .finding import CONFIG_VARIABLE, SCHEMA_FILE

__all__ = ["CONFIG_VARIABLE", "SCHEMA_FILE"]
