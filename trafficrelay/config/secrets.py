"""Secrets: out of environment variables and files that a configuration names, never out of itself."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import Any, Final

from .kinds import Either, Kind, ListOf, Made, Text
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


def _several(kind: Kind, says: str) -> Kind:
    one = Made(kind, lambda value, _: [value])
    return Either({str: one, list: ListOf(kind, f"a list of {says}")}, f"{kind.says}, or a list of these", hidden=True)


VARIABLES: Final = _several(ONE_VARIABLE, "names of environment variables")
ONE_SECRET_FILE: Final = Made(FILE, from_file)
FILES: Final = _several(ONE_SECRET_FILE, "names of files")


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
    def keys(self) -> dict[str, Key]:
        """The keys."""
        name = self.name
        several = ", or several: all are good" if self.rotates else ""
        keys = {
            f"{name}_env": Key(
                VARIABLES if self.rotates else ONE_VARIABLE, f"The environment variable with the {name}{several}."
            ),
            f"{name}_file": Key(FILES if self.rotates else ONE_SECRET_FILE, f"The file with the {name}{several}."),
        }
        if self.function is not None:
            keys[f"{name}_function"] = Key(
                self.function, f"A function of the event that gives the {name}, by its dotted name."
            )
        return keys

    @property
    def refused(self) -> dict[str, str]:
        """The keys that would hold the secret itself, or are another provider's, and why not."""
        said = f'Say {self.name}_env = "…", an environment variable with the {self.name}, or {self.name}_file = "…".'
        literal = dict.fromkeys(_LITERAL, f"A secret does not stand in this file. {said}")
        others = {f"{name}_{where}": said for name in _LITERAL for where in ("env", "file")}
        return {name: text for name, text in (literal | others).items() if name not in self.keys}

    @property
    def choice(self) -> tuple[list[str], str]:
        """The keys of which one must be there, and what is said where none is."""
        names = list(self.keys)
        return names, f'The {self.name} is missing. Say {names[0]} = "…", the environment variable that holds it.'

    def take(self, options: dict[str, Any], at: Place) -> None:
        """Put what the keys say into one option under the secret's own name.

        Raises:
            ConfigError: there are two, and one is not a list.
        """
        given = [options.pop(name) for name in self.keys if name in options]
        if len(given) > 1 and not (self.rotates and all(isinstance(one, list) for one in given)):
            raise at.fault(f"The {self.name} is said twice. Say one of {', '.join(self.keys)}.")
        if len(given) == 1:
            options[self.name] = given[0]
        elif given:
            options[self.name] = [value for values in given for value in values]


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
