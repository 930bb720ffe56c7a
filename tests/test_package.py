"""The wheel: that it holds all a relay needs, and that a relay from it works."""

from __future__ import annotations

import ast
import email.parser
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import redis
from rq import Queue

import trafficrelay

REPO = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel of a copy of the sources: a build leaves its own folders beside them, and reads what older ones left."""
    source = tmp_path_factory.mktemp("source")
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPO / name, source)
    shutil.copytree(REPO / "trafficrelay", source / "trafficrelay", ignore=shutil.ignore_patterns("__pycache__"))
    target = tmp_path_factory.mktemp("wheel")
    run("-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", target, source, cwd=target)
    [built] = target.glob("*.whl")
    return built


def test_the_wheel_holds_every_file_of_the_package(wheel: Path) -> None:
    """The script and the typing marker among them, and nothing of the tests."""
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    sources = {
        str(path.relative_to(REPO))
        for path in (REPO / "trafficrelay").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }

    assert {"trafficrelay/outbox/accept.lua", "trafficrelay/py.typed"} <= names
    assert names == sources


def test_the_wheels_metadata_says_what_it_is(wheel: Path) -> None:
    """Name, version, Python and what it needs, with bottle, rq, redis and one library for JSON as the core."""
    with zipfile.ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = email.parser.BytesParser().parsebytes(archive.read(name))
    core = [need for need in metadata.get_all("Requires-Dist", []) if "extra ==" not in need]

    assert (metadata["Name"], metadata["Version"]) == ("trafficrelay", trafficrelay.__version__)
    assert metadata["Requires-Python"] == ">=3.11"
    assert sorted(need.split(">")[0].split("<")[0] for need in core) == ["bottle", "msgspec", "redis", "rq"]
    assert (metadata["License-Expression"] or metadata["License"]) == "MIT"


RELAY = """
import sys
from webtest import TestApp
import trafficrelay
from trafficrelay import Relay, Route

assert trafficrelay.__file__.startswith(sys.argv[2]), trafficrelay.__file__
relay = Relay(sys.argv[1])
relay.add(Route("/a", verify=None, job="tests.jobs.echo", queue="hooks"))
print(*TestApp(relay.app).post_json("/a", {"n": 1}, status=202).json["jobs"])
relay.close()
"""


@pytest.mark.rq
def test_a_relay_from_the_installed_wheel_works(
    wheel: Path, redis_url: str, client: redis.Redis, tmp_path: Path
) -> None:
    """Installed elsewhere and imported from there, it hands an event over to a real server."""
    site = tmp_path / "site"
    run("-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel, cwd=tmp_path)
    code = f"import sys; sys.path.insert(0, {str(site)!r}){RELAY}"
    printed = run("-c", code, redis_url, str(site), cwd=tmp_path)

    assert Queue("hooks", connection=client).job_ids == printed.split()


def test_every_public_name_is_found_and_leads_to_itself() -> None:
    """The package says each three times: for type checkers, for `import *`, and for whoever asks at run time."""
    tree = ast.parse(Path(trafficrelay.__file__).read_text("utf-8"))
    (for_checkers,) = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [node for node in for_checkers.body if isinstance(node, ast.ImportFrom)]
    checked = {alias.name for node in imports for alias in node.names}
    places = {alias.name: node.module for node in imports for alias in node.names}

    assert checked == set(trafficrelay.__all__)
    assert all(getattr(trafficrelay, name) is not None for name in trafficrelay.__all__)
    assert places == {name: trafficrelay._PLACES.get(name, "errors") for name in trafficrelay.__all__}


def test_the_packages_that_users_name_are_found_after_one_import() -> None:
    """`import trafficrelay` and then `trafficrelay.verify.github`."""
    code = (
        "import trafficrelay as t\nprint(t.verify.github, t.transforms.keep, t.errors.Refusal, t.testing.relay_client)"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout
