"""How a RelayWorker works: what its environment says, since `rq worker` knows no options of ours, and what RQ says."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..errors import DeclarationError

CONCURRENCY_VARIABLE: Final = "TRAFFICRELAY_CONCURRENCY"
MAX_DEATHS_VARIABLE: Final = "TRAFFICRELAY_MAX_DEATHS"
ONLY_VARIABLE: Final = "TRAFFICRELAY_ONLY"
ALSO_VARIABLE: Final = "TRAFFICRELAY_ALSO"

CONCURRENCY: Final = 10
MAX_CONCURRENCY: Final = 1_000

MAX_DEATHS: Final = 5
"""How many workers may die with a job before it is set aside as poison. One that is killed from outside counts too."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a RelayWorker is set to.

    Attributes:
        concurrency: how many jobs run at once, each in a thread.
        max_deaths: how many workers may die with a job in hand before it is kept as failed.
        only: `module:relay`, if the worker runs nothing but what the routes of that relay name.
        also: more jobs that it then runs, by their dotted names.
    """

    concurrency: int = CONCURRENCY
    max_deaths: int = MAX_DEATHS
    only: str = ""
    also: tuple[str, ...] = ()

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read an environment.

        Raises:
            DeclarationError: a variable is no number within its bounds.
        """
        also = tuple(environ.get(ALSO_VARIABLE, "").replace(",", " ").split())
        if also and not environ.get(ONLY_VARIABLE):
            raise DeclarationError(
                f"{ALSO_VARIABLE} names jobs beside those of {ONLY_VARIABLE}=module:relay; set that too.",
                option=ALSO_VARIABLE,
            )
        return cls(
            concurrency=_number(environ, CONCURRENCY_VARIABLE, CONCURRENCY, MAX_CONCURRENCY),
            # From the third on a suspect runs without others of its kind. Fewer would fail innocents.
            max_deaths=_number(environ, MAX_DEATHS_VARIABLE, MAX_DEATHS, 1_000_000, least=3),
            only=environ.get(ONLY_VARIABLE, ""),
            also=also,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How long and in which way a worker works.

    Attributes:
        concurrency: how many jobs run at once.
        burst: whether it ends when there are no more jobs.
        max_jobs: after how many jobs it ends.
        max_idle_time: after how many seconds without a job it ends.
        strategy: RQ's name for the order of the queues: `default`, `round_robin`, `random`.
        interval: seconds between heartbeats of a job.
    """

    concurrency: int
    burst: bool = False
    max_jobs: int | None = None
    max_idle_time: int | None = None
    strategy: str = "default"
    interval: int = 30


def _number(environ: Mapping[str, str], name: str, default: int, most: int, *, least: int = 1) -> int:
    text = environ.get(name) or str(default)
    if not (text.isascii() and text.isdecimal() and least <= int(text) <= most):
        raise DeclarationError(f"{name} is a number from {least} to {most}, not {text!r}.", option=name)
    return int(text)
