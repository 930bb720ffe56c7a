"""docs/configuration.md: its files load, its commands run, and its tables are those of the parser."""

from __future__ import annotations

import importlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import redis
from rq import Queue
from rq.registry import FinishedJobRegistry

from trafficrelay import Relay
from trafficrelay.config import SCHEMA_FILE, relays, routes
from trafficrelay.config.delivering import DELIVER_KEYS
from trafficrelay.config.loading import load as config_load
from trafficrelay.config.verifying import PROVIDERS, _table
from trafficrelay.standalone.banner import SAMPLE
from trafficrelay.verify import CATALOGUE, github

from .config_support import STANDARD_KEY, read, refusal, write
from .standalone_support import ROOT, Run, environment, free_port_number, get, post
from .support import make_event
from .waiting import wait_until

PAGE = (ROOT / "docs/configuration.md").read_text("utf-8")
FILES = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
(WRONG,) = re.findall(r"```toml wrong\n(.*?)```", PAGE, re.DOTALL)
(SAID,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
(JOBS,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LINES = [
    code
    for code in re.findall(r"`([^`\n]+)`", PAGE)
    if re.match(r"(verify|deliver|transforms|queue|job|dedupe|reply|retry|rate|to) = ", code)
]
EXAMPLES = sorted((ROOT / "examples").rglob("*.toml"))

VALIDATOR = jsonschema_rs.validator_for(json.loads(SCHEMA_FILE.read_text("utf-8")))
PUSH = {"repository": {"full_name": "acme/shop", "private": True}, "commits": [{"id": "c0ffee", "message": "x"}]}


class Environ(dict[str, str]):
    """Has whatever a file names."""

    def __missing__(self, name: str) -> str:
        self[name] = "https://b.example/x" if name.endswith("URL") else STANDARD_KEY
        return self[name]

    def get(self, name: str, default: Any = None) -> Any:
        return self[name]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with what the page's files name."""
    names = ("secret_of", "is_ours", "push", "queue_of", "job_of", "key_of", "answer", "is_order")
    (tmp_path / "shop_hooks.py").write_text("\n\n".join(f"def {name}(event):\n    return event" for name in names))
    (tmp_path / "shop_jobs.py").write_text(JOBS)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets/github").write_text("s3cret\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    for name in ("shop_hooks", "shop_jobs"):
        sys.modules.pop(name, None)


def as_editors_have_it(text: str) -> Any:
    """What a schema is shown of a file: JSON has no dates."""
    return json.loads(json.dumps(tomllib.loads(text), default=str))


def load(folder: Path, text: str) -> Relay:
    return config_load(write(folder, text), environ=Environ())


@pytest.mark.parametrize("text", FILES)
def test_every_file_on_the_page_is_good_for_editors_and_loads(folder: Path, text: str) -> None:
    VALIDATOR.validate(as_editors_have_it(text))

    assert load(folder, text).routes


@pytest.mark.parametrize("line", LINES)
def test_every_line_on_the_page_is_good_for_editors_and_loads(folder: Path, line: str) -> None:
    key = line.partition(" ")[0]
    rest = {"path": '"/hooks/<shop>"', "verify": '"none"', "job": '"shop.jobs.on_it"'}
    if key in ("deliver", "to"):
        del rest["job"]
    text = "[[route]]\n" + "".join(f"{name} = {value}\n" for name, value in rest.items() if name != key) + line
    VALIDATOR.validate(as_editors_have_it(text))

    assert load(folder, text).routes


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: str(file.relative_to(ROOT)))
def test_every_example_is_good_for_editors(file: Path) -> None:
    VALIDATOR.validate(as_editors_have_it(file.read_text("utf-8")))


def test_there_are_examples() -> None:
    assert EXAMPLES
    assert len(LINES) > 10


def test_the_wrong_file_is_refused_with_what_the_page_shows(folder: Path) -> None:
    assert f"{refusal(folder, WRONG, GITHUB_SECRET='x')}\n" == SAID


def rows(heading: str) -> list[str]:
    """Give the rows of the table under a heading."""
    section = PAGE.partition(f"### {heading}\n")[2].partition("\n### ")[0]
    return [line for line in section.splitlines() if line.startswith("| `")]


@pytest.mark.parametrize(
    ("heading", "keys"),
    [
        ("`[relay]`", relays.RELAY_KEYS),
        ("`[[route]]`", routes.ROUTE_KEYS),
        ("`deliver`", DELIVER_KEYS),
        ("`to`", {"when": routes.TO_KEYS["when"]}),
    ],
)
def test_the_tables_have_every_key_in_the_parsers_own_words(heading: str, keys: Mapping[str, Any]) -> None:
    assert rows(heading) == [f"| `{name}` | {key.about} |" for name, key in keys.items()]


def test_the_page_says_what_only_python_says_and_why() -> None:
    assert rows("What only Python says") == [
        f"| `{option}` of `{owner}` | {why} |"
        for owner, options in (("Route", routes.PYTHON_ONLY), ("Relay", relays.PYTHON_ONLY))
        for option, why in options.items()
    ]


def test_the_page_has_every_key_that_a_provider_takes() -> None:
    """Of functions in rows of their own, of the catalogue's by what they have in common."""
    table = PAGE.partition("| provider | keys |")[2].partition("\n## ")[0]
    said = {
        first: re.findall(r"`(\w+)[` ]", keys) for first, keys in re.findall(r"^\| (.*?) \| (.*?) \|$", table, re.M)
    }
    own = {name: said[f"`{name}`"] for name in PROVIDERS if f"`{name}`" in said and name not in CATALOGUE}
    shared = {key for first, keys in said.items() if first.strip("`") not in own for key in keys}

    assert own == {name: keys_of(name) for name in PROVIDERS if name not in CATALOGUE}
    assert shared == {key for name in CATALOGUE for key in keys_of(name)}


def keys_of(name: str) -> list[str]:
    return [key for key in _table(name, signs=False).keys if key != "provider"]


def test_the_first_file_makes_of_a_push_what_the_job_takes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (route,) = read(folder, FILES[0], GITHUB_SECRET="x").routes
    data = route.reshape(make_event(data=PUSH))
    importlib.import_module("shop_jobs").on_push(data)

    assert data == {"repo": "acme/shop", "repository": {}, "commits": [{"id": "c0ffee"}]}
    assert capsys.readouterr().out == "acme/shop 1\n"


@pytest.mark.parametrize("name", ["page", "standalone"])
def test_what_run_prints_to_try_it_with_becomes_a_job(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    """The first that a newcomer sees is no failure, and no event that is dropped."""
    text, jobs = FILES[0], JOBS
    if name == "standalone":
        text, jobs = ((ROOT / "examples/standalone" / file).read_text("utf-8") for file in ("relay.toml", "jobs.py"))
    (route,) = read(folder, text, GITHUB_SECRET="x", HOOK_SECRET="x").routes
    functions: dict[str, Any] = {}
    exec(jobs, functions)
    data = route.reshape(make_event(data=json.loads(SAMPLE), params={"shop": "example"}))
    functions[str(route.targets[0].job_of).rpartition(".")[2]](data)

    assert capsys.readouterr().out


@pytest.mark.rq
def test_the_first_commands_run_the_first_file(folder: Path, redis_url: str, client: redis.Redis) -> None:
    """The server and its own worker; a worker and `check` on a Redis; and gunicorn."""
    run, worker, check, gunicorn = (
        shlex.split(line, comments=True) for line in COMMANDS[0].splitlines() if not line.startswith("export")
    )
    (folder / "relay.toml").write_text(FILES[0])
    body = json.dumps(PUSH).encode()
    signed = github("change-me").sign(body)
    with Run(folder, target=run[2], GITHUB_SECRET="change-me") as served:
        served.wait_until_up()
        status, _ = post(served.port, "/hooks/acme", body, signed)
        wait_until(lambda: "acme/shop 1\n" in served.log.read_text(), 20)
    more = {"GITHUB_SECRET": "change-me", "TRAFFICRELAY_REDIS_URL": redis_url}
    port = free_port_number()
    with (folder / "gunicorn.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *gunicorn, "--bind", f"127.0.0.1:{port}", "--no-control-socket"],
            cwd=folder,
            env=environment(**more),
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: _up(port), 20)
        accepted, _ = post(port, "/hooks/acme", body, signed)
    finally:
        server.terminate()
        server.wait(20)
    done = [
        subprocess.run(
            [sys.executable, "-m", *words],
            cwd=folder,
            env=environment(**more),
            capture_output=True,
            text=True,
            check=False,
        )
        for words in ([*worker, "--burst"], check)
    ]

    assert (run[:2], status, accepted) == (["trafficrelay", "run"], 202, 202)
    assert "acme/shop 1\n" in done[0].stdout, done[0].stderr
    assert done[1].returncode == 0, done[1].stdout + done[1].stderr


@pytest.mark.rq
def test_rqs_own_worker_runs_the_jobs_as_the_page_says(folder: Path, redis_url: str, client: redis.Redis) -> None:
    (folder / "relay.toml").write_text(FILES[0])
    (folder / "elsewhere").mkdir()
    variable, program, *worker = shlex.split(
        COMMANDS[1].splitlines()[1].replace("/srv/shop", str(folder)), comments=True
    )
    name, _, value = variable.partition("=")
    job = Queue("hooks", connection=client).enqueue("shop_jobs.on_push", {"repo": "acme/shop", "commits": [1]})
    done = subprocess.run(
        [sys.executable, "-m", "rq.cli", *worker, "--burst", "--url", redis_url],
        cwd=folder / "elsewhere",
        env=environment(**{name: value}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert program == "rq"
    assert job.id in FinishedJobRegistry("hooks", connection=client), done.stderr


def test_the_page_says_how_to_find_the_schema() -> None:
    words = shlex.split(COMMANDS[2])
    done = subprocess.run([sys.executable, *words[1:]], env=environment(), capture_output=True, text=True, check=True)

    assert done.stdout.strip() == SCHEMA_FILE.as_uri()
    assert os.fspath(SCHEMA_FILE).endswith("relay.schema.json")


def _up(port: int) -> bool:
    try:
        return get(port, "/-/health")[0] == 200
    except OSError:
        return False
