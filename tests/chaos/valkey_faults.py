"""What is done to Valkey: killed, frozen, filled, made read-only, failed over."""

from __future__ import annotations

import time

from .children import free_port
from .sentinels import follow
from .stage import Stage

SOCKET_TIMEOUT = 0.5
"""Seconds that the relay waits for Valkey's reply where it is frozen."""


def kill_valkey(stage: Stage, number: int) -> None:
    """Kill Valkey with SIGKILL, and start it again at once or within 2 seconds."""
    stage.rest(stage.dice.uniform(0.05, 0.8))
    stage.valkey.kill()
    stage.rest(stage.dice.choice((0.0, 0.0, stage.dice.uniform(0, 0.3), stage.dice.uniform(0, 2))))
    stage.valkey.start()
    stage.rest(stage.dice.uniform(0.05, 0.5))


def cut_valkeys_power(stage: Stage, number: int) -> None:
    """Kill Valkey, undo what it wrote since its last fsync, and start it again."""
    stage.rest(stage.dice.uniform(0.05, 1.5))
    stage.cuts.append(time.monotonic())
    stage.valkey.kill()
    stage.note("writes undone", stage.disk.cut_power())
    stage.valkey.start()
    stage.rest(stage.dice.uniform(0.05, 0.5))


def freeze_long(stage: Stage, number: int) -> None:
    """Freeze Valkey for longer than the relay waits for a reply, in the end for longer than it tries."""
    _freeze(stage, stage.dice.uniform(1.05, 6) * SOCKET_TIMEOUT)


def freeze_briefly(stage: Stage, number: int) -> None:
    """Freeze Valkey for less than the relay waits for a reply."""
    _freeze(stage, stage.dice.uniform(0.05, 0.95) * SOCKET_TIMEOUT)


def fill_memory(stage: Stage, number: int) -> None:
    """Let Valkey have no more memory than it uses, or than it uses and a little."""
    stage.rest(stage.dice.uniform(0.05, 0.5))
    with stage.valkey.full(room=stage.dice.choice((-100_000, 20_000, 300_000))):
        stage.rest(stage.dice.uniform(0.2, 2))
    stage.rest(stage.dice.uniform(0.2, 0.5))


def make_read_only(stage: Stage, number: int) -> None:
    """Make Valkey a replica of nobody, and a master again."""
    stage.rest(stage.dice.uniform(0.05, 0.5))
    with stage.valkey.read_only(free_port()):
        stage.rest(stage.dice.uniform(0.2, 2))
    stage.rest(stage.dice.uniform(0.2, 0.5))


def fail_over(stage: Stage, number: int) -> None:
    """Kill the master; when the Sentinels have chosen another one, start the old one again."""
    if number > 1:
        # The Sentinels do not fail over again within twice their time-out of 5 seconds, of which this round takes some.
        stage.rest(5)
    stage.rest(stage.dice.uniform(0.2, 1.5))
    old, new = stage.sentinels.fail_over()
    stage.wait_for_answers()
    stage.rest(stage.dice.uniform(0, 1))
    old.start()
    # The Sentinels do so too, in their time.
    follow(old, new)
    stage.sentinels.wait_until_whole()


def _freeze(stage: Stage, seconds: float) -> None:
    stage.rest(stage.dice.uniform(0.05, 0.5))
    with stage.valkey.frozen():
        stage.rest(seconds)
    stage.rest(stage.dice.uniform(0.05, 0.5))
