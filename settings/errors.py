"""The error of a configuration."""


class SettingsError(Exception):
    """Settings are wrong; one line per problem, without secrets."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
