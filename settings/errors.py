"""What is wrong with a configuration."""


class SettingsError(Exception):
    """The settings make no sense; one line per problem, and never a secret in it."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))
