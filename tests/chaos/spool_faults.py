"""What is done to the spool while Valkey is down: its disk full or failing, its file torn, damaged, copied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from .spools import copy, flip_a_bit, ids_beside, set_aside, tear, waiting
from .stage import SETTLE_SECONDS, Stage

_FILL_SECONDS = 4.0
_THERE_SECONDS = 30.0


def fill_the_disk(stage: Stage, number: int) -> None:
    """Have somebody fill the spool's disk while Valkey is down, to the last byte or nearly, so that the spool does it.

    There is room again before Valkey is back, or only a while after: what is in the spool is handed over either way,
    and removed from it at the latest when there is room.
    """
    early = stage.dice.random() < 0.5
    with contextlib.ExitStack() as filled:
        with _valkey_down(stage):
            stage.rest(stage.dice.uniform(0.1, 0.5))
            before = stage.refusals()
            filled.enter_context(_filled(stage, room=stage.dice.choice((0, 512 * 1024, 1024 * 1024))))
            stage.patience(lambda: stage.refusals() > before + 10, _FILL_SECONDS)
            stage.note("refused for want of room", stage.refusals() - before)
            if early:
                filled.close()
                stage.rest(stage.dice.uniform(0.1, 0.5))
        if not early:
            # It cannot be emptied, perhaps: to remove what was handed over needs room too.
            stage.wait("all in Redis although the spool's disk is full", stage.all_there, _THERE_SECONDS)


def fill_the_spool(stage: Stage, number: int) -> None:
    """Keep Valkey down until the spool is as large as it may be."""
    with _valkey_down(stage):
        before = stage.refusals()
        stage.patience(lambda: stage.refusals() > before + 10, _FILL_SECONDS)
        stage.note("refused for want of room", stage.refusals() - before)


def fail_fsync(stage: Stage, number: int) -> None:
    """Have fsync fail on the spool for a while; sometimes the relay's processes are killed meanwhile."""
    with _valkey_down(stage):
        stage.rest(stage.dice.uniform(0.1, 0.5))
        before = stage.refusals()
        stage.disk.set_failing(True)
        try:
            stage.rest(stage.dice.uniform(0.1, 0.8))
            if stage.dice.random() < 0.3:
                stage.relay.kill_all()
                stage.relay.wait_until_up()
        finally:
            stage.disk.set_failing(False)
        stage.note("refused meanwhile", stage.refusals() - before)
        stage.rest(stage.dice.uniform(0.1, 0.5))


def cut_the_relays_power(stage: Stage, number: int) -> None:
    """Kill the relay and undo what it wrote since its last fsync."""
    with _valkey_down(stage):
        stage.rest(stage.dice.uniform(0.1, 0.8))
        stage.relay.kill_all()
        stage.note("writes undone", stage.disk.cut_power())
        if stage.dice.random() < 0.5:
            stage.relay.wait_until_up()
            stage.rest(stage.dice.uniform(0.0, 0.4))


def cut_all_power(stage: Stage, number: int) -> None:
    """Kill the relay and Valkey at once, undo what either wrote since its last fsync, and start both.

    Sometimes Valkey has been down for a while, or has just come back, so that the spool is in use.
    """
    stage.rest(stage.dice.uniform(0.1, 0.6))
    if stage.dice.random() < 0.7:
        stage.valkey.kill()
        stage.rest(stage.dice.uniform(0.1, 0.5))
        stage.valkey.start()
        stage.rest(stage.dice.uniform(0.0, 0.4))
    stage.relay.kill_all()
    stage.valkey.kill()
    stage.note("writes undone", stage.disk.cut_power())
    stage.valkey.start()
    stage.relay.wait_until_up()
    stage.rest(stage.dice.uniform(0.1, 0.4))


def tear_the_log(stage: Stage, number: int) -> None:
    """Kill the relay, and leave half a commit at the end of the spool's log."""
    with _valkey_down(stage):
        stage.rest(stage.dice.uniform(0.1, 0.8))
        stage.relay.kill_all()
        tear(stage.relay.spool, stage.dice)
        if stage.dice.random() < 0.5:
            stage.relay.wait_until_up()
            stage.rest(stage.dice.uniform(0.0, 0.4))


def damage_the_spool(stage: Stage, number: int) -> None:
    """Kill the relay, and flip a bit in the spool's file or its log."""
    with _valkey_down(stage):
        stage.rest(stage.dice.uniform(0.2, 0.8))
        stage.relay.kill_all()
        if place := flip_a_bit(stage.relay.spool, stage.dice):
            stage.note(f"bits flipped in the {place}")
        stage.relay.wait_until_up()
        stage.rest(stage.dice.uniform(0.0, 0.4))


def seen_as_damaged(stage: Stage, lost: set[int]) -> set[int]:
    """Say which of the events that are missing were told of: they lie in what was set aside or is held back."""
    ids = {f"{stage.seed}-{number}": number for number in lost}
    seen = {ids[one] for one in ids_beside(stage.relay.spool, set(ids))}
    stage.notes["files set aside"] = len(set_aside(stage.relay.spool))
    stage.notes["damaged, and told of"] = len(seen)
    return seen


def copy_the_spool(stage: Stage, number: int) -> None:
    """Copy the spool while it is in use, and have another relay open the copy, on the same Valkey."""
    directory = stage.directory / f"copy-{number}"
    spool = directory / stage.relay.spool.name
    early = stage.dice.random() < 0.5
    with contextlib.ExitStack() as stack:
        with _valkey_down(stage):
            stage.rest(stage.dice.uniform(0.1, 0.8))
            if not copy(stage.relay.spool, spool):
                return
            stage.note("events in copies", waiting(spool) or 0)
            if early:
                stack.enter_context(stage.another_relay(directory))
        if not early:
            stack.enter_context(stage.another_relay(directory))
        stage.wait("the copy empty", lambda: waiting(spool) == 0, SETTLE_SECONDS)


@contextlib.contextmanager
def _valkey_down(stage: Stage) -> Iterator[None]:
    stage.relay.wait_until_up()
    stage.wait_for_answers()
    stage.rest(stage.dice.uniform(0.05, 0.3))
    stage.valkey.kill()
    yield
    stage.valkey.start()
    stage.rest(stage.dice.uniform(0.05, 0.5))


@contextlib.contextmanager
def _filled(stage: Stage, *, room: int) -> Iterator[None]:
    """Fill the disk that the spool is on; `room` bytes are left."""
    filler = stage.relay.spool.with_name("filler")
    try:
        with filler.open("wb", buffering=0) as file:
            for size in (65536, 4096, 1):
                with contextlib.suppress(OSError):
                    while True:
                        file.write(b"\0" * size)
            file.truncate(max(0, file.tell() - room))
        yield
    finally:
        filler.unlink()
