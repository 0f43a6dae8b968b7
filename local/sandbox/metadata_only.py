"""A build backend that builds nothing: it hands pip the metadata that lies in the package.

`pip download` of a source distribution asks its build backend for metadata, which runs code of the
package and needs its build requirements. The fetch puts this file where pip looks for setuptools
(PEP 517 hooks, working directory = the unpacked package), so that nothing of the package runs."""

from __future__ import annotations

import shutil
import sys
from email.parser import HeaderParser
from pathlib import Path
from typing import Final, NoReturn


def get_requires_for_build_wheel(config_settings: object = None) -> list[str]:
    return []


def prepare_metadata_for_build_wheel(directory: str, config_settings: object = None) -> str:
    facts = HeaderParser().parsestr(Path("PKG-INFO").read_text("utf-8"))
    name = facts["Name"].replace("-", "_")
    folder = Path(directory) / f"{name}-{facts['Version']}.dist-info"
    folder.mkdir()
    shutil.copyfile("PKG-INFO", folder / "METADATA")
    return folder.name


def build_wheel(*_: object, **__: object) -> NoReturn:
    raise RuntimeError("this backend builds nothing")


__legacy__: Final = sys.modules[__name__]  # the name for packages without a pyproject.toml
