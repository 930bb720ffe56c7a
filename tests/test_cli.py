"""The command line, and what it prints."""

from __future__ import annotations

import base64
import importlib
import io
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import redis
from webtest import TestApp

from trafficrelay import Relay, Route, __version__
from trafficrelay.cli import commands_of, main, make_parser
from trafficrelay.outbox.connection import masked
from trafficrelay.server import base_url
from trafficrelay.standalone.banner import SAMPLE, banner, curl_line, sample_path
from trafficrelay.verify import CATALOGUE, bearer, hmac_signature, square, standard_webhooks

from .provider_samples import sample
from .standalone_support import HOOKS, ROOT, Run, environment, post, queue_length, write_modules
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


LOADED = """\
import json, sys
start = set(sys.modules)
import trafficrelay
before = set(sys.modules)
from trafficrelay.cli import main
try:
    main(sys.argv[1:])
except SystemExit:
    pass
after = set(sys.modules)
others = {name.partition(".")[0] for name in after - start} - sys.stdlib_module_names
# msgspec imports typing_extensions where that is installed.
others -= {"trafficrelay", "hooks", "typing_extensions"}
json.dump({"more": len(after - before), "others": sorted(name for name in others if name[0] != "_")}, sys.stderr)
"""


def loaded(directory: Path, *words: str) -> dict[str, Any]:
    """Run the command line in a process of its own, and give what it imported."""
    command = [sys.executable, "-c", LOADED, *words]
    done = subprocess.run(command, capture_output=True, text=True, env=environment(), check=True, cwd=directory)
    said: dict[str, Any] = json.loads(done.stderr.splitlines()[-1])
    return said


def test_help_is_light(directory: Path) -> None:
    """Beside what the package itself is, --help imports the commands and a few modules of Python's library."""
    said = loaded(directory, "--help")

    assert said["others"] == []
    assert said["more"] < 80


def test_a_command_imports_what_it_needs_alone(directory: Path) -> None:
    """Of what is slow to import, `routes` takes only bottle, which declaring a route does."""
    assert loaded(directory, "routes", "hooks:relay")["others"] == ["bottle", "msgspec"]


def test_alone_it_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    code = main([])
    said = capsys.readouterr().err

    assert code == 2
    assert "trafficrelay init" in said
    assert all(f"    {name}" in said for name in commands_of(make_parser()))


@pytest.mark.parametrize(
    ("word", "hint"),
    [("chek", "Did you mean check?"), ("relpay", "Did you mean replay?"), ("xyz", "There are init, run, worker, ")],
)
def test_a_wrong_command_is_told_the_nearest(capsys: pytest.CaptureFixture[str], word: str, hint: str) -> None:
    code = main([word, "hooks:relay"])

    assert code == 2
    assert capsys.readouterr().err.startswith(f"trafficrelay: There is no command {word!r}. {hint}")


@pytest.mark.parametrize("name", commands_of(make_parser()))
def test_each_command_has_help_with_an_example(capsys: pytest.CaptureFixture[str], name: str) -> None:
    with pytest.raises(SystemExit) as end:
        main([name, "--help"])

    assert end.value.code == 0
    assert f"\n    trafficrelay {name}" in capsys.readouterr().out


WITH_A_TARGET = {
    "run": ("run",),
    "worker": ("worker", "--burst"),
    "routes": ("routes",),
    "try": ("try", "/in", "body.json"),
    "send": ("send", "/in", "body.json"),
    "verify": ("verify",),
    "check": ("check",),
    "failed": ("failed",),
    "replay": ("replay",),
    "deliveries": ("deliveries",),
    "pause": ("pause",),
    "resume": ("resume", "--all"),
    "spool show": ("spool", "show"),
    "spool drain": ("spool", "drain"),
    "spool export": ("spool", "export"),
    "spool release": ("spool", "release"),
    "forget": ("forget", "--id", "0" * 32, "--yes"),
    "sweep": ("sweep",),
}
"""A way to call each command that takes a target, which comes after its first word (of spool after the second)."""


def words_for(command: str, target: str, *more: str) -> list[str]:
    words = list(WITH_A_TARGET[command])
    words.insert(2 if words[0] == "spool" else 1, target)
    return [*words, *more]


def test_no_command_with_a_target_is_forgotten_here() -> None:
    with_target = {
        name
        for name, parser in commands_of(make_parser()).items()
        if any(action.dest == "target" for action in parser._actions)
    }

    assert {name.split()[0] for name in WITH_A_TARGET} == with_target


@pytest.mark.parametrize("command", WITH_A_TARGET)
@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("nosuch:relay", "There is no module 'nosuch' here"),
        ("hooks:nosuch", "hooks has no 'nosuch'"),
        ("hooks", "'hooks' does not say where the relay is"),
        ("bad:relay", "bad cannot be imported: KeyError: 'SETTING'"),
        ("nosuch.toml", "There is no file 'nosuch.toml' here"),
        ("bad.toml", "bad.toml"),
    ],
)
def test_a_target_that_is_none_is_one_sentence_and_code_2(
    directory: Path, command: str, target: str, sentence: str
) -> None:
    (directory / "bad.py").write_text("raise KeyError('SETTING')\n")
    (directory / "bad.toml").write_text("[[route]\n")
    (directory / "body.json").write_text("{}")
    code, said = run_cli(*words_for(command, target))

    assert code == 2
    assert said.startswith("trafficrelay: ")
    assert sentence in said
    assert said.count("\n") == 1


