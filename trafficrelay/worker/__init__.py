"""The worker: `rq worker -w trafficrelay.worker.RelayWorker`."""

from __future__ import annotations

from .relay_worker import RelayWorker

__all__ = ["RelayWorker"]
