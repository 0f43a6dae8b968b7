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
_MINUTES = 60


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


def firing(
    tmp_path: Path, series: Mapping[str, str], looks: Iterable[tuple[int, Iterable[str]]]
) -> None:
    """Let Prometheus evaluate the rules on these series, one value a minute, and assert at each
    look (minute, alerts) that exactly these fire."""
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
        ],
    }
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump(tests))
    promtool("test", "rules", str(path))


def constant(samples: Mapping[str, float]) -> dict[str, str]:
    """Series that keep these values for an hour."""
    return {name: f"{value:g}x{_MINUTES}" for name, value in samples.items()}
