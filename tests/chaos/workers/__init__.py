"""Kills workers while they work, and counts what became of every job.

    python -m tests.chaos.workers --kills 200 --terms 200 --jobs 10000                  the relay's worker
    python -m tests.chaos.workers --kills 200 --terms 200 --jobs 10000 --corrupt 1000   among jobs that nobody can read
    python -m tests.chaos.workers --kills 200 --terms 200 --jobs 10000 --stock          RQ's own workers, and the sweep

It prints a table, and ends with 1 if a job is lost or ran more often than the kills explain.

The modules, each importing only from those above it:

    jobs.py       what the workers run: each run notes when it begins and ends in a file of its process
    notes.py      reads what they noted
    orders.py     makes the jobs: what each is to come to
    corrupt.py    damages jobs, in every way that we could think of
    account.py    the pure part: orders, notes, kills and what Redis holds give lost, doubled and late
    crew.py       the worker processes: kept alive, killed, and what they held in that moment
    holdings.py   reads where in Redis each job lies
    play.py       one run of it all
    table.py      the outcome as Markdown
"""
