"""Prometheus' own tool, as a judge of our names, rules and expressions."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ALERTS = Path(__file__).parents[2] / "ops" / "prometheus" / "alerts.yml"


def promtool(*arguments: str, text: bytes = b"") -> str:
    """Run promtool, which must have nothing to say; the test is skipped where there is none."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("promtool is not installed here (Debian: apt install prometheus)")
    done = subprocess.run([found, *arguments], input=text, capture_output=True, check=False)
    told = (done.stdout + done.stderr).decode()
    assert done.returncode == 0, told
    return told


def rules() -> list[dict[str, Any]]:
    """The alert rules, as the file has them."""
    return list(yaml.safe_load(ALERTS.read_text("utf-8"))["groups"][0]["rules"])


Looks = Iterable[tuple[int, Iterable[str]]]
"""Minute → the alerts that fire then, and no others."""


def firing(tmp_path: Path, *cases: tuple[Mapping[str, str], Looks]) -> None:
    """Let Prometheus evaluate the rules on the series of each case, one value a minute, and assert
    what fires at each look."""
    tests = {
        "rule_files": [str(ALERTS)],
        "evaluation_interval": "1m",
        "tests": [
            {
                "interval": "1m",
                "input_series": [{"series": k, "values": v} for k, v in series.items()],
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": f"{minute}m",
                        "exp_samples": [
                            {"labels": f'{{alertname="{name}"}}', "value": 1}
                            for name in sorted(alerts)
                        ],
                    }
                    for minute, alerts in looks
                ],
            }
            for series, looks in cases
        ],
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", str(path))


def constant(samples: Mapping[str, float], minutes: int = 20) -> dict[str, str]:
    """Series that keep these values, for longer than most alerts wait."""
    return {name: f"{value:g}x{minutes}" for name, value in samples.items()}
