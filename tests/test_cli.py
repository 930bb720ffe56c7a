"""The command line, and what it prints."""

from __future__ import annotations

import importlib
import io
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest
import redis

from trafficrelay import Relay, __version__
from trafficrelay.cli import main
from trafficrelay.outbox.connection import masked
from trafficrelay.server import base_url
from trafficrelay.standalone.banner import banner, curl_line, sample_path
from trafficrelay.verify import bearer, hmac_signature, standard_webhooks

from .standalone_support import ROOT, Run, environment, post, queue_length, write_modules
from .waiting import wait_until


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    write_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    for name in ("TRAFFICRELAY_REDIS_URL", "TRAFFICRELAY_DATA"):
        monkeypatch.delenv(name, raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    # The next test's modules have the same names and lie in another directory.
    for name in ("hooks", "bad"):
        sys.modules.pop(name, None)


def run_cli(*arguments: str) -> tuple[int, str]:
    """Run the command line here and give the exit code and what it says on stderr."""
    errors = io.StringIO()
    with mock.patch("sys.stderr", errors):
        try:
            return main(arguments), errors.getvalue()
        except SystemExit as end:
            return int(end.code or 0), errors.getvalue()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "COMMAND"),
        (("run",), "MODULE:RELAY"),
        (("run", "hooks:relay", "--port", "65536"), "65536 is not from 0 to 65535"),
        (("run", "hooks:relay", "--processes", "0"), "0 is not from 1 to 256"),
        (("run", "hooks:relay", "--threads", "many"), "invalid number value: 'many'"),
        (("run", "hooks"), "trafficrelay: 'hooks' does not say where the relay is"),
        (("run", "hooks:relay", "--redis", "localhost:6379"), "trafficrelay: A relay takes a Redis URL"),
    ],
)
def test_wrong_usage_is_code_2(arguments: tuple[str, ...], sentence: str) -> None:
    """Wrong options and declarations are exit code 2 and a sentence, never a traceback."""
    code, said = run_cli(*arguments)

    assert code == 2
    assert sentence in said
    assert "Traceback" not in said


def test_missing_granian_is_said() -> None:
    """Without granian the error says what to install, and the code is 1."""
    with mock.patch.dict(sys.modules, {"granian": None}):
        code, said = run_cli("run", "hooks:relay")

    assert code == 1
    assert said.startswith("trafficrelay: granian is not installed: pip install 'trafficrelay[standalone]'")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    """--version says the package's version."""
    with pytest.raises(SystemExit):
        main(["--version"])

    assert capsys.readouterr().out == f"trafficrelay {__version__}\n"


