"""Where this checkout lies: assetq runs from it, and its own files are found here only."""

import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Final

ROOT: Final = Path(str(files("config"))).parent
"""The folder that holds the Procfile, `config/` and every room."""

CATALOGUE: Final = ROOT / "config" / "catalogue.csv"
"""The assets that are imported on a first run."""

DATA: Final = ROOT / ".data"
"""What a local run keeps: servers' files and logs."""


def version() -> str:
    """The version of this checkout, whether or not it is installed anywhere."""
    text = (ROOT / "pyproject.toml").read_text("utf-8")
    return str(tomllib.loads(text)["project"]["version"])
