"""The sweep beside the standalone server, in its main process."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

from ..sweep.thread import SweepThread

if TYPE_CHECKING:
    import redis

    from ..sweep.sweeper import Sweeper


_INTERVAL: Final = 20.0


def sweeping(source: str | redis.Redis) -> SweepThread:
    """Make a thread that puts back what workers lost, and says so on stderr.

    Args:
        source: the Redis: a URL, or a client whose settings are copied.
    """

    def make() -> Sweeper:
        # In the thread: RQ and this take half a second to import, which the first request need not wait for.
        from ..outbox.connection import connect
        from ..sweep.sweeper import Sweeper
        from ..worker.keeper import Watch
        from ..worker.ledger import Ledger
        from ..worker.settings import Settings

        client = connect(source)
        deaths = Settings.of(os.environ).max_deaths
        watch = Watch(Ledger(client, "", max_deaths=deaths))
        # Often enough for the two looks at a dead RelayWorker to fit into a minute.
        return Sweeper(client, also=[lambda: watch.look().back], interval=_INTERVAL, deaths=deaths)

    return SweepThread(make, tell=_say)


def _say(text: str) -> None:
    sys.stderr.write(f"trafficrelay: {text}\n")
    sys.stderr.flush()
