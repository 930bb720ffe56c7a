"""The pytest plugin, in a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HOOKS = """
from trafficrelay import Relay
relay = Relay("redis://redis.invalid:6379/0")

@relay.route("/x", verify=None, job="shop.jobs.work", queue="hooks")
def take(event):
    return event.data
"""


class Project:
    """A folder with a shop in it, and its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("shop/__init__.py", "")
        self.write("shop/hooks.py", HOOKS)

    def write(self, name: str, text: str) -> None:
        path = self.folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")

    def run(self, test: str, *arguments: str, settings: str = "") -> str:
        """Run a test in a process of its own; with `-W error`, so that the plugin adds no warning either."""
        self.write("test_shop.py", test)
        self.write("pytest.ini", f"[pytest]\n{settings}\n")
        environ = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "CI": ""}
        environ.pop("CI")
        command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "trafficrelay.testing.plugin", *arguments]
        done = subprocess.run(command, cwd=self.folder, env=environ, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def test_the_relay_that_the_settings_name_is_a_fixture(project: Project) -> None:
    said = project.run(
        "def test_it(relay, relay_client):\n"
        "    assert relay_client().relay is relay\n"
        "    assert relay_client(signed=True).post_json('/x', 1).data == 1\n",
        settings="trafficrelay_target = shop.hooks:relay",
    )

    assert "1 passed" in said, said


def test_the_command_line_goes_before_the_settings(project: Project) -> None:
    said = project.run(
        "def test_it(relay_client):\n    assert relay_client().post_json('/x', 1).data == 1\n",
        "--trafficrelay-target=shop.hooks:relay",
        settings="trafficrelay_target = shop.nothing:relay",
    )

    assert "1 passed" in said, said


def test_a_file_can_be_the_target(project: Project) -> None:
    project.write("relay.toml", '[[route]]\npath = "/x"\nverify = "none"\njob = "shop.jobs.work"\n')
    said = project.run(
        "def test_it(relay_client):\n    assert relay_client().post_json('/x', 1).data == 1\n",
        settings="trafficrelay_target = relay.toml",
    )

    assert "1 passed" in said, said


def test_a_fixture_of_the_users_takes_its_place(project: Project) -> None:
    said = project.run(
        "import pytest\n"
        "from shop.hooks import relay as mine\n"
        "@pytest.fixture\n"
        "def relay():\n    return mine\n"
        "def test_it(relay_client):\n    assert relay_client().relay is mine\n"
    )

    assert "1 passed" in said, said


def test_without_a_target_it_says_what_to_set(project: Project) -> None:
    said = project.run("def test_it(relay_client):\n    relay_client()\n")

    assert 'Set trafficrelay_target = "shop.hooks:relay" in pytest\'s settings' in said


def test_a_target_that_is_none_is_told(project: Project) -> None:
    said = project.run("def test_it(relay):\n    pass\n", settings="trafficrelay_target = shop.hooks:reley")

    assert "TargetError" in said
    assert "shop.hooks:relay" in said


def test_a_failure_shows_what_was_queued_instead(project: Project) -> None:
    said = project.run(
        "from shop.hooks import relay\n"
        "from trafficrelay.testing import queued, relay_client\n"
        "def test_it():\n"
        "    answer = relay_client(relay).post_json('/x', {'a': 1, 'b': [1, 2], 'c': 3})\n"
        "    assert answer.queued == [queued('shop.jobs.work', {'a': 1, 'b': [1, 3], 'c': 3})]\n"
    )
    shown = [line[1:].strip() for line in said.splitlines() if line.startswith("E ")]

    assert shown == [
        "AssertionError: assert jobs queued == jobs expected",
        "POST /x was answered 202, 1 job queued.",
        "(- expected, + queued)",
        "'b': [",
        "1,",
        "-            3,",
        "+            2,",
        "],",
        "'c': 3,",
    ]


def test_a_failure_says_why_nothing_was_queued(project: Project) -> None:
    said = project.run(
        "from shop.hooks import relay\n"
        "from trafficrelay.testing import queued, relay_client\n"
        "def test_it():\n"
        "    assert relay_client(relay).post_json('/y', 1).queued == [queued()]\n"
        "def test_one():\n"
        "    assert relay_client(relay).post_json('/x', 1).queued[0] == queued(data=2)\n"
        "def test_none():\n"
        "    assert relay_client(relay).post_json('/x', 1).queued == None\n"
    )

    assert "assert no jobs queued == 1 job expected" in said
    assert "POST /y was answered 404: There is nothing at this path. There are POST /x." in said
    assert "assert job queued == job expected" in said
    assert "compare it with one of queued(…)" in said


def test_a_failure_shows_the_line_of_the_test_and_not_those_of_the_client(project: Project) -> None:
    said = project.run(
        "from shop.hooks import relay\n"
        "from trafficrelay.testing import relay_client\n"
        "def test_it():\n"
        "    relay_client(relay).assert_queued('shop.jobs.work')\n"
        "def test_signing():\n"
        "    relay_client(relay).post('/y', signed=True)\n"
    )

    assert "trafficrelay/testing/" not in said
    assert "test_shop.py:4: AssertionError" in said
    assert "test_shop.py:6: ClientError" in said


def test_a_run_that_does_not_use_it_does_not_load_it(project: Project) -> None:
    said = project.run(
        "import sys\n"
        "def test_it():\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "    assert not loaded & {'bottle', 'webtest', 'webob', 'rq', 'redis'}\n"
        "    ours = [name for name in sys.modules if name.startswith('trafficrelay.testing')]\n"
        "    assert sorted(ours) == ['trafficrelay.testing', 'trafficrelay.testing.plugin']\n"
        "    assert [1] == [1]\n"
    )

    assert "1 passed" in said, said
