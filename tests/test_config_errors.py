"""What relay.toml must not say: each fault names file, line, table and key, and what to write in its stead."""

from __future__ import annotations

import importlib
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from trafficrelay import DeclarationError, Relay
from trafficrelay.config.lines import Lines
from trafficrelay.config.place import toml_words
from trafficrelay.errors import ConfigError
from trafficrelay.testing import relay_client

from .config_support import read, refusal, route, route_refusal, write
from .standalone_support import ROOT

ROUTE = '[[route]]\npath = "/a"\nverify = "none"\njob = "a.b"\n'


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "faulty_hooks.py").write_text("from no_such_package import it\n")
    (tmp_path / "good_hooks.py").write_text("number = 7\n\n\ndef push(event):\n    return event.data\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TRAFFICRELAY_REDIS_URL", raising=False)
    importlib.invalidate_caches()
    yield tmp_path
    for name in ("faulty_hooks", "good_hooks"):
        sys.modules.pop(name, None)


def test_an_error_says_where_and_what(folder: Path) -> None:
    """In its text and as attributes."""
    error = refusal(folder, f'{ROUTE}\n[[route]]\npath = "/github"\nverify = "none"\njob = "a.b"\nqeue = "hooks"\n')

    assert str(error) == ("relay.toml, line 10, [[route]] 2 (/github), qeue: There is no such key. Did you mean queue?")
    assert (error.file, error.table, error.key, error.line) == ("relay.toml", "[[route]] 2 (/github)", "qeue", 10)
    assert isinstance(error, DeclarationError)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[relay\n", "relay.toml is no TOML: Expected ']' at the end of a table declaration (at line 1, column 7)."),
        ("", "relay.toml: There is no route. Write one under [[route]]"),
        ('[route]\npath = "/a"', "line 1, [route]: Routes are a list of tables: write [[route]] in double brackets."),
        ("route = 7", "[route]: Routes are tables under [[route]], not a number."),
        (f"redis = 1\n{ROUTE}", "line 1, redis: This belongs under [relay]."),
        (f"[[routes]]\n{ROUTE}", "routes: Routes are written under [[route]]."),
        (f"[redis]\n{ROUTE}", "redis: This belongs under [relay]."),
        (f"[server]\n{ROUTE}", "server: There is no such table. There are [relay] and [[route]]."),
        (f"[[relay]]\n{ROUTE}", "[relay]: This is a table such as redis"),
        (
            f'[relay]\nserialiser = "json"\n{ROUTE}',
            "line 2, [relay], serialiser: There is no such key. Did you mean ser",
        ),
        (f'[relay]\nredis = "localhost"\n{ROUTE}', "[relay]: A relay takes a Redis URL, which begins with redis://"),
        (
            f'[relay]\nspool = {{ max_size = "1GB" }}\n{ROUTE}',
            '[relay], spool: It has no path, such as path = "spool.db".',
        ),
        (f"[relay]\nwait_replicas = -1\n{ROUTE}", "wait_replicas: This is a whole number, 0 or more, not -1."),
        (f'[relay]\ntrusted_proxies = ["10.0.0.1/8"]\n{ROUTE}', "line 2, [relay], trusted_proxies: "),
        (
            f'[relay]\naddress_rate = "5/m per route"\n{ROUTE}',
            "[relay], address_rate: address_rate is counted per addr",
        ),
        (f"{ROUTE}{ROUTE}", "line 6, [[route]] 2 (/a), path: POST /a is declared twice."),
    ],
)
def test_what_is_wrong_with_a_file_is_said(folder: Path, text: str, sentence: str) -> None:
    assert sentence in str(refusal(folder, text))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('method = "GET"', "There is no such key. Did you mean methods?"),
        ('rule = "/b"', "There is no such key. Did you mean path?"),
        ('transform = "a.b"', "There is no such key. Did you mean transforms?"),
        ('zzz = "a.b"', "There is no such key. There are aside, at_front,"),
        ('path = "in"', 'path: This is a path that begins with a slash, such as "/github"'),
        ('path = "/-/x"', "The rule /-/x is taken"),
        ('job = "on_it"', 'job: This is the dotted name of a function, such as "shop.jobs.on_push", not "on_it".'),
        ("job = 7", "job: This is the dotted name of a function"),
        ('job = "a.b c"', "job: "),
        (
            'queue = "with space"',
            'queue: This is a name of letters, digits and . _ - :, such as "hooks", not "with space".',
        ),
        (
            'methods = ["GOT"]',
            'methods 1: This is "GET", "POST", "PUT", "PATCH" or "DELETE", not "GOT". Did you mean GET?',
        ),
        ('methods = "GET"', "methods: This is a list"),
        ("methods = []", "methods: This is a list, and this one is empty."),
        ('max_body = "lots"', 'max_body: This is a number of bytes, or a size such as "256KB" or "5MB", not "lots".'),
        ("max_body = true", "not true."),
        ('timeout = "soon"', 'timeout: This is a time, in whole seconds or such as "90s"'),
        ("timeout = 0", "timeout: timeout is a time of 1 s or more"),
        ("delay = 1.5", "delay: This is a time, in whole seconds"),
        ("at_front = 1", "at_front: This is true or false, not 1."),
        ('status = "yes"', 'status: This is true or false, not "yes".'),
        ("retry = true", "retry: This is a number of tries, a list of the waits before each"),
        ("retry = { tires = 3 }", "retry.tires: There is no such key. Did you mean tries?"),
        ('retry = { first = "1h", longest = "1m" }', "retry: longest is at least first"),
        (
            'reply = "pixle"',
            'reply: This is "empty", "pixel", or a table such as { status = 200, body = "thanks" }, not "pixle".',
        ),
        ("reply = { status = 99 }", "reply.status: This is a whole number from 200 to 599, not 99."),
        ("reply = { status = 204, body = 'x' }", "reply: A reply with status 204 has no body."),
        ('on_error = "keeep"', 'on_error: This is "keep" or "refuse", not "keeep". Did you mean keep?'),
        ('rate = "often"', 'rate: This is a number of events and a time, such as "100/m"'),
        ('rate = { per = "route" }', 'rate: It has no rate, such as rate = "100/m".'),
        ('rate = { rate = "1/s", per = "planet" }', "rate.per: This is "),
        ('dedupe = "id"', 'dedupe: This is "header:NAME", "data:path.to.field", or "none", not "id".'),
        (
            'cors = "https://a.example"',
            'cors: This is a list of origins such as ["https://shop.example"], or "*", not "https://a.example".',
        ),
        (
            'cors = ["https://a.example/"]',
            'such as "https://shop.example" or "http://localhost:3000": a scheme and a host',
        ),
        ('job = "a.b"\ndeliver = "https://a.example/"', "/in has a job and deliver; say one of them."),
        ('deliver = "ftp://a.example"', "deliver: The URL of a delivery has to begin with 'https://' or 'http://'."),
        ('deliver = "http://127.0.0.1/"', "Say { url = …, allow = […] }."),
        ('deliver = "https://a.example/"\nretry = 3', "retry: /in delivers, so retry is its destination's"),
        ("deliver = {}", 'deliver: It has no URL. Say url = "https://…", or url_env = "…".'),
        (
            'deliver = { url = "https://a.example/", retry = 3 }',
            "deliver.retry: There is no such key. Did you mean sched",
        ),
        (
            'deliver = [{ url = "https://a.example/" }, { uri = "x" }]',
            "deliver 2.uri: There is no such key. Did you mean",
        ),
        ('deliver = { url = "https://a.example/", method = "GET" }', "deliver.method: This is "),
        ('deliver = { url = "https://a.example/", connect_timeout = 0 }', "deliver.connect_timeout: "),
        ('to = [{ queue = "x" }]', 'to 1: It says neither job = "…" nor deliver = "…".'),
        ('to = [{ job = "a.b", wen = "x" }]', "to 1.wen: There is no such key. Did you mean when?"),
        ('to = [{ job = "a.b", when = "type ==" }]', "to 1"),
        ('transforms = [{ kep = ["a"] }]', "transforms 1: There is no step kep. Did you mean keep?"),
        (
            'transforms = [{ keep = ["a"], missng = "drop" }]',
            "transforms 1.missng: There is no such key. Did you mean mis",
        ),
        ('transforms = [{ keep = ["a"], missing = "drip" }]', "transforms 1.missing: This is "),
        ("transforms = [{ keep = [] }]", "transforms 1.keep: "),
        ("transforms = [{}]", "transforms 1: This is a table such as { keep"),
        ("transforms = [7]", "transforms 1: This is a table such as { keep"),
        ('transforms = ["push"]', "transforms 1: This is the dotted name of a function"),
        ('transforms = ["nowhere.push"]', "transforms 1: There is no module nowhere here"),
        ('transforms = ["good_hooks.psh"]', "good_hooks has no psh. Did you mean good_hooks.push?"),
        ('transforms = ["good_hooks.number"]', "good_hooks.number is no function; its type is int."),
        (
            'transforms = ["faulty_hooks.push"]',
            "faulty_hooks cannot be imported: ModuleNotFoundError: No module named 'no_such_package' (",
        ),
        ('transforms = [{ hash = ["a"] }]', 'transforms 1: The key is missing. Say key_env = "…"'),
        ('queue = { function = "good_hooks.number" }', "queue.function: good_hooks.number is no function"),
        ("verify = true", 'verify: This is "none" for a route that is open to everybody, or a table such as'),
        ("verify = {}", 'verify: It has no provider. Say which, such as provider = "github": docs/providers.md lists'),
        ('verify = { provider = "githb" }', "verify.provider: There is no such provider. Did you mean github?"),
        ('verify = { provider = "HubSpt" }', "There is no such provider. Did you mean hubspot?"),
        ('verify = { provider = "Standard Webhooks" }', "There is no such provider. Did you mean standard_webhooks?"),
        (
            'verify = { provider = "qqq" }',
            "docs/providers.md lists those that there are; of others most can be said as",
        ),
        ("verify = { provider = 7 }", "There is no such provider. docs/providers.md lists"),
        ('verify = { provider = "github" }', 'verify: The secret is missing. Say secret_env = "…"'),
        ('verify = { provider = "github" }', "It is the secret that the webhook was made with."),
        (
            'verify = { provider = "meta", secret_env = "S", verify_token = "x" }',
            'verify.verify_token: A secret does not stand in this file. Say verify_token_env = "…", an env',
        ),
        (
            'verify = { provider = "meta", secret = "x" }',
            'verify.secret: A secret does not stand in this file. Say secret_env = "…", an environment variable',
        ),
        (
            'verify = { provider = "meta", verify_token_env = "S" }',
            'verify: The secret is missing. Say secret_env = "…"',
        ),
        (
            'verify = { provider = "stripe", secret_env = "S", tolerance = 0 }',
            "verify: stripe: tolerance is a positive number of seconds.",
        ),
        (
            'verify = { provider = "stripe", secret_env = "S", tolerance = "5m" }',
            'verify.tolerance: This is a whole number, not "5m".',
        ),
        (
            'verify = { provider = "square", secret_env = "S", public_url = "hooks.example" }',
            "verify: square: public_url is the URL that the provider was given",
        ),
        ('verify = { provider = "chargebee", secret_env = "S" }', "verify: username is missing."),
        (
            'verify = { provider = "github", secret_env = [] }',
            "verify.secret_env: This is a list of the name of an environment variable",
        ),
        (
            'verify = { provider = "github", secret_env = ["S", { env = "T", until = 2999-01-01 }] }',
            "verify.secret_env 2.env: The environment variable T is not set.",
        ),
        (
            'verify = { provider = "github", secret_env = ["S", { env = "S", until = 12:00:00 }] }',
            "verify.secret_env 2.until: This is a day such as 2026-12-31, or a moment such as 2026-12-31T12:00:00Z",
        ),
        (
            'verify = { provider = "github", secret_env = ["S", { env = "S", until = "soon" }] }',
            "verify.secret_env 2.until: until is a day or a moment such as",
        ),
        (
            'verify = { provider = "github", secret_env = ["S", { env = "S", name = "two words" }] }',
            "verify.secret_env 2.name: This is a name of up to 64 letters, digits and . _ : -, not a string.",
        ),
        (
            'verify = { provider = "github", secret_env = ["S", { until = 2999-01-01 }] }',
            "verify.secret_env 2: It has no env.",
        ),
        (
            'verify = { provider = "github", secret_env = ["S", { env = "S", untl = 2999-01-01 }] }',
            "verify.secret_env 2.untl: There is no such key. Did you mean until?",
        ),
        ('verify = { provider = "github", secret_env = ["S", "S"] }', "verify: github: two keys are called S."),
        (
            'verify = { provider = "github", secret_env = [{ env = "S", until = 2020-12-31 }] }',
            "verify: github: no secret counts any more; the last one did until 2021-01-01T00:00:00+00:00.",
        ),
        ('verify = { provider = "bearer", secret_env = "S" }', 'verify.secret_env: Say token_env = "…"'),
        ('verify = { provider = "github", header = "X" }', "verify.header: There is no such key."),
        ('verify = { provider = "hmac_signature", secret_env = "S" }', "verify: header is missing."),
        (
            'verify = { provider = "hmac_signature", secret_env = "S", header = "a b" }',
            'verify: hmac_signature needs the name of the signature\'s header, such as header = "X-Signature"',
        ),
        (
            'verify = { provider = "hmac_signature", secret_env = "S", header = "X", encoding = "hx" }',
            'verify.encoding: This is "hex", "base64" or "base64url", not "hx". Did you mean hex?',
        ),
    ],
)
def test_what_is_wrong_with_a_route_is_said(folder: Path, text: str, sentence: str) -> None:
    """In TOML's words: none speaks of what only Python has."""
    said = str(route_refusal(folder, text, S="s3cret"))

    assert sentence in said
    assert said.startswith("relay.toml, line ")
    for word in ("None", "True", "Deliver(", "Route(", "To(", "Backoff", "rq.", 'job="'):
        assert word not in said


