"""The disk that fails does so: without this, the scenarios that stand on it would prove nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import disk_faults
from .disk_faults import DiskFaults

pytestmark = pytest.mark.skipif(disk_faults.missing() is not None, reason=str(disk_faults.missing()))

WRITER = """\
import os, sys
file = os.open("data", os.O_RDWR | os.O_CREAT)
os.write(file, b"synced")
os.fsync(file)
os.pwrite(file, b"SYN", 0)
os.pwrite(file, b" and more", 6)
os.ftruncate(file, 4)
other = os.open("elsewhere", os.O_WRONLY | os.O_CREAT)
os.write(other, b"of no interest")
os.kill(os.getpid(), 9)
"""

SYNC = """\
import os, sys
file = os.open("data", os.O_RDWR | os.O_CREAT)
try:
    os.fdatasync(file)
except OSError as error:
    sys.exit(error.errno)
"""


def run(program: str, faults: DiskFaults, directory: Path) -> int:
    environment = {**os.environ, **faults.environment}
    return subprocess.run([sys.executable, "-c", program], cwd=directory, env=environment, check=False).returncode


@pytest.fixture
def faults(tmp_path: Path) -> DiskFaults:
    return DiskFaults(tmp_path / "disk", str(tmp_path / "data"))


def test_a_power_cut_undoes_what_came_after_the_last_fsync_and_nothing_else(tmp_path: Path, faults: DiskFaults) -> None:
    run(WRITER, faults, tmp_path)
    before = (tmp_path / "data").read_bytes()
    undone = faults.cut_power()

    assert (before, undone) == (b"SYNc", 3)
    assert (tmp_path / "data").read_bytes() == b"synced"
    assert (tmp_path / "elsewhere").read_bytes() == b"of no interest"


def test_fsync_fails_while_it_is_told_to(tmp_path: Path, faults: DiskFaults) -> None:
    faults.set_failing(True)
    failed = run(SYNC, faults, tmp_path)
    faults.set_failing(False)

    assert failed == 5  # EIO
    assert run(SYNC, faults, tmp_path) == 0
