"""What `trafficrelay run` needs beside the relay itself: granian in front, and Valkey and RQ's workers behind.

Nothing outside of this package and `trafficrelay.cli` imports it, so a relay that is mounted in a program of its
user's pays for none of it.

    rsgi.py        from granian's RSGI interface to the relay's WSGI app
    target.py      `module:relay` -> Relay
    serve.py       the server's processes
    banner.py      what is printed at the start
    embedded.py    the keeper, seen from the process that starts it
    keeper.py      the process that owns Valkey and the workers
    valkey.py      Valkey on the data directory
    workers.py     the `rq worker` processes
    datadir.py     the data directory and its lock
    processes.py   ending processes for certain
"""
