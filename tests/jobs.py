"""The jobs that the tests' workers run: plain functions, nothing of trafficrelay in them."""

from __future__ import annotations

from typing import Any


def echo(data: Any) -> Any:
    return data


def fail(data: Any) -> None:
    raise RuntimeError("this job always fails")