ASKS_REDIS = ("worker", "failed", "replay", "deliveries", "pause", "resume", "spool drain", "forget", "sweep")


@pytest.mark.parametrize("command", ASKS_REDIS)
def test_a_redis_that_is_away_is_one_sentence_and_code_1(directory: Path, command: str) -> None:
    """Nobody listens on the port; `run` serves all the same, and `check` says it among what it finds."""
    relay = Relay("redis://127.0.0.1:1", spool="spool.db")
    relay.add(Route("/in", verify=None, job="jobs.echo"))
    TestApp(relay.app).post_json("/in", {}, status=202)
    relay.close()
    (directory / "hooks.py").write_text(HOOKS.replace("relay = Relay()", 'relay = Relay(spool="spool.db")'))
    output = io.StringIO()
    with redirect_stdout(output):
        code, said = run_cli(*words_for(command, "hooks:relay", "--redis", "redis://:hush@127.0.0.1:1"))
    said += output.getvalue()

    assert code == 1
    assert "Redis does not answer" in said
    assert "Traceback" not in said
    assert "hush" not in said
    assert command == "spool drain" or said.count("\n") == 1


def test_what_nobody_reads_any_more_ends_it_in_silence(directory: Path) -> None:
    """As `| head` does."""
    routes = "".join(f"relay.add(Route('/{number}', verify=None, job='jobs.echo'))\n" for number in range(3000))
    (directory / "many.py").write_text(f"from trafficrelay import Relay, Route\nrelay = Relay()\n{routes}")
    command = f"{shlex.quote(sys.executable)} -m trafficrelay routes many:relay | head -n 1; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(
        ["bash", "-c", command], cwd=directory, env=environment(), capture_output=True, text=True, check=True
    )

    assert done.stderr == ""
    assert done.stdout.splitlines()[-1] == "141"


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


def test_a_line_that_goes_into_a_log_is_not_signed() -> None:
    """Whoever reads it could send it, and look for the secret that fits."""
    verify = hmac_signature("secret", header="X-Signature")
    route = declared(verify=verify).routes[0]
    signature = verify.sign(SAMPLE, datetime.now(UTC))["X-Signature"]
    line = curl_line(route, "http://x", signed=False)

    assert signature in curl_line(route, "http://x")
    assert signature not in line
    assert "X-Signature: YOUR-SIGNATURE" in line


def test_a_run_on_a_redis_of_ones_own_prints_no_signature_into_a_log(redis_url: str, tmp_path: Path) -> None:
    """As a service it writes into a journal; on a terminal somebody reads."""
    (tmp_path / "signed.py").write_text(
        "from trafficrelay import Relay, Route\n"
        "from trafficrelay.verify import hmac_signature\n"
        "relay = Relay()\n"
        'relay.add(Route("/in", verify=hmac_signature("secret", header="X-Signature"), job="jobs.echo"))\n'
    )
    with Run(tmp_path, "--redis", redis_url, target="signed:relay") as run:
        run.wait_until_up()
        text = wait_until(lambda: "curl" in run.log.read_text() and run.log.read_text())

    assert "YOUR-SIGNATURE" in text


def test_a_token_is_not_printed() -> None:
    """A credential is shown as a word to put one's own for."""
    line = curl_line(declared(verify=bearer("hush-hush")).routes[0], "http://x")

    assert "hush-hush" not in line
    assert "Authorization: Bearer YOUR-SECRET" in line


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "aws_sns"])  # a topic's name is in each message
def test_no_providers_secret_is_printed(name: str) -> None:
    """No provider's secret is printed, whichever way it is sent."""
    verify = sample(name)
    route = declared(verify=verify).routes[0]

    for signed in (True, False):
        line = curl_line(route, "http://x", signed=signed)
        assert str(verify.secrets.given) not in line
        assert base64.b64encode(f"sample:{verify.secrets.given}".encode()).decode() not in line


def test_a_line_signs_the_url_that_it_is_sent_to() -> None:
    """The line for a provider that signs its URL signs the one in the line."""
    verify = square("secret")
    words = shlex.split(curl_line(declared(verify=verify).routes[0], "http://x"))
    signature = verify.sign(SAMPLE, url="http://x/in")["x-square-hmacsha256-signature"]

    assert f"x-square-hmacsha256-signature: {signature}" in words


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
    assert "POST /in answered 503: The event cannot be kept now; send it again." in run.log.read_text()


def test_an_option_of_a_url_that_does_not_exist_is_told(directory: Path) -> None:
    """redis-py itself would say so with the first event."""
    with Run(directory, "--redis", "redis://127.0.0.1?nosuch=1") as run:
        code = run.process.wait(20)

    assert code == 2
    assert "nosuch" in run.log.read_text()
    assert "Traceback" not in run.log.read_text()


def test_spool_release_tells_machines_too(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One document, as every command that machines may ask."""
    (directory / "hooks.py").write_text(HOOKS.replace("relay = Relay()", 'relay = Relay(spool="spool.db")'))
    code = main(["spool", "release", "hooks:relay", "--json"])

    assert code == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(directory / "spool.db"), "released": 0}
