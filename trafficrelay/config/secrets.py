"""Secrets: out of environment variables and files that a configuration names, never out of itself."""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import PurePath
from typing import Any, Final

from .. import verify
from .kinds import Definitions, Either, Kind, ListOf, Made, Named, Schema, Text, refuse
from .place import Place
from .tables import Key, Table

_VARIABLE: Final = "[A-Za-z_][A-Za-z0-9_]*"
_USUAL: Final = re.compile("[A-Z_][A-Z0-9_]*")
_LARGEST: Final = 64 * 1024
_LITERAL: Final = ("secret", "secrets", "token", "password", "key")
"""What people may call a secret that they write into the file."""


def from_environment(name: str, at: Place) -> str:
    """Give what an environment variable holds.

    Raises:
        ConfigError: it is not set, or empty.
    """
    value = at.source.environ.get(name, "")
    if not value:
        # Somebody may have written the secret itself here; that seldom looks like a variable's name.
        known = (
            f"The environment variable {name}" if _USUAL.fullmatch(name) else "The environment variable of that name"
        )
        state = "is empty" if name in at.source.environ else "is not set"
        raise at.fault(f"{known} {state}.")
    return value


def from_file(name: str, at: Place) -> bytes:
    """Give what a file holds, without the lines' ends that editors put there.

    Raises:
        ConfigError: it cannot be read, or is empty.
    """
    path = at.file(name)
    try:
        with path.open("rb") as file:
            value = file.read(_LARGEST + 1)
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        # The name is not repeated: somebody may have written the secret itself here.
        raise at.fault(
            f"The file that this names cannot be read: {why}. Relative names begin in {at.source.folder}."
        ) from None
    value = value.rstrip(b"\r\n")
    if value.startswith(codecs.BOM_UTF8):
        raise at.fault("The file that this names begins with a byte order mark. Save it as UTF-8 without one.")
    if not value or len(value) > _LARGEST:
        raise at.fault("The file that this names is empty." if not value else "The file that this names is too large.")
    return value


def text_from_file(name: str, at: Place) -> str:
    """Give what a file holds as text.

    Raises:
        ConfigError: as `from_file`, or it is no UTF-8.
    """
    try:
        return from_file(name, at).decode()
    except UnicodeDecodeError:
        raise at.fault("The file that this names holds no UTF-8.") from None


VARIABLE: Final = Text('the name of an environment variable, such as "GITHUB_SECRET"', _VARIABLE, hidden=True)
FILE: Final = Text('the name of a file, such as "secrets/github"', r"[^\x00]+", hidden=True)

ONE_VARIABLE: Final = Made(VARIABLE, from_environment)
ONE_FILE: Final = Made(FILE, text_from_file)
ONE_SECRET_FILE: Final = Made(FILE, from_file)


@dataclass(frozen=True, slots=True)
class Found:
    """A secret that may be one of several.

    Attributes:
        secret: the secret.
        source: the name of the variable or the file that holds it.
        until: until when it counts; `None` for always.
        name: what the configuration calls it; `""` where it does not.
    """

    secret: str | bytes = field(repr=False)
    source: str
    until: datetime | None = None
    name: str = ""


@dataclass(frozen=True, slots=True)
class _Until:
    """A day or a moment: one of TOML's own, or a string."""

    says: str = "a day such as 2026-12-31, or a moment such as 2026-12-31T12:00:00Z"

    def read(self, value: Any, at: Place) -> Any:
        if type(value) not in (str, date, datetime):
            raise refuse(at, self.says, value)
        return value

    def schema(self, definitions: Definitions) -> Schema:
        # JSON has no dates; editors hand a schema the string.
        return {"type": "string"}


_SECRETS_NAME: Final = Text(
    "a name of up to 64 letters, digits and . _ : -", "[A-Za-z0-9_][A-Za-z0-9_.:-]{0,63}", hidden=True
)


def _secrets(where: str, kind: Text, look_up: Callable[[str, Place], str | bytes]) -> Kind:
    """Give the kind of secrets that are found in one way: a name, a table that says more of it, or a list of these."""
    found = Made(kind, lambda name, at: Found(look_up(name, at), name))
    example = f'{{ {where} = "…", until = 2026-12-31 }}'
    table = Table(
        {
            where: Key(found, f"{kind.says[0].upper()}{kind.says[1:]}.", needed=f"It has no {where}."),
            "until": Key(
                Made(_Until(), lambda until, _: verify.Key("-", until=until).until),
                "The last day on which the secret counts, in UTC, or the moment at which it stops to.",
            ),
            "name": Key(
                _SECRETS_NAME, f"What events, logs and metrics call the secret: the {where}'s name if left out."
            ),
        },
        lambda options, _: replace(options.pop(where), **options),
        f"a table such as {example}",
        refused=dict.fromkeys(_LITERAL, f"A secret does not stand in this file. Say what holds it: {example}."),
    )
    one = Either({str: found, dict: table}, f"{kind.says}, or {table.says}", hidden=True)
    listed = {written: Made(kind, lambda found, _: [found]) for written, kind in one.kinds.items()}
    says = f"{kind.says}, {table.says}, or a list of these"
    return Named(
        f"secrets_of_{where}", Either({**listed, list: ListOf(one, f"a list of {one.says}")}, says, hidden=True)
    )


