"""All scenarios."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from . import disk_faults
from .mixed_faults import mix
from .relay_faults import kill_a_process, lose_replies
from .relays import RelayOptions
from .scenario import Scenario
from .spool_faults import (
    copy_the_spool,
    cut_all_power,
    cut_the_relays_power,
    damage_the_spool,
    fail_fsync,
    fill_the_disk,
    fill_the_spool,
    seen_as_damaged,
    tear_the_log,
)
from .spools import small_disk_missing
from .stage import Setting
from .valkey_faults import (
    SOCKET_TIMEOUT,
    cut_valkeys_power,
    fail_over,
    fill_memory,
    freeze_briefly,
    freeze_long,
    kill_valkey,
    make_read_only,
)

_EVERYSEC: Final = {"appendfsync": "everysec"}
_FROZEN: Final = f"socket_timeout={SOCKET_TIMEOUT}"
_SPOOL: Final = RelayOptions(spool=True)
# Valkey up to 9.1.2 says with `everysec` that it has synced before it has, so the relay does not start on it by itself:
# https://github.com/redis/redis/pull/13793. That is measured here.
_FSYNC: Final = RelayOptions(spool=True, fsync=True, lossy=True)
_USUAL: Final = Setting(relay=_SPOOL)

_VALKEY: Final = (
    Scenario(
        name="relay",
        says="kill -9 of a server process, the main process, or all",
        fault=kill_a_process,
        setting=_USUAL,
        rounds=200,
        short=3,
    ),
    Scenario(
        name="wire",
        says="replies of Valkey lost on the wire",
        fault=lose_replies,
        setting=Setting(relay=_SPOOL, wire=True, url_options="socket_timeout=0.3"),
        rounds=1000,
        short=20,
        check_every=100,
    ),
    Scenario(name="valkey", says="kill -9 of Valkey (AOF `always`)", fault=kill_valkey, setting=_USUAL, rounds=60),
    Scenario(
        name="everysec",
        says="kill -9 of Valkey (AOF `everysec`)",
        fault=kill_valkey,
        setting=Setting(relay=_SPOOL, valkey=_EVERYSEC),
        rounds=30,
        short=0,
        measured=True,
    ),
    Scenario(
        name="everysec-fsync",
        says="kill -9 of Valkey (AOF `everysec`, `fsync=True`)",
        fault=kill_valkey,
        setting=Setting(relay=_FSYNC, valkey=_EVERYSEC, rate=200.0),
        rounds=20,
        short=0,
    ),
    Scenario(
        name="freeze",
        says="Valkey frozen for longer than the time-out",
        fault=freeze_long,
        setting=Setting(relay=_SPOOL, url_options=_FROZEN),
        rounds=30,
    ),
    Scenario(
        name="hiccup",
        says="Valkey frozen for less than the time-out",
        fault=freeze_briefly,
        setting=Setting(relay=_SPOOL, url_options=_FROZEN),
        rounds=30,
        short=0,
    ),
    Scenario(name="memory", says="Valkey at maxmemory", fault=fill_memory, setting=_USUAL, rounds=30),
    Scenario(name="read-only", says="Valkey read-only", fault=make_read_only, setting=_USUAL, rounds=30, short=0),
)

_POWER: Final = (
    Scenario(
        name="power",
        says="power cut of Valkey (AOF `always`)",
        fault=cut_valkeys_power,
        setting=Setting(relay=_SPOOL, faulty_disk="appendonlydir"),
        rounds=20,
        short=0,
        missing=disk_faults.missing,
    ),
    Scenario(
        name="power-everysec",
        says="power cut of Valkey (AOF `everysec`)",
        fault=cut_valkeys_power,
        setting=Setting(relay=_SPOOL, valkey=_EVERYSEC, faulty_disk="appendonlydir"),
        rounds=20,
        short=0,
        missing=disk_faults.missing,
        measured=True,
    ),
    Scenario(
        name="power-fsync",
        says="power cut of Valkey (AOF `everysec`, `fsync=True`)",
        fault=cut_valkeys_power,
        setting=Setting(relay=_FSYNC, valkey=_EVERYSEC, faulty_disk="appendonlydir", rate=200.0),
        rounds=20,
        short=0,
        missing=disk_faults.missing,
        measured=True,
    ),
    Scenario(
        name="blackout",
        says="power cut of the relay and Valkey (AOF `always`)",
        fault=cut_all_power,
        setting=Setting(relay=_SPOOL, faulty_disk="/"),
        rounds=20,
        missing=disk_faults.missing,
    ),
)

_SPOOLED: Final = (
    Scenario(
        name="disk-full",
        says="Valkey down, and the spool's disk full",
        fault=fill_the_disk,
        setting=Setting(relay=_SPOOL, spool_disk=16),
        rounds=20,
        missing=small_disk_missing,
    ),
    Scenario(
        name="spool-full",
        says="Valkey down, and the spool as large as it may be",
        fault=fill_the_spool,
        setting=Setting(relay=replace(_SPOOL, spool_size="1MB")),
        rounds=10,
        short=0,
    ),
    Scenario(
        name="fsync",
        says="Valkey down, and fsync of the spool fails",
        fault=fail_fsync,
        setting=Setting(relay=_SPOOL, faulty_disk="spool.db"),
        rounds=20,
        missing=disk_faults.missing,
    ),
    Scenario(
        name="spool-power",
        says="Valkey down, and a power cut of the relay",
        fault=cut_the_relays_power,
        setting=Setting(relay=_SPOOL, faulty_disk="spool.db"),
        rounds=20,
        short=0,
        missing=disk_faults.missing,
    ),
    Scenario(
        name="torn",
        says="Valkey down, kill -9 of the relay, a torn record at the end of the spool",
        fault=tear_the_log,
        setting=_USUAL,
        rounds=20,
    ),
    Scenario(
        name="flipped",
        says="Valkey down, kill -9 of the relay, a bit flipped in the spool",
        fault=damage_the_spool,
        setting=_USUAL,
        rounds=20,
        check_every=2,
        excuse=seen_as_damaged,
    ),
    Scenario(
        name="copy",
        says="a copy of the spool opened by another relay",
        fault=copy_the_spool,
        setting=_USUAL,
        rounds=20,
        short=1,
    ),
)

_REST: Final = (
    Scenario(
        name="failover",
        says="kill -9 of the master under Sentinel (`wait_replicas=1`)",
        fault=fail_over,
        setting=Setting(relay=replace(_SPOOL, wait_replicas=1), sentinel=True),
        rounds=12,
        short=1,
        check_every=2,
    ),
    Scenario(
        name="mix",
        says="all of these together, as the dice fall",
        fault=mix,
        setting=Setting(relay=_SPOOL, wire=True, url_options=_FROZEN, faulty_disk="spool.db"),
        rounds=60,
        short=3,
        missing=disk_faults.missing,
    ),
)


def _plain(scenario: Scenario, rounds: int) -> Scenario:
    """Make the same scenario with a relay that has no spool: it refuses while Valkey is away."""
    return replace(
        scenario,
        name=f"{scenario.name}-plain",
        says=f"{scenario.says}, no spool",
        setting=replace(scenario.setting, relay=RelayOptions()),
        rounds=rounds,
        short=0,
    )


SCENARIOS: Final = (
    *_VALKEY,
    *(_plain(one, 200 if one.name == "wire" else 20) for one in _VALKEY if one.name in ("relay", "wire", "valkey")),
    *(_plain(one, 20) for one in _VALKEY if one.name in ("freeze", "memory")),
    *_POWER,
    *_SPOOLED,
    *_REST,
)
