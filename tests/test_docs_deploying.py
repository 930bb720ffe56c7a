"""What docs/deploying.md shows is what there is."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from trafficrelay.cli import main

from .deploying_support import DEPLOY
from .standalone_support import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "deploying.md").read_text("utf-8")
PROSE = re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL)

# A link to a file, the words behind it up to a colon, and the block below.
WHOLE = re.findall(r"^\[`[^`]+`\]\(\.\./examples/deploy/([^)]+)\)[^\n]*:\n\n```\w+\n(.*?)```", PAGE, re.M | re.DOTALL)
LINKS = re.findall(r"\]\(([^)]+)\)", PROSE)
SHELL = [line.strip() for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()]

# Shown in part, or said in the prose.
IN_PART = ["systemd/trafficrelay-worker.service", "kubernetes/worker.yaml"]
SAID = ["README.md", "requirements.txt", "shop/__init__.py", "shop/jobs.py"]

# Settings that the table has in words.
OTHER_NAMES = ["keepalive_timeout", "keepalive", "terminationGracePeriodSeconds"]


def files() -> list[str]:
    found = [file.relative_to(DEPLOY).as_posix() for file in DEPLOY.rglob("*") if file.is_file()]
    return sorted(name for name in found if "__pycache__" not in name)


@pytest.mark.parametrize(("name", "text"), WHOLE)
def test_a_file_is_shown_as_it_is(name: str, text: str) -> None:
    assert (DEPLOY / name).read_text("utf-8") == text


def test_every_file_is_shown() -> None:
    shown = [name for name, _ in WHOLE]

    assert sorted([*shown, *IN_PART, *SAID]) == files()


@pytest.mark.parametrize("name", IN_PART)
def test_what_is_shown_in_part_is_in_the_file(name: str) -> None:
    block = PAGE[PAGE.index(f"](../examples/deploy/{name})") :].split("```", 2)[1]
    lines = [line for line in block.splitlines()[1:] if line]
    text = (DEPLOY / name).read_text("utf-8").splitlines()

    assert lines
    assert [line for line in lines if line not in text] == []


def test_what_is_to_be_installed_is_what_the_requirements_say() -> None:
    requirement = (DEPLOY / "requirements.txt").read_text("utf-8").strip()

    assert f"`{requirement}`" in PAGE
    assert f"'{requirement}'" in PAGE


@pytest.mark.parametrize("link", sorted({link for link in LINKS if not link.startswith("https://")}))
def test_a_link_leads_somewhere(link: str) -> None:
    path, _, anchor = link.partition("#")
    target = (DOCS / path).resolve() if path else DOCS / "deploying.md"

    assert target.exists()
    if anchor:
        headings = re.findall(r"^#+ (.*)$", target.read_text("utf-8"), re.MULTILINE)
        assert anchor in [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


def test_its_commands_are_commands_of_trafficrelay() -> None:
    found = [words for line in SHELL for words in re.findall(r"\btrafficrelay ([a-z].*)", line)]

    assert len(found) >= 5
    for words in found:
        # It parses what comes before it first.
        with pytest.raises(SystemExit) as ended:
            main([*shlex.split(words.replace("$PORT", "8080"), comments=True), "--help"])
        assert ended.value.code == 0, words


def test_it_can_be_read_in_a_terminal() -> None:
    lines = [line for line in PAGE.splitlines() if not line.startswith(("|", "web: ", "worker: "))]

    assert [line for line in lines if len(line) > 120] == []


@pytest.mark.parametrize(
    ("file", "setting"),
    [
        ("nginx.conf", "client_max_body_size 2m"),
        ("Caddyfile", "max_size 2MB"),
        ("Caddyfile", "read_body 60s"),
        ("nginx.conf", "proxy_read_timeout 30s"),
        ("Caddyfile", "response_header_timeout 30s"),
        ("nginx.conf", "keepalive_timeout 20s"),
        ("Caddyfile", "keepalive 20s"),
        ("compose.yaml", "stop_grace_period: 30s"),
        ("kubernetes/relay.yaml", "terminationGracePeriodSeconds: 40"),
        ("kubernetes/worker.yaml", "terminationGracePeriodSeconds: 200"),
        ("systemd/trafficrelay@.service", "TimeoutStopSec=30"),
        ("systemd/trafficrelay-worker.service", "TimeoutStopSec=200"),
    ],
)
def test_the_table_of_what_must_agree_says_what_the_files_say(file: str, setting: str) -> None:
    table = PAGE[PAGE.index("## What must agree") :].split("\n## ")[0]
    name, value = re.fullmatch(r"(\w+)[ :=]+(\w+)", setting).groups()  # type: ignore[union-attr]

    assert setting in (DEPLOY / file).read_text("utf-8")
    assert value.removesuffix("s") in table.replace("s ", " ").replace("`", "")
    assert (
        name in table
        or Path(file).suffix in {".yaml", ".service"}
        or name == "keepalive_timeout"
        or name == "keepalive"
    )
