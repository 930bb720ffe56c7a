"""Several faults at once, as the dice fall."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .children import free_port
from .spools import tear
from .stage import Stage
from .wire import LOSSES


def mix(stage: Stage, number: int) -> None:
    """Bring one trouble on Valkey, and while it lasts one or two on the relay, its disk or the wire."""
    stage.rest(stage.dice.uniform(0.05, 0.5))
    with _trouble(stage):
        stage.rest(stage.dice.uniform(0.0, 0.6))
        for _ in range(stage.dice.choice((0, 1, 1, 2))):
            _second_fault(stage)
            stage.rest(stage.dice.uniform(0.0, 0.6))
    stage.rest(stage.dice.uniform(0.05, 0.6))


@contextlib.contextmanager
def _trouble(stage: Stage) -> Iterator[None]:
    valkey = stage.valkey
    match kind := stage.dice.choice(("down", "down", "frozen", "full", "read-only", "none")):
        case "down":
            valkey.kill()
            yield
            valkey.start()
        case "frozen":
            with valkey.frozen():
                yield
        case "full":
            with valkey.full(room=stage.dice.choice((-100_000, 20_000))):
                yield
        case "read-only":
            with valkey.read_only(free_port()):
                yield
        case _:
            yield
    stage.note(f"Valkey: {kind}")


def _second_fault(stage: Stage) -> None:
    match kind := stage.dice.choice(("a process", "the main process", "all", "torn", "power", "fsync", "wire", "wire")):
        case "a process":
            stage.relay.kill_one(stage.dice)
        case "the main process":
            stage.relay.kill_main()
        case "all":
            stage.relay.kill_all()
        case "torn":
            stage.relay.kill_all()
            tear(stage.relay.spool, stage.dice)
        case "power":
            stage.relay.kill_all()
            stage.disk.cut_power()
        case "fsync":
            stage.disk.set_failing(True)
            stage.rest(stage.dice.uniform(0.0, 0.4))
            stage.disk.set_failing(False)
        case _:
            for _ in range(stage.dice.randint(1, 3)):
                stage.wire.ask(f"lose ANY {stage.dice.randint(1, 10)} {stage.dice.choice(LOSSES)}")
    stage.note(f"relay: {kind}")
