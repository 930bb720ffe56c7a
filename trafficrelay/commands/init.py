"""`trafficrelay init`: a relay and a job to start from."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from ..errors import DeclarationError
from .saying import say

_HELP: Final = """\
Write a relay that works, relay.toml, and the module with its job, jobs.py, to start from; and a .gitignore, where there
is none, that keeps the data of `trafficrelay run` out of git.

Files that are there are left as they are: then nothing is written, and the exit code is 2.

    trafficrelay init
    trafficrelay init shop
    trafficrelay init shop --python        # hooks.py in place of relay.toml
"""

_TOML: Final = """\
{schema}# What is taken in, by whom it may be sent, and what it becomes.

[[route]]
path = "/hooks/<shop>"
# Open to everybody, to try it out. Say who may send, before others can reach it:
# verify = {{ provider = "github", secret_env = "GITHUB_SECRET" }}
verify = "none"
# Steps that what was sent goes through before it is handed over.
transforms = [{{ with_request = {{ params = ["shop"] }} }}]
job = "jobs.on_hook"
queue = "hooks"
retry = [10, 60, "15m"]
failure_ttl = "7d"
"""

_PYTHON: Final = '''\
"""What is taken in, by whom it may be sent, and what it becomes."""

from trafficrelay import Relay

relay = Relay()  # without a URL: TRAFFICRELAY_REDIS_URL, or the Valkey that `trafficrelay run` starts


@relay.route(
    "/hooks/<shop>",
    # Open to everybody, to try it out. Say who may send, before others can reach it, such as
    # verify=github(os.environ["GITHUB_SECRET"]), with `from trafficrelay.verify import github`.
    verify=None,
    job="jobs.on_hook",
    queue="hooks",
    retry=[10, 60, "15m"],
    failure_ttl="7d",
)
def hook(event):
    return {"shop": event.params["shop"], "said": event.data}
'''

_JOBS: Final = '''\
"""What is done with what comes in: plain functions, which workers call."""


def on_hook(data):
    """Do the slow part. It runs again if its worker dies: do what may not happen twice once for each event's id."""
    print("on_hook got", data, flush=True)
    return data
'''


_IGNORED: Final = """\
# The data of the Valkey that `trafficrelay run` starts.
/.trafficrelay/
"""


def add(commands: Any) -> None:
    """Add the command's parser."""
    parser = commands.add_parser(
        "init",
        help="write a relay and a job to start from",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "directory", metavar="DIR", nargs="?", type=Path, default=Path(), help="where to, made if need be (here)"
    )
    parser.add_argument("--python", action="store_true", help="declare the relay in Python")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the files, and say what to do next."""
    files = {"hooks.py": _PYTHON} if options.python else {"relay.toml": _TOML.format(schema=_schema_line())}
    directory: Path = options.directory
    # Somebody's own may say it already, or mean it not to be said.
    more = {} if _is_there(directory / ".gitignore") else {".gitignore": _IGNORED}
    _write(directory, files | {"jobs.py": _JOBS} | more)
    target = "hooks:relay" if options.python else "relay.toml"
    say(f"Wrote {' and '.join(str(directory / name) for name in (*files, 'jobs.py'))}. Next:")
    say("")
    for line in (
        *([f"cd {shlex.quote(str(directory))}"] if directory != Path() else []),
        f"trafficrelay run {target}       # serves it, with a Redis and a worker; prints a curl line to try it",
        f"echo '{{\"total\": 7}}' | trafficrelay try {target} /hooks/acme -       # what a request would become",
        f"trafficrelay routes {target}",
    ):
        say(f"    {line}")
    return 0


def _write(directory: Path, files: Mapping[str, str]) -> None:
    """Write all files, or none.

    Raises:
        DeclarationError: one is there, or cannot be written.
    """
    there = [str(directory / name) for name in files if _is_there(directory / name)]
    if there:
        raise DeclarationError(
            f"{' and '.join(there)} {'is' if len(there) == 1 else 'are'} there already, and nothing was written. "
            "Name another directory."
        )
    written: list[Path] = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            path = directory / name
            # Not over one that was made a moment ago either.
            with path.open("x", encoding="utf-8") as file:
                written.append(path)
                file.write(text)
    except OSError as error:
        for path in written:
            path.unlink(missing_ok=True)
        raise DeclarationError(
            f"{directory} cannot be written to: {error.strerror or type(error).__name__}."
        ) from error


def _is_there(path: Path) -> bool:
    return path.exists() or path.is_symlink()


def _schema_line() -> str:
    """Give the line by which editors find out what can be written: taplo's, also of Even Better TOML."""
    # See the package.
    from ..config import SCHEMA_FILE

    return f"#:schema {SCHEMA_FILE.as_uri()}\n\n"
