"""Breaks a real relay and a real Valkey on purpose, and counts what became of every event that was acknowledged.

    python -m tests.chaos --minutes 30 --seed 7         the long run: a table for docs/reliability.md
    python -m tests.chaos --scenario wire --rounds 50   one scenario
    python -m tests.chaos --list                        what there is

The modules, each importing only from those above it:

    payload.py         what is sent, made again from the seed and a number
    account.py         the pure part: obligations and what was found give lost, doubled and wrong
    connection.py      a sender's connection
    ledger.py          where every 2xx is written down
    senders.py         the process that sends and tries again
    wire.py            the process between the relay and Valkey that loses replies
    children.py        processes of ours: started, asked, and ended by their id
    disk_faults.c/.py  fsync that fails, writes that a power cut undoes
    valkeys.py         Valkey: killed, frozen, filled, restarted
    sentinels.py       a master, its replicas, and who watches them
    relays.py          `trafficrelay run`, kept alive as a supervisor does
    spools.py          the spool's file, from outside: its rows, copies, damage
    collect.py         reads what RQ holds
    stage.py           everything that one scenario needs, together
    scenario.py        what a scenario is, and how one is run
    *_faults.py        what is done in a round
    scenarios.py       the list
    table.py           the outcome as Markdown and JSON
"""
