"""The settings that a message offers, as a shell would hand them over once they are pasted."""

from __future__ import annotations

import re
import shlex

_SECTIONS = "data|trainer|model|acquisition|run|learner|export|scorer"
# A word of a shell that begins, in quotes or not, with section.key=
_WORD = rf"(?<![\w.])(?=['\"]?(?:{_SECTIONS})\.[a-z_]+=)(?:'[^']*'|\"[^\"]*\"|[^\s'\"])+"
_WORDS = re.compile(rf"{_WORD}(?:\s+{_WORD})*")


def offered(message: str) -> list[str]:
    """Every `section.key=value` of a message, quotes taken and the sentence's punctuation left off."""
    return [setting for together in offered_together(message) for setting in together]


def offered_together(message: str) -> list[list[str]]:
    """As `offered`, those that follow each other without a word between them as one offer."""
    return [[word.rstrip(".;,:)") for word in shlex.split(found[0])] for found in _WORDS.finditer(message)]
