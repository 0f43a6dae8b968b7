"""Where settings come from: environment over `.env` over the YAML file of ASSETQ_CONFIG."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import AliasChoices
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource

from settings.files import read_dotenv, read_yaml, stated


@dataclass(frozen=True)
class Sources:
    """What was given, before it is checked."""

    given: Mapping[str, str]
    """Environment and `.env`, by the name that was written."""
    from_yaml: Mapping[str, tuple[str, Any]]
    """Field → (path in the file, value)."""

    @classmethod
    def read(cls, env: Mapping[str, str], env_file: str | Path | None) -> Self:
        """Reads all of them. Raises SettingsError for a file that cannot be read."""
        given = read_dotenv(env_file) | stated(env)
        path = given.get("ASSETQ_CONFIG")
        return cls(given, read_yaml(Path(path)) if path else {})

    def values(self, settings: type[BaseSettings]) -> dict[str, Any]:
        """Values by field name or alias; a field of the environment replaces that of the file."""
        from_yaml = {field: value for field, (_, value) in self.from_yaml.items()}
        return from_yaml | _Given(settings, self.given)()


def variables(field: str, info: FieldInfo) -> tuple[str, ...]:
    """The environment's names for a field, the first one wins."""
    alias = info.validation_alias
    if isinstance(alias, AliasChoices):
        return tuple(str(choice) for choice in alias.choices)
    return (str(alias or field).upper(),)


class _Given(EnvSettingsSource):
    """pydantic-settings' reading of names in any case, from a mapping of ours.

    Only assetq's own names: fields can be set by their names too, and API_KEY or PROVIDER belong
    to other programs.
    """

    def __init__(self, settings: type[BaseSettings], given: Mapping[str, str]) -> None:
        fields = settings.model_fields.items()
        names = {name for field, info in fields for name in variables(field, info)}
        self._ours = {name.lower(): v for name, v in given.items() if name.upper() in names}
        super().__init__(settings)

    def _load_env_vars(self) -> Mapping[str, str | None]:
        return dict(self._ours)
