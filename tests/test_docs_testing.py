"""docs/testing.md: its files are run as they stand, as a user would run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "testing.md").read_text("utf-8")
FILES = {
    name: f"# {name}\n{code}" for name, code in re.findall(r"```(?:python|toml)\n# (\S+)\n(.*?)```", PAGE, re.DOTALL)
}
TESTS = sorted(name for name in FILES if name.startswith("test_"))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shop")
    (request,) = re.findall(r"```http\n(.*?)```", PAGE, re.DOTALL)
    for name, text in {**FILES, "shop/__init__.py": "", "requests/push.http": request}.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    return folder


def run(folder: Path, *arguments: str) -> str:
    environ = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    environ.pop("TRAFFICRELAY_REDIS_URL", None)
    command = [sys.executable, "-m", "pytest", "-W", "error", "-p", "trafficrelay.testing.plugin", *arguments]
    return subprocess.run(command, cwd=folder, env=environ, capture_output=True, text=True, check=False).stdout


def test_every_test_of_the_page_passes(shop: Path) -> None:
    said = run(shop, "-q", *TESTS)
    count = sum(len(re.findall(r"^def test_", FILES[name], re.MULTILINE)) for name in TESTS)

    assert "failed" not in said, said
    assert "error" not in said, said
    assert re.search(r"(\d+) passed", said), said
    assert int(re.search(r"(\d+) passed", said)[1]) >= count  # type: ignore[index]


def test_a_failure_looks_as_the_page_says(shop: Path) -> None:
    (shown,) = re.findall(r"```text\n(.*?)```", PAGE, re.DOTALL)
    code = FILES["test_first.py"].replace('"commits": 2}, queue="hooks")', '"commits": 3})')
    (shop / "failing.py").write_text(code, "utf-8")

    assert shown in run(shop, "failing.py")


def test_every_python_block_is_a_file_that_is_run() -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)

    assert len(blocks) == len([name for name in FILES if name.endswith(".py")])


def test_lines_are_short_enough_for_a_terminal() -> None:
    assert max(len(line) for line in PAGE.splitlines()) <= 120