def test_help_is_light() -> None:
    """The help is there without bottle, redis, rq or granian having been imported."""
    code = (
        "import sys; from trafficrelay.cli import _parser; _parser().format_help();"
        "print([name for name in ('bottle', 'redis', 'rq', 'granian') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True)

    assert done.stdout == "[]\n"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_printed_curl_line_works(directory: Path) -> None:
    """The curl line that is printed works as pasted, and its event goes through the embedded worker's queue."""
    with Run(directory, "--no-worker", TRAFFICRELAY_DATA="data") as run:
        run.wait_until_up()
        line = next(line for line in run.log.read_text().splitlines() if line.startswith("  curl"))
        done = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
        queued = queue_length(directory / "data")
        code = run.end()
        wait_until(run.children_gone)

    assert "HTTP/1.1 202 Accepted" in done.stdout
    assert queued == 1
    assert f"its data lies in {directory / 'data'}" in run.log.read_text()
    assert code == 0


@pytest.mark.rq
def test_the_redis_option_outranks_the_environment(directory: Path, redis_url: str) -> None:
    """--redis counts before the environment, and nothing is embedded then."""
    with Run(directory, "--redis", redis_url, TRAFFICRELAY_REDIS_URL="redis://nowhere.invalid") as run:
        run.wait_until_up()
        embedded = run.find("standalone.keeper")
        run.end()

    assert embedded == set()
    assert f"Jobs go to {redis_url}. Workers run them:" in run.log.read_text()
    assert not (directory / ".trafficrelay").exists()


@pytest.mark.rq
def test_the_environment_names_the_redis(directory: Path, redis_url: str) -> None:
    """TRAFFICRELAY_REDIS_URL counts where nothing else is said."""
    with Run(directory, TRAFFICRELAY_REDIS_URL=redis_url) as run:
        run.wait_until_up()
        run.end()

    assert f"Jobs go to {redis_url}." in run.log.read_text()


@pytest.mark.rq
def test_a_relay_that_is_declared_with_a_client_keeps_it(directory: Path, redis_url: str) -> None:
    """Neither the environment nor an embedded Valkey takes the place of what the relay says."""
    (directory / "own.py").write_text(
        "import redis\nfrom trafficrelay import Relay, Route\n"
        f'relay = Relay(redis.Redis.from_url("{redis_url}"))\n'
        'relay.add(Route("/in", verify=None, job="jobs.echo", queue="hooks"))\n'
    )
    with Run(directory, target="own:relay", TRAFFICRELAY_REDIS_URL="redis://nowhere.invalid") as run:
        status, _ = post(run.wait_until_up().port, "/in", b"[7]")
        embedded = run.find("standalone.keeper")
        run.end()
    with redis.Redis.from_url(redis_url) as client:
        queued = client.llen("rq:queue:hooks")

    assert (status, queued, embedded) == (202, 1, set())
    assert "Jobs go to what the relay is declared with." in run.log.read_text()


@pytest.mark.parametrize("url", ["redis://:hunter2@localhost:abc/0", "redis://:hun/ter2@localhost"])
def test_a_url_that_cannot_be_read_is_told_before_anything_starts(directory: Path, url: str) -> None:
    """It is wrong usage, said in one sentence without the password."""
    with Run(directory, "--redis", url) as run:
        code = run.process.wait(20)

    assert code == 2
    assert run.log.read_text().startswith("trafficrelay: The Redis URL cannot be read.")
    assert "ter2" not in run.log.read_text()


def test_sigterm_while_starting_is_an_orderly_end(directory: Path) -> None:
    """SIGTERM before the server is up ends it with code 0 and without a traceback."""
    (directory / "slow.py").write_text(
        "import time\nfrom pathlib import Path\nPath('loading').touch()\ntime.sleep(60)\nfrom hooks import relay\n"
    )
    with Run(directory, target="slow:relay") as run:
        wait_until((directory / "loading").exists)
        code = run.end()

    assert code == 0
    assert run.log.read_text() == ""


def declared(**options: object) -> Relay:
    relay = Relay()
    relay.route("/in", job="jobs.echo", **{"verify": None, **options})(lambda event: event.data)  # type: ignore[arg-type]
    return relay


def test_a_signed_route_has_a_signed_line() -> None:
    """The line for a route with an HMAC carries the signature of its body."""
    verify = hmac_signature("secret", header="X-Signature", prefix="sha256=")
    words = shlex.split(curl_line(declared(verify=verify).routes[0], "http://x"))
    body = words[words.index("-d") + 1].encode()
    signed = verify.sign(body, datetime.now(UTC))

    assert f"X-Signature: {signed['X-Signature']}" in words


def test_a_token_is_not_printed() -> None:
    """A credential is shown as a word to put one's own for."""
    line = curl_line(declared(verify=bearer("hush-hush")).routes[0], "http://x")

    assert "hush-hush" not in line
    assert "Authorization: Bearer YOUR-SECRET" in line


def test_a_secret_for_each_event_leaves_the_header_out() -> None:
    """Where the secret depends on the event there is nothing to sign with, and the line is printed without."""
    line = curl_line(declared(verify=standard_webhooks(lambda event: "x")).routes[0], "http://x")

    assert "webhook-signature" not in line


@pytest.mark.parametrize(
    ("rule", "path"),
    [("/a/<id:int>", "/a/1"), ("/<shop>/<rest:path>", "/example/example"), ("/<code:re:[a-z]+>", "/example")],
)
def test_wildcards_are_filled_in(rule: str, path: str) -> None:
    """A rule's wildcards become something that a URL can have."""
    assert sample_path(rule) == path


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://:hush@localhost/0", "redis://***@localhost/0"),
        ("rediss://me:hush%40@host:1/2", "rediss://***@host:1/2"),
        ("unix:///run/redis.sock?password=hush&db=3", "unix:///run/redis.sock?password=***&db=3"),
        ("redis://:hu/sh@localhost/0", "redis://***"),
    ],
)
def test_passwords_are_masked(url: str, shown: str) -> None:
    """A Redis URL is shown without its password."""
    assert masked(url) == shown


def test_the_banner_masks_the_password() -> None:
    """Nothing of the banner shows the password of the Redis URL."""
    url = "redis://:hush@db/0"
    text = banner(declared(), "shop:relay", host="0.0.0.0", port=8080, url=url, data=None, workers=True, redis=url)

    assert "hush" not in text
    assert "trafficrelay worker shop:relay --redis 'redis://***@db/0'" in text


@pytest.mark.parametrize(
    ("host", "url"),
    [("0.0.0.0", "http://127.0.0.1:80"), ("::", "http://[::1]:80"), ("relay.local", "http://relay.local:80")],
)
def test_an_address_that_clients_can_use_is_shown(host: str, url: str) -> None:
    """An address that stands for all is shown as this machine's."""
    assert base_url(host, 80) == url


def test_an_empty_redis_option_is_refused(directory: Path) -> None:
    """A variable that is not set must not start a private Valkey in a container."""
    with Run(directory, "--redis", "") as run:
        code = run.process.wait(20)

    assert code == 2
    assert (
        run.log.read_text() == "trafficrelay: --redis is empty. Is the environment variable set that it comes from?\n"
    )


def test_a_redis_that_is_away_at_the_start_is_said(directory: Path) -> None:
    """It serves all the same, and says what senders get meanwhile."""
    with Run(directory, "--redis", "redis://127.0.0.1:1") as run:
        status, _ = post(run.wait_until_up().port, "/in", b"[7]")
        run.end()

    assert status == 503
    assert "trafficrelay: Redis does not answer. Until it does, senders get 503.\n" in run.log.read_text()
    assert "POST answered 503: The event cannot be kept now; send it again." in run.log.read_text()


def test_an_option_of_a_url_that_does_not_exist_is_told(directory: Path) -> None:
    """redis-py itself would say so with the first event."""
    with Run(directory, "--redis", "redis://127.0.0.1?nosuch=1") as run:
        code = run.process.wait(20)

    assert code == 2
    assert "nosuch" in run.log.read_text()
    assert "Traceback" not in run.log.read_text()
