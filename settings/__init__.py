"""All settings: the model, and how the environment, `.env`, YAML and URLs are read."""

from settings.errors import SettingsError
from settings.model import Settings

__all__ = ["Settings", "SettingsError"]
