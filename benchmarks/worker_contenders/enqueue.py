"""Puts jobs into a contender's queue, in a process of its own so that no library gets into the way of another.

python -m worker_contenders.enqueue LIBRARY KIND FIRST COUNT
"""

from __future__ import annotations

import importlib
import sys


def main() -> None:
    library, kind, first, count = sys.argv[1:]
    app = importlib.import_module(f"worker_contenders.{library}_app")
    app.enqueue(kind, range(int(first), int(first) + int(count)))


if __name__ == "__main__":
    main()
