"""`trafficrelay completion`: the scripts are sourced in the shells themselves, and asked to complete."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from unittest import mock

import pytest

from trafficrelay.cli import commands_of, main, make_parser
from trafficrelay.commands.completion import SHELLS

BASH = """\
set -e
source "$1"
COMP_WORDS=(trafficrelay "${@:2}")
COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
COMP_LINE="${COMP_WORDS[*]}"
COMP_POINT=${#COMP_LINE}
function=$(complete -p trafficrelay | sed 's/.*-F \\([^ ]*\\).*/\\1/')
"$function" trafficrelay "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def script(shell: str, directory: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    assert main(["completion", shell]) == 0
    path = directory / f"completion.{shell}"
    path.write_text(capsys.readouterr().out)
    return path


def complete(path: Path, *words: str) -> list[str]:
    """Ask bash what the last word could be."""
    done = subprocess.run(
        ["bash", "--norc", "-c", BASH, "bash", path, *words],
        capture_output=True,
        text=True,
        check=True,
        cwd=path.parent,
    )
    return [word.strip() for word in done.stdout.split("\n") if word.strip()]


needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")


@needs_bash
def test_bash_completes_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)

    assert complete(path, "rep") == ["replay"]
    assert set(complete(path, "")) >= set(commands_of(make_parser()))


@needs_bash
def test_bash_completes_options_and_what_they_take(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)

    assert complete(path, "check", "--lo") == ["--lossy-redis"]
    assert complete(path, "replay", "--kind", "") == ["event", "handover", "job"]
    assert complete(path, "completion", "z") == ["zsh"]


@needs_bash
def test_bash_completes_files_where_a_target_can_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = script("bash", tmp_path, capsys)
    (tmp_path / "relay.toml").write_text("")

    assert complete(path, "routes", "rel") == ["relay.toml"]


@pytest.mark.parametrize(("shell", "flag"), [("zsh", "-n"), ("fish", "--no-execute"), ("tcsh", "-n")])
def test_other_shells_can_read_their_scripts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shell: str, flag: str
) -> None:
    path = script(shell, tmp_path, capsys)
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")

    assert subprocess.run([shell, flag, path], check=False).returncode == 0


@pytest.mark.parametrize("shell", SHELLS)
def test_each_shell_gets_a_script_with_all_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], shell: str
) -> None:
    text = script(shell, tmp_path, capsys).read_text()

    assert all(name in text for name in commands_of(make_parser()))


def test_without_shtab_it_says_what_to_install(capsys: pytest.CaptureFixture[str]) -> None:
    with mock.patch("trafficrelay.commands.completion.find_spec", return_value=None):
        code = main(["completion", "bash"])

    assert code == 1
    assert capsys.readouterr().err == "trafficrelay: shtab is not installed: pip install 'trafficrelay[cli]'.\n"