VARIABLES: Final = _secrets("env", VARIABLE, from_environment)
FILES: Final = _secrets("file", FILE, from_file)


def _keys(found: list[Found]) -> list[Any]:
    """Give secrets as verifiers take them: several by names, so that it can be told which one a sender has."""
    if len(found) == 1:
        (only,) = found
        plain = only.until is None and not only.name
        return [only.secret if plain else verify.Key(only.secret, until=only.until, name=only.name)]
    short = [one.name or _name(PurePath(one.source).name) for one in found]
    # Files of one name in two folders are called by their whole paths.
    names = [
        one.name or (_name(one.source) if short.count(name) > 1 else name)
        for one, name in zip(found, short, strict=True)
    ]
    return [verify.Key(one.secret, until=one.until, name=name) for one, name in zip(found, names, strict=True)]


def _name(source: str) -> str:
    """Make a key's name of a variable's or a file's."""
    return re.sub("[^A-Za-z0-9_.:-]+", "-", source)[-64:].lstrip(".:-")


@dataclass(frozen=True, slots=True)
class SecretKeys:
    """The keys of a table that say where a secret is: `NAME_env`, `NAME_file` and `NAME_function`.

    Attributes:
        name: what the declaration calls it: `secret`.
        function: the kind of `NAME_function`, `None` where there is none.
        needed: whether one of them must be there.
        rotates: whether there may be several.
    """

    name: str
    function: Kind | None
    needed: bool = True
    rotates: bool = True

    @property
    def words(self) -> str:
        """What sentences call it: `verify token`."""
        return self.name.replace("_", " ")

    @property
    def keys(self) -> dict[str, Key]:
        """The keys."""
        name, words = self.name, self.words
        several = ", or several: all are good" if self.rotates else ""
        keys = {
            f"{name}_env": Key(
                VARIABLES if self.rotates else ONE_VARIABLE, f"The environment variable with the {words}{several}."
            ),
            f"{name}_file": Key(FILES if self.rotates else ONE_SECRET_FILE, f"The file with the {words}{several}."),
        }
        if self.function is not None:
            keys[f"{name}_function"] = Key(
                self.function, f"A function of the event that gives the {words}, by its dotted name."
            )
        return keys

    @property
    def refused(self) -> dict[str, str]:
        """The keys that would hold the secret itself, or are another provider's, and why not."""
        said = f'Say {self.name}_env = "…", an environment variable with the {self.words}, or {self.name}_file = "…".'
        literal = dict.fromkeys((self.name, *_LITERAL), f"A secret does not stand in this file. {said}")
        others = {f"{name}_{where}": said for name in _LITERAL for where in ("env", "file")}
        return {name: text for name, text in (literal | others).items() if name not in self.keys}

    @property
    def choice(self) -> tuple[list[str], str]:
        """The keys of which one must be there, and what is said where none is."""
        names = list(self.keys)
        return names, f'The {self.words} is missing. Say {names[0]} = "…", the environment variable that holds it.'

    def take(self, options: dict[str, Any], at: Place) -> None:
        """Put what the keys say into one option under the secret's own name.

        Raises:
            ConfigError: there are two, and one is not a list.
        """
        given = [options.pop(name) for name in self.keys if name in options]
        if len(given) > 1 and not (self.rotates and all(isinstance(one, list) for one in given)):
            raise at.fault(f"The {self.words} is said twice. Say one of {', '.join(self.keys)}.")
        if given:
            listed = isinstance(given[0], list)
            options[self.name] = _keys([one for found in given for one in found]) if listed else given[0]


def refusals(secrets: Iterable[SecretKeys]) -> dict[str, str]:
    """Give the keys that would hold one of several secrets; what several have in common is the first one's."""
    found: dict[str, str] = {}
    for secret in secrets:
        own = (secret.name, f"{secret.name}_env", f"{secret.name}_file")
        found |= {key: text for key, text in secret.refused.items() if key in own or key not in found}
    return found


def one_of(options: dict[str, Any], names: tuple[str, ...], at: Place) -> Any:
    """Take the one option out of several that say the same in different ways; `None` where there is none.

    Raises:
        ConfigError: there are two.
    """
    given = [name for name in names if name in options]
    if len(given) > 1:
        raise at.at(given[1]).fault(f"Say this or {given[0]}, not both.")
    return options.pop(given[0]) if given else None


FROM_ELSEWHERE: Final = Table(
    {
        "env": Key(ONE_VARIABLE, "The environment variable with the value."),
        "file": Key(ONE_FILE, "The file with the value."),
    },
    lambda options, at: one_of(options, ("env", "file"), at),
    'a table such as { env = "SHOP_TOKEN" } or { file = "secrets/token" }',
    choices=[(["env", "file"], 'Say env = "…" or file = "…".')],
)
"""A value that is kept elsewhere."""
