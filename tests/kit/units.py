"""The units of ops/systemd, read as far as the tests need it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

UNITS = ("assetq-web.service", "assetq-worker@.service", "assetq-scheduler.service")


@dataclass(frozen=True)
class Unit:
    """One service: section → key → its last value."""

    name: str
    values: dict[str, dict[str, str]]

    @classmethod
    def read(cls, root: Path, name: str) -> Self:
        values: dict[str, dict[str, str]] = {}
        section = ""
        for line in (root / "ops" / "systemd" / name).read_text().splitlines():
            if header := re.fullmatch(r"\[(\w+)\]", line):
                section = header[1]
                values[section] = {}
            elif "=" in line and not line.startswith("#"):
                key, _, value = line.partition("=")
                values[section][key] = value
        return cls(name, values)

    @property
    def exec_start(self) -> str:
        return self.values["Service"]["ExecStart"]

    @property
    def role(self) -> str:
        """web, worker or scheduler"""
        return self.exec_start.split()[-1]

    @property
    def restart_s(self) -> float:
        return float(self.values["Service"]["RestartSec"])


def deploy_blocks(root: Path) -> list[str]:
    """The shell lines of README's Deploy, block by block."""
    text = (root / "README.md").read_text()
    deploy = text[text.index("## Deploy\n") : text.index("## Settings\n")]
    return re.findall(r"```sh\n(.*?)```", deploy, re.S)


def enabled_units(root: Path) -> set[str]:
    """Files of the units that README's Deploy enables."""
    (words,) = re.findall(r"systemctl enable --now (.*)", "".join(deploy_blocks(root)))
    names = (word if "." in word else f"{word}.service" for word in words.split())
    return {re.sub(r"@\d+", "@", name) for name in names}
