"""What benchmarks/workers.py measures, and with what: the contenders, their jobs, and the tally of what ran."""
