"""The settings that a message offers, as a shell would hand them over once they are pasted."""

from __future__ import annotations

import re
import shlex

_SETTING = re.compile(r"(?<![\w.])'?(?:data|trainer|model|acquisition|run)\.[a-z_]+=")


def offered(message: str) -> list[str]:
    """Every `section.key=value` of a message, quotes taken and the sentence's punctuation left off."""
    return [_first_word(message[found.start() :]).rstrip(".;,:)") for found in _SETTING.finditer(message)]


def _first_word(text: str) -> str:
    words = shlex.shlex(text, posix=True)
    words.whitespace_split, words.commenters = True, ""
    return words.get_token() or ""
