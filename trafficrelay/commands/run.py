"""`trafficrelay run`: serve a relay."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

from ..errors import DeclarationError, OutboxError, ServerError
from .options import add_data_option, add_lossy_option, add_relay_argument, number_from

if TYPE_CHECKING:
    from ..relay import Relay

_HELP: Final = """\
Serve a relay, and run what it needs.

Without a Redis URL it starts a Valkey of its own that keeps its data in --data, and a worker. Jobs that this worker
could not import are told, and it starts all the same.
The Redis is that of --redis, then the relay's own, then $TRAFFICRELAY_REDIS_URL.

    trafficrelay run shop.hooks:relay
    trafficrelay run shop.hooks:relay --redis redis://localhost:6379/0 --processes 2
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "run", help="serve a relay", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_relay_argument(parser)
    _add_server_options(parser)
    _add_redis_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT."""
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _serve(options)
    except KeyboardInterrupt:
        # Before anything was served.
        pass
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _serve(options: argparse.Namespace) -> None:
    # Imported when something is run: see the package.
    from ..standalone.banner import banner
    from ..standalone.embedded import Embedded
    from ..standalone.serve import free_port, missing_extra, serve
    from ..standalone.sweeping import sweeping
    from ..standalone.target import load_target
    from .job_faults import looking

    relay = load_target(options.target)
    if importlib.util.find_spec("granian") is None:
        raise missing_extra("granian", "or mount relay.app in a server of your own")
    if options.redis == "":
        raise DeclarationError("--redis is empty. Is the environment variable set that it comes from?")
    url: str | None = options.redis or relay.redis_url
    own = url or relay.bound
    if url:
        relay.bind(url)
    if own:
        # Made here so that a bad URL, client or serializer is told before anything starts.
        relay.outbox  # noqa: B018
        _look_at_redis(relay, options.lossy_redis)
    _look_at_spool(relay)
    port = free_port(options.host, options.port)
    with contextlib.ExitStack() as stack:
        embedded: Embedded | None = None
        if not own:
            queues = () if options.no_worker else relay.queues
            # Where the workers are others', the jobs' code may be elsewhere.
            with looking(options.target) if queues else contextlib.nullcontext():
                embedded = stack.enter_context(
                    Embedded(
                        options.data,
                        queues,
                        serializer=relay.serializer_name,
                        grace=options.stop_timeout,
                        fsync="always" if relay.fsync else "everysec",
                    )
                )
            embedded.watch(on_end=lambda: os.kill(os.getpid(), signal.SIGTERM))
            url = embedded.url
        data = embedded.data if embedded else None
        text = banner(
            relay,
            options.target,
            host=options.host,
            port=port,
            url=url,
            data=data,
            workers=not options.no_worker,
            redis=options.redis,
            # With a Valkey of its own it is tried out, and somebody pastes the line; otherwise it may be a service.
            signed=embedded is not None or sys.stdout.isatty(),
        )
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        source = embedded.url if embedded else relay.source
        if source is not None:
            stack.enter_context(sweeping(source))
        # The keeper's end, or the user, may send a signal before the server has taken the signals over.
        with contextlib.suppress(KeyboardInterrupt):
            serve(
                options.target,
                # Not the relay's own: new code that SIGHUP brings may name another.
                url=options.redis or (embedded.url if embedded else None),
                host=options.host,
                port=port,
                processes=options.processes,
                threads=options.threads,
                body_timeout=options.body_timeout,
                stop_timeout=options.stop_timeout,
                max_header=relay.door.max_header,
            )
    if embedded and embedded.failure:
        raise ServerError(embedded.failure)


def _look_at_spool(relay: Relay) -> None:
    """Warn of a spool that could not take an event: it is needed when it is too late to mend."""
    from ..outbox.spool_file import SpoolFile

    if relay.spool is None:
        return
    file = SpoolFile(relay.spool.file, max_size=relay.spool.size)
    try:
        file.check()
    except OutboxError as error:
        sys.stderr.write(f"trafficrelay: {error} While Redis is away, senders get 503.\n")
    finally:
        file.close()


def _look_at_redis(relay: Relay, lossy: str) -> None:
    """Refuse a Redis that loses what it has acknowledged, or warn of it.

    Raises:
        DeclarationError: it does.
    """
    from ..checkup import of_redis
    from ..outbox.connection import connect
    from ..outbox.durability import examine

    if relay.source is None:
        return
    try:
        with connect(relay.source) as client:
            found = of_redis(relay, examine(client))
    except OutboxError as error:
        otherwise = "events go to the spool" if relay.spool else "senders get 503"
        sys.stderr.write(f"trafficrelay: {error} Until it does, {otherwise}.\n")
        return
    faults = [one.text for one in found if one.level == "fault"]
    if faults and lossy == "refuse":
        raise DeclarationError(" ".join([*faults, "(--lossy-redis warn starts all the same.)"]))
    for text in faults:
        sys.stderr.write(f"trafficrelay: {text}\n")


def _add_server_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    run.add_argument(
        "--port", type=number_from(0, 65535), default=8080, help="the port; 0 takes a free one (%(default)s)"
    )
    run.add_argument(
        "--processes", metavar="N", type=number_from(1, 256), default=1, help="server processes (%(default)s)"
    )
    run.add_argument(
        "--threads",
        metavar="N",
        type=number_from(0, 256),
        default=0,
        help="threads in each process, for transforms that wait for something; with 0, the fastest, requests take "
        "turns in the event loop (%(default)s)",
    )
    run.add_argument(
        "--body-timeout",
        metavar="SECONDS",
        type=number_from(1, 3600),
        default=30,
        help="within which a request's body must have arrived; up to 30, also its header, and the next request on a "
        "connection (%(default)s)",
    )
    run.add_argument(
        "--stop-timeout",
        metavar="SECONDS",
        type=number_from(1, 3600),
        default=10,
        help="that requests, and then jobs, have to finish in at the end (%(default)s)",
    )


def _add_redis_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--redis", metavar="URL", help="the Redis that jobs go to, in place of a Valkey of this run's own")
    add_data_option(run, "where that Valkey keeps its data")
    add_lossy_option(run)
    run.add_argument("--no-worker", action="store_true", help="run no workers on that Valkey")


def _interrupt(_signum: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
