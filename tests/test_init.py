"""`trafficrelay init`: what it writes works as it is, and it writes over nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from trafficrelay.cli import main
from trafficrelay.config import SCHEMA_FILE

from .standalone_support import Run, environment, post
from .waiting import wait_until


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_writes_a_relay_and_a_job_and_says_what_is_next(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["init"])
    said = capsys.readouterr().out

    assert code == 0
    assert {path.name for path in directory.iterdir()} == {"relay.toml", "jobs.py", ".gitignore"}
    assert "trafficrelay run relay.toml" in said
    assert "\n    cd " not in said


def test_the_data_of_run_is_kept_out_of_git_unless_somebody_has_said_what_is(directory: Path) -> None:
    main(["init"])
    (directory / "mine").mkdir()
    (directory / "mine/.gitignore").write_text("*.pyc\n")
    code = main(["init", "mine"])

    assert code == 0
    assert "/.trafficrelay/" in (directory / ".gitignore").read_text().splitlines()
    assert (directory / "mine/.gitignore").read_text() == "*.pyc\n"


def test_another_directory_is_made_and_named(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["init", "my shops/new"])

    assert code == 0
    assert (directory / "my shops/new/relay.toml").is_file()
    assert "\n    cd 'my shops/new'\n" in capsys.readouterr().out


@pytest.mark.parametrize("there", ["relay.toml", "jobs.py"])
@pytest.mark.parametrize("dangling", [False, True])
def test_nothing_is_written_over(
    directory: Path, capsys: pytest.CaptureFixture[str], there: str, dangling: bool
) -> None:
    """Not a single file, nor through a link to somewhere else."""
    path = directory / there
    if dangling:
        path.symlink_to("elsewhere")
    else:
        path.write_text("mine")
    code = main(["init"])

    assert code == 2
    assert capsys.readouterr().err.startswith(f"trafficrelay: {there} is there already, and nothing was written.")
    assert [one.name for one in directory.iterdir()] == [there]
    assert dangling or path.read_text() == "mine"


def test_a_directory_that_cannot_be_made_is_told(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (directory / "file").write_text("")
    code = main(["init", "file/shop"])

    assert code == 2
    assert "trafficrelay: file/shop cannot be written to: Not a directory." in capsys.readouterr().err


def test_the_first_line_leads_editors_to_the_schema(directory: Path) -> None:
    main(["init"])
    text = (directory / "relay.toml").read_text()

    assert text.splitlines()[0] == f"#:schema {SCHEMA_FILE.as_uri()}"
    assert "properties" in json.loads(SCHEMA_FILE.read_text())
    assert tomllib.loads(text)["route"][0]["path"] == "/hooks/<shop>"


def command_line(directory: Path, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "trafficrelay", *words]
    return subprocess.run(
        command, cwd=directory, env=environment(), input=text, capture_output=True, text=True, check=False
    )


@pytest.mark.rq
@pytest.mark.parametrize("python", [False, True])
def test_what_it_writes_runs_as_it_says(directory: Path, python: bool) -> None:
    """The commands that it names, in the folder that it made; and an event that is posted becomes a finished job."""
    command_line(directory, "init", "shop", *(["--python"] if python else []))
    shop, target = directory / "shop", "hooks:relay" if python else "relay.toml"
    tried = command_line(shop, "try", target, "/hooks/acme", "-", text='{"total": 7}')
    routes = command_line(shop, "routes", target)
    with Run(shop, target=target) as run:
        status, said = post(run.wait_until_up().port, "/hooks/acme", b'{"total": 7}')
        wait_until(lambda: "on_hook got" in run.log.read_text(), 30)
        checked = command_line(shop, "check", target)
        code = run.end()
    done = run.log.read_text()

    assert (tried.returncode, tried.stderr) == (0, "")
    assert tried.stdout.endswith("1 job would be handed over. Nothing was.\n")
    assert routes.stdout.split()[:3] == ["/hooks/<shop>", "POST", "none"]
    assert (status, len(said["jobs"])) == (202, 1)
    assert "acme" in done.partition("on_hook got")[2]
    assert "'total': 7" in done.partition("on_hook got")[2]
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    assert code == 0
    assert (shop / ".trafficrelay").is_dir()
