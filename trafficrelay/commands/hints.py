"""What is to be written, in the words of what it is to be written into: a program, or a file."""

from __future__ import annotations

import re
from typing import Final

from ..config.place import toml_words

_OF_RELAY: Final = re.compile(r"Relay\((\w+=(?:\"[^\"]*\"|\w+))\)")


def hint(text: str, target: str) -> str:
    """Give a sentence that speaks of options as Python has them; where the relay is a file's, as that has them.

    Args:
        text: the sentence.
        target: the relay, as the command line names it.
    """
    return toml_words(_OF_RELAY.sub(r"\1 under [relay]", text)) if target.endswith(".toml") else text
