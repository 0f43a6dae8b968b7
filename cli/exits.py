"""What a command ends with: the exit codes, and the error that carries one."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with. The help text lists them; scripts rely on them."""

    OK = 0
    OTHER = 1
    USAGE = 2
    SETTINGS = 3
    UNREACHABLE = 4
    REFUSED = 5
    NOT_FOUND = 6
    TIMEOUT = 7
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.OTHER: "failed, or some of it failed (the text says what)",
    ExitCode.USAGE: "the command line or the given file is wrong",
    ExitCode.SETTINGS: "a setting is missing or wrong",
    ExitCode.UNREACHABLE: "Redis or PostgreSQL cannot be reached, or refuses the login",
    ExitCode.REFUSED: "refused: the queue or Redis' memory is full",
    ExitCode.NOT_FOUND: "no such symbol, file or dead letter",
    ExitCode.TIMEOUT: "the result did not come in time; the work goes on",
    ExitCode.INTERRUPTED: "interrupted",
}


class CommandError(Exception):
    """A command cannot do what was asked; one line per problem."""

    def __init__(self, problems: str | Sequence[str], code: ExitCode = ExitCode.OTHER) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.code = code
        super().__init__("\n".join(self.problems))
