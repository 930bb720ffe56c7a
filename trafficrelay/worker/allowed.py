"""The jobs that a worker runs and no others, for relays that write JSON: those that their routes name.

With RQ's default serializer there is no such list: what a pickle names runs as soon as the job's function is asked for.
JSON says a name and nothing more, and the name is looked at before it is imported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from rq.exceptions import DeserializationError
from rq.job import Job as RQJob
from rq.serializers import JSONSerializer

from ..aside import fetch
from ..delivery.order import DELIVER
from ..errors import DeadLetterError, DeclarationError, JobRefused
from ..intake import REPLAY
from ..options import job_name
from ..outbox.payload import CALL, Aside
from ..outbox.stored import HAND_OVER
from ..relay import Relay
from ..verify.handshakes import job_with

_JSON: Final = ("json", f"{JSONSerializer.__module__}.{JSONSerializer.__qualname__}")
_OURS: Final = frozenset({REPLAY, HAND_OVER, DELIVER})
_LONGEST: Final = 100

_CALLBACKS: Final = ("success", "failure", "stopped")


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a worker runs. Made by `of`.

    Attributes:
        functions: the dotted names of the jobs.
        modules: where the relay may be declared: the relay's own jobs are told by their argument what to import.
    """

    functions: frozenset[str]
    modules: frozenset[str]

    @classmethod
    def of(cls, relay: Relay, also: Iterable[Any] = ()) -> Allowed:
        """Take what a relay's routes name, and the relay's own jobs.

        Args:
            relay: the relay.
            also: more jobs, dotted names or functions; a route that chooses its job for each event needs them.

        Raises:
            DeclarationError: the relay does not write JSON, or a route's jobs are not known beforehand.
        """
        if relay.serializer_name not in _JSON:
            raise DeclarationError(
                'A worker can run what the routes name and nothing else only with Relay(…, serializer="json"), and '
                "`--serializer json` for the workers: a pickle runs code when it is read.",
                option="serializer",
            )
        more = frozenset(job_name(job) for job in also)
        targets = [(route, target) for route in relay.routes for target in route.targets]
        for route, target in targets:
            if not isinstance(target.job_of, str) and not more:
                raise DeclarationError(
                    f"{route.rule} chooses its job for each event, so it is not known what it may run. Give it the "
                    "name of one job, or name beside it all that it may choose.",
                    option="job",
                )
        named = frozenset(target.job_of for _, target in targets if isinstance(target.job_of, str))
        # As the intake names them. A relay that is run as a program is found under a name of its own, too.
        modules = {relay._module, "__main__", ""}
        modules |= {getattr(route.transform, "__module__", "") for route in relay.routes}
        # Of challenges: they name no module, and are told nothing but a URL, at which they look themselves.
        confirming = frozenset(job for route in relay.routes for one in route.handshakes if (job := job_with(one)))
        return cls(named | more | _OURS | confirming, frozenset(modules))

    def check(self, job: RQJob) -> None:
        """Return if a job may be run. Nothing that it names has been imported by then, and none of it unpickled.

        What is refused has lost its callbacks and webhooks in this process, so that writing its failure calls none.

        Raises:
            JobRefused: it may not.
        """
        callbacks = [name for kind in _CALLBACKS if (name := getattr(job, f"_{kind}_callback_name"))]
        webhooks = bool(job.webhooks)
        for kind in _CALLBACKS:
            setattr(job, f"_{kind}_callback_name", None)
        job.webhooks = []
        if job.serializer is not JSONSerializer:
            _refuse("The worker reads jobs with another serializer than JSON; give it `--serializer json`.")
        try:
            name, instance, arguments, options = job.func_name, job.instance, job.args, job.kwargs
        except DeserializationError as error:
            raise JobRefused("The job's data is no JSON of RQ's; nothing of it was read.", named="") from error
        if not isinstance(name, str) or instance is not None:
            _refuse("The job names an object in place of a function.")
        aside = _aside(arguments) if name == CALL else None
        if aside is not None:
            name = aside.function
        if name not in self.functions:
            _refuse("The job's function is none that a route names.", name)
        if not isinstance(arguments, list) or not isinstance(options, dict):
            _refuse("The job's arguments are none.", name)
        if callbacks:
            _refuse("The job has a callback, and the relay gives none.", callbacks[0])
        if webhooks:
            _refuse("The job has a webhook of RQ's, and the relay gives none.", name)
        if name in _OURS:
            # What is fetched here is what is called: nobody can put something else there in between.
            self._check_modules(name, list(fetch(job, aside)) if aside is not None else arguments)

    def _check_modules(self, name: str, arguments: list[Any]) -> None:
        """See that a job of the relay's own imports nothing but what declares the relay."""
        letter = arguments[0] if len(arguments) == 1 else None
        modules = letter.get("modules", []) if isinstance(letter, Mapping) else None
        if not isinstance(modules, list) or not all(isinstance(module, str) for module in modules):
            _refuse("The job is none that the relay wrote.", name)
        for module in modules:
            if module not in self.modules:
                _refuse("The job looks for its relay in a module that does not declare it.", module)


def _aside(arguments: Any) -> Aside:
    """Read what stands in place of an argument that is kept aside."""
    try:
        [stored] = arguments
        return Aside.from_dict(stored)
    except (TypeError, ValueError, DeadLetterError):
        _refuse("The job is none that the relay wrote.", CALL)


class DisarmedJob(RQJob):
    """A job whose callbacks and webhooks are never called, for what handles jobs that were not checked.

    RQ's clean-up of the started registry is that: it calls the failure callback of whatever job it finds expired there.
    Queues and registries take it as `job_class`.
    """

    @property
    def success_callback(self) -> None:
        """None."""
        return None

    @property
    def failure_callback(self) -> None:
        """None."""
        return None

    @property
    def stopped_callback(self) -> None:
        """None."""
        return None

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """Send none."""


def _refuse(why: str, named: str = "") -> NoReturn:
    shown = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in named[:_LONGEST])
    raise JobRefused(f"{why} ({shown})" if shown else why, named=shown)
