"""What can go wrong before anything of ours runs. Each message is one line with its remedy."""


class EmbeddedError(Exception):
    """Something needed for a local run could not be started."""


class ExecutableMissing(EmbeddedError):
    """A server executable is neither in the environment, nor installed beside us, nor on PATH."""

    def __init__(self, what: str, variable: str) -> None:
        self.what, self.variable = what, variable
        super().__init__(
            f"{what} was not found: run `make setup`, or put its path in {variable}, "
            "or install it so that it is on PATH"
        )


class StartFailed(EmbeddedError):
    """A process ended, or did not answer, while it was being started."""

    def __init__(self, name: str, reason: str, log: str) -> None:
        self.name, self.reason, self.log = name, reason, log
        super().__init__(f"{name} did not start: {reason} (log: {log})")


class CannotDropRoot(EmbeddedError):
    """PostgreSQL refuses to run as root, and no way to run it as another user works here."""

    def __init__(self, reasons: list[str]) -> None:
        self.reasons = reasons
        super().__init__(
            "PostgreSQL refuses to run as root and could not be started as 'nobody' "
            f"({'; '.join(reasons)}): run as a plain user, move the clone to a directory that "
            "everybody may enter, install util-linux (setpriv), or set DATABASE_URL"
        )


class AlreadyRunning(EmbeddedError):
    """Another `assetq up` uses this data directory."""

    def __init__(self, pid: int | None, data_dir: str) -> None:
        self.pid, self.data_dir = pid, data_dir
        who = f"process {pid}" if pid else "another process"
        super().__init__(
            f"assetq up is already running here ({who}, data in {data_dir}): "
            "stop it with Ctrl-C in its terminal first"
        )