@pytest.mark.parametrize("missing", ["path", "verify", "job"])
def test_what_a_route_needs_is_asked_for(folder: Path, missing: str) -> None:
    text = "".join(line + "\n" for line in ROUTE.splitlines() if not line.startswith(missing))
    error = refusal(folder, text)

    assert error.table.startswith("[[route]] 1")
    assert f"{missing} = " in str(error)


def test_all_faults_of_a_file_are_told_at_once_in_order(folder: Path) -> None:
    error = refusal(
        folder,
        """
        [relay]
        serialiser = "json"

        [[route]]
        path = "/a"
        verify = "open"
        job = "a.b"
        queue = 7

        [[route]]
        path = "/b"
        verify = "none"
        job = "b"
        """,
    )

    assert [(fault.line, fault.key) for fault in error.faults] == [
        (3, "serialiser"),
        (7, "verify"),
        (9, "queue"),
        (14, "job"),
    ]
    assert str(error).splitlines() == [str(fault) for fault in error.faults]


@pytest.mark.parametrize("word", ["hunter2", "Hunter2Hunter2", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"])
@pytest.mark.parametrize(
    "text",
    [
        'verify = "{}"',
        'verify = {{ provider = "github", secret = "{}" }}',
        'verify = {{ provider = "github", token = "{}" }}',
        'verify = {{ provider = "github", secret_env = "{}" }}',
        'verify = {{ provider = "github", secret_file = "{}" }}',
        'verify = {{ provider = "github", secret_env = ["{}"] }}',
        'verify = {{ provider = "github", secret_env = [{{ env = "{}" }}] }}',
        'verify = {{ provider = "github", secret_env = {{ secret = "{}", until = 2999-01-01 }} }}',
        'verify = {{ provider = "github", secret_file = [{{ file = "{}" }}] }}',
        'verify = {{ provider = "meta", secret_env = "S", verify_token = "{}" }}',
        'verify = {{ provider = "github", secret_function = "{}" }}',
        'verify = {{ provider = "bearer", password = "{}" }}',
        'verify = ["{}"]',
        'transforms = [{{ hash = ["a"], key = "{}" }}]',
        'deliver = {{ url = "https://a.example/", sign = "{}" }}',
        'deliver = {{ url = "https://a.example/", headers = {{ Authorization = "{}" }} }}',
        'deliver = {{ url = "https://a.example/", headers = {{ X-Api-Key = "{}" }} }}',
        'deliver = {{ url = "https://a.example/", headers = {{ X-A = ["{}"] }} }}',
        'deliver = {{ url = "https://u:{}@a.example/" }}',
        'deliver = "//{}"',
    ],
)
def test_a_secret_in_the_file_is_refused_and_never_repeated(folder: Path, text: str, word: str) -> None:
    """Wherever somebody puts it by mistake."""
    error = route_refusal(folder, text.format(word))

    assert word not in str(error)
    assert word not in repr(error)


@pytest.mark.parametrize(
    "url",
    [
        "redis://:hunter2@localhost:6379/0",
        "redis://ada:hunter2@localhost",
        "rediss+sentinel://:hunter2@a,b/shop",
        "redis://localhost?password=hunter2",
        "redis+sentinel://a,b/shop?sentinel_password=hunter2",
        "unix://:hunter2@/run/redis.sock",
        "redis://:hunter2@[::1/0",
    ],
)
def test_a_redis_url_with_a_password_is_refused_with_a_hint(folder: Path, url: str) -> None:
    error = refusal(folder, f'[relay]\nredis = "{url}"\n{ROUTE}')

    assert 'Say redis_env = "REDIS_URL", or redis_file = "…".' in str(error)
    assert "hunter2" not in str(error)


def test_a_redis_url_with_a_user_alone_is_taken(folder: Path) -> None:
    relay = read(folder, f'[relay]\nredis = "redis://ada@localhost/1"\n{ROUTE}')

    assert relay.redis_url == "redis://ada@localhost/1"


@pytest.mark.parametrize(
    ("text", "environ", "sentence"),
    [
        ('secret_env = "GITHUB_SECRET"', {}, "The environment variable GITHUB_SECRET is not set."),
        ('secret_env = "GITHUB_SECRET"', {"GITHUB_SECRET": ""}, "The environment variable GITHUB_SECRET is empty."),
        ('secret_env = ["A", "B"]', {"A": "x"}, "verify.secret_env 2: The environment variable B is not set."),
        ('secret_file = "none"', {}, "verify.secret_file: The file that this names cannot be read: No such file"),
        ('secret_file = "empty"', {}, "verify.secret_file: The file that this names is empty."),
        ('secret_file = "."', {}, "verify.secret_file: The file that this names cannot be read: Is a directory."),
    ],
)
def test_a_secret_that_is_not_there_is_named(folder: Path, text: str, environ: dict[str, str], sentence: str) -> None:
    (folder / "empty").write_text("\n")

    assert sentence in str(route_refusal(folder, f'verify = {{ provider = "github", {text} }}', **environ))


def test_a_secret_of_the_wrong_form_is_refused_without_it(folder: Path) -> None:
    error = route_refusal(folder, 'verify = { provider = "standard_webhooks", secret_env = "S" }', S="hunter2!")

    assert "[[route]] 1 (/in), verify: standard_webhooks: the secret is no base64" in str(error)
    assert "hunter2" not in str(error)


def test_what_a_declaration_says_is_kept_as_the_cause(folder: Path) -> None:
    error = route_refusal(folder, "timeout = 0")

    assert isinstance(error.__cause__, DeclarationError)
    assert error.__cause__.option == "timeout"


@pytest.mark.parametrize(
    ("data", "sentence"), [(None, "There is no file relay.toml."), (b"\xff", "relay.toml is not written in UTF-8")]
)
def test_a_file_that_cannot_be_read_is_told(folder: Path, data: bytes | None, sentence: str) -> None:
    if data is not None:
        (folder / "relay.toml").write_bytes(data)
    with pytest.raises(ConfigError, match=sentence):
        Relay.from_config("relay.toml")


def test_a_folder_in_place_of_a_file_is_told(folder: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        Relay.from_config(folder)


def test_a_file_nested_too_deep_is_told(folder: Path) -> None:
    write(folder, f"a = {'[' * 5000}{']' * 5000}")
    with pytest.raises(ConfigError, match=r"nested too deep|is no TOML|no such table"):
        Relay.from_config("relay.toml")


def test_a_route_of_an_inline_list_has_a_line(folder: Path) -> None:
    error = refusal(folder, 'route = [\n  { path = "/a", verify = "none", job = "a.b" },\n  { path = "/b" },\n]')

    assert str(error).startswith("relay.toml, line 3, [[route]] 2 (/b): ")


def test_a_text_of_several_lines_does_not_mislead(folder: Path) -> None:
    """What looks like a table within a string is none."""
    error = refusal(folder, f'{ROUTE}reply = {{ body = """\n[[route]]\nqueue = 1\n""" }}\n[[route]]\npath = "/b"\n')

    assert (error.table, error.line) == ("[[route]] 2 (/b)", 9)


def test_keys_of_inner_tables_are_found(folder: Path) -> None:
    error = refusal(
        folder, f'{ROUTE.replace("job", "# job")}\n[route.deliver]\nurl = "https://a.example"\nbdy = "raw"\n'
    )

    assert str(error).startswith(
        "relay.toml, line 8, [[route]] 1 (/a), deliver.bdy: There is no such key. Did you mean b"
    )


def test_each_of_several_inner_tables_has_its_own_line(folder: Path) -> None:
    lines = ["[[route.to]]", 'job = "a.b"', "[[route.to]]", "queue = 7", 'job = "a.b"', "[[route.to]]", "x = 1"]
    error = refusal(folder, ROUTE.replace("job", "# job") + "\n".join(lines))

    assert [(fault.key, fault.line) for fault in error.faults] == [("to 2.queue", 8), ("to 3.x", 11)]


def test_each_step_of_a_list_over_several_lines_has_its_own_line(folder: Path) -> None:
    """Whatever stands between them."""
    error = refusal(
        folder,
        ROUTE
        + """transforms = [  # [
            { set = { a = "]" } }, { kep = ["b"] },
            # { keep = ["c"] },
            { keep = [
                "d",
            ], missng = "drop" },
        ]
        queue = 7
        """,
    )

    assert [(fault.key, fault.line) for fault in error.faults] == [
        ("transforms 2", 6),
        ("transforms 3.missng", 10),
        ("queue", 12),
    ]


@pytest.mark.parametrize("page", ["docs/configuration.md", "docs/routes.md", "docs/deploying.md", "docs/steps.md"])
def test_every_key_of_the_documentation_is_found_where_it_stands(page: str) -> None:
    for text in re.findall(r"```toml\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL):
        lines = Lines(text)
        for name, table in tomllib.loads(text).items():
            tables = list(enumerate(table, 1)) if isinstance(table, list) else [(0, table)]
            for number, one in tables:
                for key in one:
                    line = text.splitlines()[lines.find((name, number), (key,)) - 1]

                    assert re.search(rf"\b{key}\b", line)


def test_what_is_no_toml_has_no_lines_and_no_end_is_waited_for() -> None:
    for text in ("[", "[[", "a", "a =", "a = [", 'a = "', "a = {", "[a", "a = [1 2]", "a = " + "[" * 9_000, "=", '"""'):
        assert Lines(text).find(("b", 1), ("c",)) == 0


@pytest.mark.parametrize(
    ("python", "toml"),
    [
        ('Say job="a.b", or rename={"a": "b"}.', 'Say job = "a.b", or rename = {"a" = "b"}.'),
        ('cannot put this in "a": it cannot be said', 'cannot put this in "a": it cannot be said'),
        ("Say per_address=True or x=False.", "Say per_address = true or x = false."),
        ('not "x=True: "', 'not "x=True: "'),
        ('Say { "a": { "b": 1 } }: it is.', 'Say { "a" = { "b" = 1 } }: it is.'),
        ("at_front is True or False, not 1.", "at_front is true or false, not 1."),
    ],
)
def test_what_python_is_told_is_put_into_the_words_of_a_file_and_quotes_are_left(python: str, toml: str) -> None:
    assert toml_words(python) == toml


def test_a_number_that_is_none_is_told_of_both(folder: Path) -> None:
    error = refusal(folder, f'[relay]\nmax_requests = "nine"\n{ROUTE}')

    assert 'max_requests: This is a whole number, or "none", not "nine".' in str(error)


def test_a_byte_order_mark_is_read_over(folder: Path) -> None:
    (folder / "relay.toml").write_bytes(b"\xef\xbb\xbf" + ROUTE.encode())

    assert len(Relay.from_config("relay.toml").routes) == 1


@pytest.mark.parametrize(("data", "whole"), [(b"s3cret\r\n\r\n", True), (b"\xef\xbb\xbfs3cret\n", False)])
def test_what_an_editor_adds_is_no_part_of_a_secret(folder: Path, data: bytes, whole: bool) -> None:
    """Or is told, where it cannot be known whether it is."""
    (folder / "secret").write_bytes(data)
    (folder / "plain").write_bytes(b"s3cret")
    text = 'verify = { provider = "github", secret_file = "secret" }'
    if not whole:
        assert "verify.secret_file: The file that this names begins with a byte order mark" in str(
            route_refusal(folder, text)
        )
        return
    asking = relay_client(route(folder, text.replace('"secret"', '"plain"'))).post_json("/in", 1, signed=True).request

    assert relay_client(route(folder, text)).send(asking).status == 202


@pytest.mark.parametrize(
    "text",
    [
        'verify = { provider = "github", secret_file = "~nosuchuser/x" }',
        'transforms = [{ hash = ["a"], key_file = "~nosuchuser/x" }]',
        'transforms = [{ validate = "~nosuchuser/x" }]',
    ],
)
def test_the_home_of_nobody_is_told(folder: Path, text: str) -> None:
    assert "The file that this names begins with ~" in str(route_refusal(folder, text))


@pytest.mark.parametrize("path", ["~nosuchuser/relay.toml", "a\0b"])
def test_a_name_that_no_file_can_have_is_told(path: str) -> None:
    with pytest.raises(ConfigError):
        Relay.from_config(path)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("no.such", "[relay], serializer: There is no module no here"),
        ("good_hooks.push", "[relay], serializer: good_hooks.push is no serializer"),
    ],
)
def test_a_serializer_that_is_none_is_told_when_the_file_is_read(folder: Path, name: str, sentence: str) -> None:
    assert sentence in str(refusal(folder, f'[relay]\nserializer = "{name}"\n{ROUTE}'))


def test_an_error_is_one_line_whatever_a_key_is_called(folder: Path) -> None:
    assert len(str(route_refusal(folder, '"a\\nb\\u001b" = 1')).splitlines()) == 1


def test_a_good_file_is_not_complained_about(folder: Path) -> None:
    assert len(route(folder, "").routes) == 1
