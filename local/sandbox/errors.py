"""Errors of the sandbox; each text is one line a user can act on."""

from __future__ import annotations


class SandboxError(Exception):
    """the sandbox API cannot do that"""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or self.__doc__)


class UnusableFile(SandboxError):
    """a file of the sandbox cannot be read"""
