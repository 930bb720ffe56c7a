"""The command line: `trafficrelay run module:relay`, or `python -m trafficrelay`."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from . import __version__
from .errors import DeclarationError, OutboxError, RelayError, ServerError, TargetError
from .outbox.handover import Outbox

DATA_VARIABLE: Final = "TRAFFICRELAY_DATA"

_RUN_HELP: Final = """\
Serve a relay, and run what it needs.

Without a Redis URL it starts a Valkey of its own that keeps its data in --data, and a worker for each queue.
The Redis is that of --redis, then the relay's own, then $TRAFFICRELAY_REDIS_URL.

    trafficrelay run shop.hooks:relay
    trafficrelay run shop.hooks:relay --redis redis://localhost:6379/0 --processes 2
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: the arguments; those of the process unless given.

    Returns:
        The exit code: 0 ended by a signal, 1 failed while running, 2 wrong usage or a wrong declaration.
    """
    options = _parser().parse_args(argv)
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        _run(options)
    except (TargetError, DeclarationError) as error:
        return _say(error, 2)
    except RelayError as error:
        return _say(error, 1)
    except KeyboardInterrupt:
        # Before anything was served.
        pass
    finally:
        signal.signal(signal.SIGTERM, previous)
    return 0


def _run(options: argparse.Namespace) -> None:
    # Imported when something is run: `--help` and `--version` shall not wait for bottle and redis.
    from .standalone.banner import banner
    from .standalone.embedded import Embedded
    from .standalone.serve import free_port, missing_extra, serve
    from .standalone.target import load_target

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
        _warn_if_away(relay.outbox)
    port = free_port(options.host, options.port)
    with contextlib.ExitStack() as stack:
        embedded: Embedded | None = None
        if not own:
            queues = () if options.no_worker else relay.queues
            embedded = stack.enter_context(
                Embedded(options.data, queues, serializer=relay.serializer_name, grace=options.stop_timeout)
            )
            embedded.watch(on_end=lambda: os.kill(os.getpid(), signal.SIGTERM))
            url = embedded.url
        data = embedded.data if embedded else None
        text = banner(relay, host=options.host, port=port, url=url, data=data, workers=not options.no_worker)
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
        # The keeper's end, or the user, may send a signal before the server has taken the signals over.
        with contextlib.suppress(KeyboardInterrupt):
            serve(
                options.target,
                url=url,
                host=options.host,
                port=port,
                processes=options.processes,
                threads=options.threads,
                body_timeout=options.body_timeout,
                stop_timeout=options.stop_timeout,
            )
    if embedded and embedded.failure:
        raise ServerError(embedded.failure)


def _warn_if_away(outbox: Outbox) -> None:
    try:
        outbox.check()
    except OutboxError as error:
        sys.stderr.write(f"trafficrelay: {error} Until it does, senders get 503.\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trafficrelay", description="Take web traffic in and hand it to RQ workers.")
    parser.add_argument("--version", action="version", version=f"trafficrelay {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    run = commands.add_parser(
        "run",
        help="serve a relay",
        description=_RUN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument("target", metavar="MODULE:RELAY", help="where the relay is, such as shop.hooks:relay")
    _add_server_options(run)
    _add_redis_options(run)
    return parser


def _add_server_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    run.add_argument("--port", type=_number(0, 65535), default=8080, help="the port; 0 takes a free one (%(default)s)")
    run.add_argument("--processes", metavar="N", type=_number(1, 256), default=1, help="server processes (%(default)s)")
    run.add_argument(
        "--threads",
        metavar="N",
        type=_number(0, 256),
        default=0,
        help="threads in each process, for transforms that wait for something; with 0, the fastest, requests take "
        "turns in the event loop (%(default)s)",
    )
    run.add_argument(
        "--body-timeout",
        metavar="SECONDS",
        type=_number(1, 3600),
        default=30,
        help="within which a request's body must have arrived (%(default)s)",
    )
    run.add_argument(
        "--stop-timeout",
        metavar="SECONDS",
        type=_number(1, 3600),
        default=10,
        help="that requests, and then jobs, have to finish in at the end (%(default)s)",
    )


def _add_redis_options(run: argparse.ArgumentParser) -> None:
    run.add_argument("--redis", metavar="URL", help="the Redis that jobs go to, in place of a Valkey of this run's own")
    run.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        default=Path(os.environ.get(DATA_VARIABLE) or ".trafficrelay"),
        help=f"where that Valkey keeps its data (${DATA_VARIABLE} or .trafficrelay)",
    )
    run.add_argument("--no-worker", action="store_true", help="run no workers on that Valkey")


def _number(least: int, most: int) -> Callable[[str], int]:
    def number(text: str) -> int:
        value = int(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{value} is not from {least} to {most}")
        return value

    return number


def _say(error: RelayError, code: int) -> int:
    sys.stderr.write(f"trafficrelay: {error}\n")
    return code


def _interrupt(_signum: int, _frame: object) -> NoReturn:
    raise KeyboardInterrupt
