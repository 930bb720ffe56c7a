"""The short run: a few rounds of each scenario, with a real relay and a real Valkey."""

from __future__ import annotations

from pathlib import Path

import pytest

from .scenario import Scenario, run_scenario
from .scenarios import SCENARIOS
from .table import remarks

pytestmark = pytest.mark.rq

SEED = 7
RATE = 250.0
"""Events a second: the fewer, the shorter it takes to read them all."""

WORKED = ("relay", "mix")
"""Where a stock worker runs some of the jobs too, which takes it a second."""


@pytest.mark.parametrize("scenario", [one for one in SCENARIOS if one.short], ids=lambda one: one.name)
def test_nothing_acknowledged_is_lost_or_doubled(tmp_path: Path, scenario: Scenario) -> None:
    outcome = run_scenario(
        scenario,
        seed=SEED,
        rounds=scenario.short,
        directory=tmp_path / "stage",
        rate=RATE,
        worker=scenario.name in WORKED,
    )
    if outcome.skipped:
        pytest.skip(outcome.skipped)

    assert outcome.good, remarks([outcome])
    assert outcome.acknowledged > 0
