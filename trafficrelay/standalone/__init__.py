"""What `trafficrelay run` needs beside the relay itself: granian in front, and Valkey and RQ's workers behind.

Nothing outside of this package and `trafficrelay.commands` imports it, so a relay that is mounted in a program of its
user's pays for none of it.

    rsgi.py        from granian's RSGI interface to the relay's WSGI app
    bodies.py      requests' bodies: each in a bounded time, all in a bounded room
    batches.py     accepted events on their way to the outbox, many at a time
    connections.py   what bounds connections: their number, their time, a header's size
    target.py      `module:relay` -> Relay
    serve.py       the server's processes
    supervisor.py  what the parent of these processes does: sockets, readiness, replacing
    leaving.py     how one of these processes ends
    reload.py      SIGHUP: the new code is tried first
    banner.py      what is printed at the start
    embedded.py    the keeper, seen from the process that starts it
    keeper.py      the process that owns Valkey and the workers
    valkey.py      Valkey on the data directory
    workers.py     the `rq worker` processes
    datadir.py     the data directory and its lock
    processes.py   ending processes for certain
"""
