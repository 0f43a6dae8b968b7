"""Reading what `assetq doctor` found."""

from __future__ import annotations

from typing import Any

from tests.kit.cli_runs import Cli


def checks(cli: Cli, **env: str) -> dict[str, dict[str, Any]]:
    """Check → its worst finding."""
    order = {"ok": 0, "warn": 1, "fail": 2}
    found: dict[str, dict[str, Any]] = {}
    done = cli.here("doctor", "--json", **env)
    for finding in done.json["checks"]:
        standing = found.get(finding["check"])
        if standing is None or order[standing["status"]] < order[finding["status"]]:
            found[finding["check"]] = finding
    assert done.code == (0 if done.json["ok"] else 1)
    assert done.json["ok"] == all(f["status"] != "fail" for f in found.values())
    return found
