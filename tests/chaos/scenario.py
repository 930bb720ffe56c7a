"""What a scenario is, how one is run, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from .account import Verdict
from .spools import waiting
from .stage import Setting, Stage

SHOWN: Final = 5
"""How many of the lost, doubled and wrong are told one by one."""


def _nothing_missing() -> str | None:
    return None


def _no_excuse(stage: Stage, lost: set[int]) -> set[int]:
    return set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One way to break things.

    Attributes:
        name: what it is called on the command line.
        says: what is done, for the table.
        fault: does it, once a round, while events are sent; at its end all runs again.
        setting: what it needs.
        rounds: how many rounds it has in a run of 30 minutes.
        short: how many it has in the suite.
        check_every: after how many rounds the account is made up.
        missing: says what this machine lacks for it; `None` for nothing.
        measured: whether losing is no failure: it is measured how much.
        excuse: says which of the events that are missing do not count as lost.
    """

    name: str
    says: str
    fault: Callable[[Stage, int], None]
    setting: Setting
    rounds: int
    short: int = 2
    check_every: int = 10
    missing: Callable[[], str | None] = _nothing_missing
    measured: bool = False
    excuse: Callable[[Stage, set[int]], set[int]] = _no_excuse


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of a scenario.

    Attributes:
        name: the scenario's.
        says: what was done.
        seed: the seed.
        rounds: how many rounds there were.
        requests: how many requests were sent, tries and repetitions included.
        acknowledged: how many events were answered 2xx.
        lost: how many of their jobs are nowhere.
        doubled: how many runs or entries there are beyond the first.
        wrong: how many payloads are not what was sent, and events of which a part is there.
        outage: the longest time without any 2xx while events were sent, in seconds.
        slowest: the slowest answer of any kind, in seconds.
        settling: the longest time from the last fault until all was in Redis, in seconds.
        failures: what else did not come right.
        details: the first of what was lost, doubled and wrong.
        notes: what is worth telling besides.
        skipped: why it was not run; `None` if it was.
        measured: whether losing is no failure.
    """

    name: str
    says: str
    seed: int
    rounds: int = 0
    requests: int = 0
    acknowledged: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: int = 0
    outage: float = 0.0
    slowest: float = 0.0
    settling: float = 0.0
    failures: tuple[str, ...] = ()
    details: tuple[str, ...] = ()
    notes: tuple[tuple[str, int], ...] = ()
    skipped: str | None = None
    measured: bool = False

    @property
    def good(self) -> bool:
        """Whether everything is as it must be."""
        return not (self.doubled or self.wrong or self.failures or (self.lost and not self.measured))


def run_scenario(
    scenario: Scenario,
    *,
    seed: int,
    rounds: int,
    directory: Path,
    rate: float | None = None,
    worker: bool = True,
    tell: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Run a scenario and give what came of it. It ends early, with what there is, on Ctrl-C and when it breaks.

    Args:
        scenario: which.
        seed: what payloads and schedule follow.
        rounds: how many.
        directory: where everything is; it is made and left behind.
        rate: events a second, in place of what the scenario says.
        worker: whether a stock worker runs the jobs of the small queue.
        tell: is given a line on how it goes.
    """
    if (reason := scenario.missing()) is not None:
        return Outcome(name=scenario.name, says=scenario.says, seed=seed, skipped=reason)
    setting = scenario.setting if rate is None else replace(scenario.setting, rate=rate)
    try:
        with Stage(directory, seed, scenario.name, setting) as stage:
            return _play(scenario, stage, rounds, worker, tell)
    except Exception as error:
        failure = f"it could not be started or ended: {type(error).__name__}: {error}"
        return Outcome(name=scenario.name, says=scenario.says, seed=seed, failures=(failure,))


def _play(scenario: Scenario, stage: Stage, rounds: int, worker: bool, tell: Callable[[str], None]) -> Outcome:
    verdict, done = Verdict((), (), ()), 0
    try:
        for number in range(1, rounds + 1):
            if done % scenario.check_every == 0:
                stage.go()
                stage.wait_for_answers()
            scenario.fault(stage, number)
            done = number
            if done % scenario.check_every == 0 or done == rounds:
                verdict = _excused(scenario, stage, stage.settle(worker=worker))
                tell(_progress(scenario, done, rounds, stage, verdict))
    except KeyboardInterrupt:
        stage.failures.append(f"interrupted in round {done + 1}")
    except Exception as error:
        stage.failures.append(f"round {done + 1} broke: {type(error).__name__}: {error}")
    return _outcome(scenario, done, stage, verdict)


def _excused(scenario: Scenario, stage: Stage, verdict: Verdict) -> Verdict:
    excused = scenario.excuse(stage, {number for number, _ in verdict.lost})
    return replace(verdict, lost=tuple(one for one in verdict.lost if one[0] not in excused))


def _progress(scenario: Scenario, done: int, rounds: int, stage: Stage, verdict: Verdict) -> str:
    status = stage.status()
    return (
        f"{scenario.name}: {done}/{rounds} rounds, {status['acknowledged']} acknowledged, {len(verdict.lost)} lost, "
        f"{verdict.extra} doubled, {len(verdict.wrong)} wrong"
    )


def _outcome(scenario: Scenario, done: int, stage: Stage, verdict: Verdict) -> Outcome:
    status = stage.status()
    if window := stage.loss_window({number for number, _ in verdict.lost}):
        stage.note("lost at most so many milliseconds after the 2xx", round(window * 1000))
    if held := waiting(stage.relay.spool, held=True):
        stage.note("held back in the spool", held)
    if restarts := stage.relay.restarts:
        stage.note("restarts of the relay", restarts)
    if tracebacks := stage.relay.tracebacks():
        stage.note("tracebacks in the relay's log", tracebacks)
    for name, count in status["statuses"].items():
        stage.note(f"answers {name}", count)
    if taken := stage.refused_but_taken():
        stage.note("refused, and taken all the same", taken)
    stage.note("repeated after the 2xx", status["repeated"])
    stage.note("of these answered with another id", status["other ids"])
    return Outcome(
        name=scenario.name,
        says=scenario.says,
        seed=stage.seed,
        rounds=done,
        requests=status["requests"],
        acknowledged=status["acknowledged"],
        lost=len(verdict.lost),
        doubled=verdict.extra,
        wrong=len(verdict.wrong),
        outage=status["outage"],
        slowest=status["slowest"],
        settling=stage.settling,
        failures=tuple(stage.failures),
        details=_details(verdict),
        notes=tuple(sorted(stage.notes.items())),
        measured=scenario.measured,
    )


def _details(verdict: Verdict) -> tuple[str, ...]:
    lost = [f"lost: event {number} job {part}" for number, part in verdict.lost[:SHOWN]]
    doubled = [f"doubled: event {number} job {part}, {more} more" for number, part, more in verdict.doubled[:SHOWN]]
    return (*lost, *doubled, *verdict.wrong[:SHOWN])
