"""What can go wrong, as people see it.

    S4alError                 1   never raised itself; an exit code of 1 means a bug of ours
    |- ConfigError            2   usage, a configuration key or value, a run continued with other settings
    |- AnnotationsNeeded      3   people have to label the selected regions before the run can go on
    |- DataError              4   an image, a mask, a data set folder
    |  |- ImageError          4   one image that cannot be used; in a pool it is set aside, not fatal
    |  |- MaskError           4   one mask that cannot be used; always fatal, labels are never guessed
    |  `- AnswerError         4   one answer of a person that does not fit what was asked; those saved before are kept
    |- RunStateError          5   the run folder: locked, damaged, of another version
    |- EngineError            6   an engine is missing, broken or disagrees with the network
    |- NumericsError          7   a loss or gradient that is not finite
    `- StorageError           8   disk full, read-only, write errors

130 and 143 are SIGINT and SIGTERM. Every message says what happened, where, what was kept and what to do.
"""

from __future__ import annotations


class S4alError(Exception):
    """An error meant for a person.

    Parameters
    ----------
    what : one sentence, what happened (with the file and the two values that disagree).
    kept : one sentence, what is safe on disk; empty where nothing was at stake.
    remedy : one sentence, what to do next.
    """

    exit_code = 1

    def __init__(self, what: str, *, kept: str = "", remedy: str = "") -> None:
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.remedy = remedy

    def __str__(self) -> str:
        return " ".join(part for part in (self.what, self.kept, self.remedy) if part)


class ConfigError(S4alError):
    exit_code = 2


class AnnotationsNeeded(S4alError):
    exit_code = 3


class DataError(S4alError):
    exit_code = 4


class ImageError(DataError):
    pass


class MaskError(DataError):
    pass


class AnswerError(DataError):
    pass


class RunStateError(S4alError):
    exit_code = 5


class EngineError(S4alError):
    exit_code = 6


class NumericsError(S4alError):
    exit_code = 7


class StorageError(S4alError):
    exit_code = 8
